"""ImageNet: a list of files, decoded while training by worker processes into published crops."""

from collections.abc import Iterator
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .dataset import Data
from .decode import read_rgb

# Published: a training crop has 8 to 100 % of the image's area and an aspect (width / height) of
# 3/4 to 4/3; an evaluation crop leaves 32 of image_size + 32 pixels of the short side away.
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
EVALUATION_BORDER = 32
ATTEMPTS = 10

Box = tuple[int, int, int, int]


def central_box(width: int, height: int, image_size: int) -> Box:
    """The central square whose side is image_size / (image_size + 32) of the image's short side.

    Args:
        width, height: of the image, in pixels.
        image_size: what the crop is resized to afterwards.

    Returns:
        left, top, right, bottom.
    """
    side = max(1, int(min(width, height) * image_size / (image_size + EVALUATION_BORDER)))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return left, top, left + side, top + side


def random_box(width: int, height: int, image_size: int, draw: np.random.Generator) -> Box:
    """A random crop: area uniform on 8-100 %, logarithm of the aspect uniform on 3/4-4/3.

    A crop that does not fit is drawn again, ten times at most; then it is the central one.
    (TensorFlow's sampler, used by the released code, has the same two ranges, but draws the
    aspect itself uniformly.)

    Args:
        width, height: of the image, in pixels.
        image_size: what the crop is resized to afterwards.
        draw: where the random numbers come from.

    Returns:
        left, top, right, bottom.
    """
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(*AREA)
        aspect = exp(draw.uniform(log(ASPECT[0]), log(ASPECT[1])))
        across, down = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left = int(draw.integers(width - across + 1))
            top = int(draw.integers(height - down + 1))
            return left, top, left + across, top + down
    return central_box(width, height, image_size)


class _Decoder(Dataset):
    """Places of a split -> (uint8 (H, W, 3), label). The draws of an image depend on the epoch's
    seed and the image alone, so that it does not matter which worker decodes it."""

    def __init__(self, folder, paths, labels, places, image_size, augment, seed):
        self.folder, self.paths, self.labels, self.places = folder, paths, labels, places
        self.image_size, self.augment, self.seed = image_size, augment, seed

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        place = int(self.places[item])
        image = read_rgb(self.folder / self.paths[place].decode())
        size = self.image_size
        flip = False
        if self.augment is None:
            box = central_box(*image.size, size)
        else:
            draw = np.random.default_rng([self.seed, place])
            box = random_box(*image.size, size, draw)
            flip = self.augment["flip"] and draw.random() < 0.5
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)), int(self.labels[place])


class FileData(Data):
    """Images as a list of files in a local folder.

    Crops are resized by Pillow, bicubic with antialiasing; TensorFlow's bicubic, used by the
    released code, has none unless asked for.
    """

    def __init__(self, path: Path, facts: dict) -> None:
        super().__init__(path, facts)
        self._folder = Path(facts["folder"])
        if not self._folder.is_dir():
            raise FileNotFoundError(
                f"the images of {path} are no longer in {self._folder}: put them back, or name "
                "their folder in params.yaml under `local: {imagenet: FOLDER}` and prepare again"
            )

    def _check_augment(self, augment: dict | None) -> None:
        if augment is not None and (
            set(augment) != {"crop", "flip"} or augment["crop"] != "random_resized"
        ):
            raise ValueError(
                f"augment is {augment}; imagenet takes {{'crop': 'random_resized', 'flip': bool}}"
            )

    def _batches(
        self, split, places, batch_size, within, device, generator, augment, workers
    ) -> Iterator[tuple[Tensor, Tensor]]:
        stored = self._stored(split)
        places = torch.cat([batch[within] for batch in places.split(batch_size)])
        decoder = _Decoder(
            self._folder,
            np.load(self.path / f"{stored}_paths.npy"),
            np.load(self.path / f"{stored}_labels.npy"),
            places.numpy(),
            self.image_size,
            augment,
            generator.initial_seed(),
        )
        loader = DataLoader(
            decoder,
            within.stop - within.start,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            generator=generator,  # or it would draw from torch's global generator
        )
        try:
            for images, labels in loader:
                yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        except ValueError as error:
            # A worker's error arrives with its whole traceback as its text; the last line is ours.
            sentence = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
            raise ValueError(sentence) from None
