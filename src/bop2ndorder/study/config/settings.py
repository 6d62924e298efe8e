"""The settings of one run, typed and strict: what may be written, in which range."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, Union, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from .overlay import Place

Number = TypeVar("Number")
Rate = Annotated[float, Field(gt=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]

# Images that each published data set holds for training; a local folder may hold another number.
TRAIN_IMAGES = {"digits": 1438, "cifar10": 50_000, "imagenette": 9_469, "imagenet": 1_281_167}
CLASSES = {"digits": 10, "cifar10": 10, "imagenette": 10, "imagenet": 1000}
SMALLEST_IMAGE = {"binarynet": 16, "xnornet": 64, "birealnet": 64}


class Strict(BaseModel):
    """Unknown keys, numbers written as strings and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ExponentialSettings(Strict, Generic[Number]):
    """start * rate ** floor(step / decay_steps); `every` is decay_steps in epochs."""

    kind: Literal["exponential"]
    start: Number
    rate: Rate
    every: Epochs


class PolynomialSettings(Strict, Generic[Number]):
    """From start to end over the first part of training, `until` (default: all), then constant."""

    kind: Literal["polynomial"]
    start: Number
    end: Number
    power: Positive = 1.0
    until: Annotated[float, Field(gt=0, le=1)] = 1.0


class NoiseFloorSettings(Strict):
    """A threshold `times` the standard deviation that noise gives m / sqrt(v) at that gamma."""

    kind: Literal["noise_floor"]
    times: NonNegative


class StepsOfMSettings(Strict):
    """A threshold of so many steps of m: `times` x gamma of that step x `gradient`.

    `gradient` is the root mean square of the gradient for Bop, 1 (default) for Bop2ndOrder.
    """

    kind: Literal["steps_of_m"]
    times: NonNegative
    gradient: Positive = 1.0


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind"))
    return getattr(value, "kind", "number")


def _scheduled(number: Any, *others: type[Strict]) -> Any:
    """A number, or a schedule whose values have that number's range, or of one of the others."""
    kinds = {"exponential": ExponentialSettings[number], "polynomial": PolynomialSettings[number]}
    kinds |= {other.model_fields["kind"].annotation.__args__[0]: other for other in others}
    tagged = [Annotated[model, Tag(kind)] for kind, model in kinds.items()]
    return Annotated[
        Union[Annotated[number, Tag("number")], *tagged],  # noqa: UP007  of a list
        Discriminator(
            _kind,
            custom_error_type="schedule_kind",
            custom_error_message="Input should be a number or a schedule whose kind is "
            + " or ".join(kinds),
        ),
    ]


class BopSettings(Strict):
    name: Literal["bop"]
    gamma: _scheduled(Rate)
    threshold: _scheduled(NonNegative, StepsOfMSettings)


class Bop2ndOrderSettings(Strict):
    name: Literal["bop2ndorder"]
    gamma: _scheduled(Rate)
    sigma: _scheduled(Rate)
    threshold: _scheduled(NonNegative, NoiseFloorSettings, StepsOfMSettings)
    eps: NonNegative = 1e-10
    bias_correction: Literal["none", "constant", "adam"] = "none"


class LatentSettings(Strict):
    """Real-valued weights behind sign(), trained by the Adam that trains the real weights."""

    name: Literal["latent"]


Rule = Annotated[BopSettings | Bop2ndOrderSettings, Field(discriminator="name")]
ShadowName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class BinaryNetSettings(Strict):
    name: Literal["binarynet"]
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    dense: Annotated[int, Field(ge=1, le=65536)] = 1024
    norm: Literal["batch", "layer"] = "batch"


class XnorNetSettings(Strict):
    norm: ClassVar = "batch"  # no choice, and so no setting
    name: Literal["xnornet"]
    width: Annotated[float, Field(gt=0, le=4)] = 1.0


