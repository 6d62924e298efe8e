"""The section `claims`: what the papers claim, and the comparisons that decide it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .overlay import Place
from .runs import Entry
from .settings import Bop2ndOrderSettings, BopSettings, LatentSettings, Positive, Strict

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=2)]
# accuracy: of what the experiment is judged on, after the last epoch, in points.
# mean_validation_accuracy: the mean over all epochs, in points.
# spread: standard deviation over the settings of a grid, in points; the smaller the better.
# images: how many times as many training images it takes to reach an accuracy; it decides nothing.
Measure = Literal["accuracy", "mean_validation_accuracy", "spread", "images"]
Selection = Annotated[
    dict[
        Literal["arm", "network", "norm", "optimizer"],
        Annotated[list[str], Field(min_length=1)],
    ],
    Field(min_length=1),
]
_CORRECTIONS = {"none": "biased", "constant": "corrected", "adam": "adam"}


def _optimizer_of(settings: BopSettings | Bop2ndOrderSettings | LatentSettings) -> str:
    """What comparisons and results call the optimizer of a run."""
    if settings.name == "bop2ndorder":
        return _CORRECTIONS[settings.bias_correction]
    return settings.name


class Comparison(Strict):
    """Some runs of an experiment against others; favourable where `of` is the better.

    Attributes:
        experiment: its name.
        measure: what is compared.
        of, against: column of the run table -> values that its runs have there. Settings count
            alike, however many seeds they have.
        planned: seeds of each setting, fixed beforehand; with fewer nothing is decided.
        least: seeds of each setting that a verdict takes, whatever was planned.
    """

    experiment: Name
    measure: Measure
    of: Selection
    against: Selection
    planned: Count
    least: Count = 5


class Claim(Strict):
    """A claim: what it says, and what decides it.

    Attributes:
        claim: the claim.
        criterion: when it counts as supported, in one sentence.
        primary: what decides; of several comparisons all must hold.
        secondary: what is shown beside it, and decides nothing.
    """

    claim: Text
    criterion: Text
    primary: Annotated[dict[Name, Comparison], Field(min_length=1)]
    secondary: dict[Name, Comparison] = {}

    @model_validator(mode="after")
    def _decides(self) -> Self:
        for name, one in self.primary.items():
            if one.measure == "images":
                raise ValueError(
                    f"the primary comparison {name} is of images, which decide nothing; choose "
                    "another measure, or make it secondary"
                )
        if both := self.primary.keys() & self.secondary.keys():
            raise ValueError(f"{min(both)} is primary and secondary; give one another name")
        return self

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """All of them, the primary first."""
        return {**self.primary, **self.secondary}


class Plan(Strict):
    """Where the criteria were fixed before there were records.

    Attributes:
        document: path of the plan.
        commit: that brought it.
        deviations: how many the plan lists by now.
    """

    document: Text
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    deviations: Annotated[int, Field(ge=0)]


class Claims(Strict):
    """All claims, with what they share.

    Attributes:
        margin: up to which size a difference counts as none, in points.
        first_seed: runs with smaller seeds were seen before the plan, and count for nothing.
        levels: accuracies in percent that the measure `images` is taken at, one by one.
        plan: see there.
        statements: label -> claim.
    """

    margin: Positive
    first_seed: Annotated[int, Field(ge=0)]
    levels: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(min_length=1)]
    plan: Plan
    statements: dict[Annotated[str, Field(pattern=r"^C[1-9][0-9]*$")], Claim]


def strangers(
    claims: Claims, entries: Sequence[Entry], unknown: set[tuple[str, str | None]]
) -> Iterator[tuple[Place, str]]:
    """What comparisons name and no run of a scale has.

    Args:
        claims: of that scale.
        entries: all that it runs.
        unknown: (experiment, arm), or None for all its arms, that it leaves out or that cannot be
            read; they may be named.

    Yields:
        (place below `claims`, what is wrong with it).
    """
    runs = [(entry.experiment, columns_of(entry)) for entry in entries if entry.axis is None]
    experiments = [*dict.fromkeys(experiment for experiment, _ in runs)]
    for label, claim in claims.statements.items():
        for kind in ("primary", "secondary"):
            for name, one in getattr(claim, kind).items():
                place = ("statements", label, kind, name)
                if (one.experiment, None) in unknown:
                    continue
                if one.experiment not in experiments:
                    allowed = ", ".join(experiments)
                    text = f"found {one.experiment!r}; must be one of the scale's that has arms or "
                    yield (*place, "experiment"), f"{text}a grid: {allowed}"
                    continue
                own = [columns for experiment, columns in runs if experiment == one.experiment]
                gone = {arm for experiment, arm in unknown if experiment == one.experiment}
                for side in ("of", "against"):
                    yield from _strange((*place, side), getattr(one, side), own, gone)


def _strange(
    place: Place, chosen: Selection, runs: list[dict[str, str]], gone: set[str | None]
) -> Iterator[tuple[Place, str]]:
    sound = True
    for column, values in chosen.items():
        known = [*dict.fromkeys(run[column] for run in runs)]
        absent = sorted(gone - {None}) if column == "arm" else []
        for value in values:
            if value in known:
                continue
            sound = False
            if value not in absent:
                text = f"found {value!r}; must be one that the experiment's runs have: "
                text += ", ".join([*known, *absent])
                yield (*place, column), text
    if sound and not any(all(run[c] in values for c, values in chosen.items()) for run in runs):
        yield place, "no run of this experiment has all of this"


def columns_of(entry: Entry) -> dict[str, str]:
    """The columns of the run table that a selection may name."""
    settings = entry.run.settings
    return {
        "arm": entry.arm,
        "network": settings.network.name,
        "norm": settings.network.norm,
        "optimizer": _optimizer_of(settings.optimizer),
    }