class BiRealNetSettings(Strict):
    norm: ClassVar = "batch"
    name: Literal["birealnet"]
    width: Annotated[float, Field(gt=0, le=4)] = 1.0


class ShiftAndFlip(Strict):
    """Pad by `pad` pixels, crop at random to the old size; mirror every second image."""

    pad: Annotated[int, Field(ge=0, le=32)]
    flip: bool


class ResizedCrop(Strict):
    """The published ImageNet crops: area 0.08-1, aspect 3/4-4/3, bicubic."""

    crop: Literal["random_resized"]
    flip: bool


def _augment(value: Any) -> str:
    crop = "crop" in value if isinstance(value, dict) else hasattr(value, "crop")
    return "resized_crop" if crop else "shift_and_flip"


class DataSettings(Strict):
    source: Literal["digits", "cifar10", "imagenette", "imagenet"]
    image_size: Annotated[int, Field(ge=8, le=512)]
    validation: Annotated[int, Field(ge=1)]
    limit: Annotated[int, Field(ge=1)] | None = None
    augment: (
        Annotated[
            Annotated[ShiftAndFlip, Tag("shift_and_flip")]
            | Annotated[ResizedCrop, Tag("resized_crop")],
            Discriminator(_augment),
        ]
        | None
    ) = None

    def prepared(self) -> dict:
        """What decides the prepared files; augmentation happens later, batch by batch."""
        return self.model_dump(exclude={"augment"})

    def classes(self) -> int:
        """Classes of the data set as published."""
        return CLASSES[self.source]

    @property
    def validation_images(self) -> int:
        """How many images are prepared for validation: no more than the limit."""
        return self.validation if self.limit is None else min(self.validation, self.limit)

    def images(self, train_on: str) -> int:
        """Training images of an epoch on "train" or "all", if the data set is the published one."""
        limit = TRAIN_IMAGES[self.source] if self.limit is None else self.limit
        train = min(TRAIN_IMAGES[self.source] - self.validation, limit)
        return train + (self.validation_images if train_on == "all" else 0)


class Settings(Strict):
    """All that decides a run's result, apart from code and the images themselves."""

    data_name: str
    data: DataSettings
    network: BinaryNetSettings | XnorNetSettings | BiRealNetSettings = Field(discriminator="name")
    optimizer: BopSettings | Bop2ndOrderSettings | LatentSettings = Field(discriminator="name")
    lr: _scheduled(Positive)
    epochs: Annotated[int, Field(ge=1, le=10**6)]
    batch_size: Annotated[int, Field(ge=1)]
    train_on: Literal["train", "all"]
    norm_statistics: Literal["moving", "recomputed"]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    threads: Annotated[int, Field(ge=1, le=1024)]
    numerics: Literal["native", "portable"] = "native"
    precision: Literal["float32", "tf32", "float16"] = "float32"
    graph: Literal["auto", "off"] = "auto"
    gpus: Annotated[int, Field(ge=1, le=1024)] = 1
    # held_out: the validation images where there are any, else the test images.
    judged_on: Literal["held_out", "test"] = "held_out"
    # Steps after which the run ends, while its schedules go by all of its epochs; null: none.
    stop_after: Annotated[int, Field(ge=1)] | None = None
    # Other rules, fed the same gradients, whose decisions are held against those of the run's.
    shadows: dict[ShadowName, Rule] = {}

    def length(self, images: int) -> tuple[int, int]:
        """Epochs begun, images trained on, if an epoch has so many; 0 of both below a batch."""
        if (steps := images // self.batch_size) == 0:
            return 0, 0
        whole = self.epochs * steps
        last = whole if self.stop_after is None else min(self.stop_after, whole)
        return -(-last // steps), last * self.batch_size


def misfits(settings: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """What does not go together in settings whose single values may be wrong themselves.

    Args:
        settings: as `Settings` takes them, not validated.

    Yields:
        (place of the setting to change, what is wrong with it).
    """
    network = settings.get("network")
    network = network.get("name") if isinstance(network, dict) else None
    name = settings["data_name"]
    try:
        data = DataSettings.model_validate(settings["data"])
    except ValidationError:
        return
    if isinstance(network, str) and data.image_size < SMALLEST_IMAGE.get(network, 0):
        needed = SMALLEST_IMAGE[network]
        text = f"{name!r} has images of {data.image_size} pixels; {network} needs at least {needed}"
        yield ("data",), text
    images = data.images(settings.get("train_on", "train"))
    if images < 1:
        kept = f"{name!r} keeps {data.validation} of {TRAIN_IMAGES[data.source]} images"
        yield ("data",), f"{kept} for validation; none are left to train on"
    batch = settings.get("batch_size")
    if isinstance(batch, int) and images < batch:
        yield ("batch_size",), f"found {batch}; must be at most {images}, the images of {name!r}"
    elif isinstance(batch, int) and batch >= 1:
        yield from _instant_schedules(settings, images // batch)
        yield from _late_stop(settings, images // batch)
    gpus = settings.get("gpus", 1)
    if isinstance(batch, int) and isinstance(gpus, int) and gpus >= 1 and batch % gpus:
        yield (
            ("batch_size",),
            f"found {batch}; must be divisible by gpus, {gpus}, which share each batch evenly",
        )
    optimizer, shadows = settings.get("optimizer"), settings.get("shadows")
    if isinstance(optimizer, dict) and optimizer.get("name") == "latent" and shadows:
        text = "must be left out with latent weights: where no rule flips, there is none to compare"
        yield ("shadows",), text
    if isinstance(data.augment, ResizedCrop) != (data.source == "imagenet") and data.augment:
        allowed = "crop random_resized is for imagenet, pad for the other sources"
        yield ("data",), f"{name!r} cannot be augmented so: {allowed}"


def _instant_schedules(settings: dict[str, Any], steps: int) -> Iterator[tuple[Place, str]]:
    """The schedules whose length comes to no step at all; an epoch has so many."""
    epochs = settings.get("epochs")
    epochs = epochs if isinstance(epochs, int) else 1
    found = {("lr",): settings.get("lr")}
    if isinstance(optimizer := settings.get("optimizer"), dict):
        found |= {("optimizer", key): value for key, value in optimizer.items()}
    shadows = settings.get("shadows")
    for name, rule in shadows.items() if isinstance(shadows, dict) else ():
        if isinstance(rule, dict):
            found |= {("shadows", str(name), key): value for key, value in rule.items()}
    for place, value in found.items():
        for key, of in (("every", 1), ("until", epochs)) if isinstance(value, dict) else ():
            length = value.get(key)
            if isinstance(length, int | float) and 0 < length * of * steps <= 0.5:
                text = f"found {length}; comes to no step, since an epoch has {steps} of them"
                yield (*place, key), text


def _late_stop(settings: dict[str, Any], steps: int) -> Iterator[tuple[Place, str]]:
    """A stop that comes after the end; an epoch has so many steps."""
    stop, epochs = settings.get("stop_after"), settings.get("epochs")
    if isinstance(stop, int) and isinstance(epochs, int) and stop > epochs * steps >= 1:
        text = f"found {stop}; must be at most {epochs * steps}, the steps of {epochs} epochs"
        yield ("stop_after",), text


# Which keys a mapping may have, by the name that stands before them in the place of an error.
MODELS: dict[str, type[BaseModel]] = {
    **{
        get_args(model.model_fields["name"].annotation)[0]: model
        for field in ("optimizer", "network")
        for model in get_args(Settings.model_fields[field].annotation)
    },
    "exponential": ExponentialSettings,
    "polynomial": PolynomialSettings,
    "noise_floor": NoiseFloorSettings,
    "steps_of_m": StepsOfMSettings,
    "shift_and_flip": ShiftAndFlip,
    "resized_crop": ResizedCrop,
    "data": DataSettings,
}
