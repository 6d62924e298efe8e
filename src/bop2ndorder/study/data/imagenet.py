"""ImageNet: a list of files, decoded while training by worker processes into published crops."""

from collections.abc import Iterable, Iterator
from math import exp, log, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .dataset import Data
from .decode import read_rgb
from .workers import Workers

# Published: a training crop has 8 to 100 % of the image's area and an aspect (width / height) of
# 3/4 to 4/3; an evaluation crop leaves 32 of image_size + 32 pixels of the short side away.
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
EVALUATION_BORDER = 32
ATTEMPTS = 10
# Images that a worker decodes at once: far fewer than a batch, so that what is decoded ahead stays
# small: 82 MB with 8 workers and images of 224 pixels.
CHUNK = 32

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


class _Chunk(NamedTuple):
    """Images that one worker decodes at once: their places in the stored list, and how."""

    folder: Path
    paths: list[bytes]
    places: list[int]
    image_size: int
    augment: dict | None
    seed: int


def _decode(chunk: _Chunk, out: np.ndarray) -> int:
    """Write a chunk's images to uint8 (CHUNK, H, W, 3); how many there are."""
    for path, place, image in zip(chunk.paths, chunk.places, out, strict=False):
        image[:] = np.asarray(_crop(read_rgb(chunk.folder / path.decode()), place, chunk))
    return len(chunk.places)


def _crop(image: Image.Image, place: int, chunk: _Chunk) -> Image.Image:
    """The draws of an image depend on the epoch's seed and the image alone, so that it does not
    matter which worker decodes it, and with which others."""
    size = chunk.image_size
    flip = False
    if chunk.augment is None:
        box = central_box(*image.size, size)
    else:
        draw = np.random.default_rng([chunk.seed, place])
        box = random_box(*image.size, size, draw)
        flip = chunk.augment["flip"] and draw.random() < 0.5
    image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


class FileData(Data):
    """Images as a list of files in a local folder.

    Crops are resized by Pillow, bicubic with antialiasing; TensorFlow's bicubic, used by the
    released code, has none unless asked for.
    """

    def __init__(self, path: Path, facts: dict) -> None:
        super().__init__(path, facts)
        self._workers: Workers | None = None  # started by the first pass that asks for some
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
        self, split, places, slices, device, generator, augment, workers
    ) -> Iterator[tuple[Tensor, Tensor]]:
        stored, size = self._stored(split), self.image_size
        paths = np.load(self.path / f"{stored}_paths.npy")
        labels = torch.from_numpy(np.load(self.path / f"{stored}_labels.npy"))
        batches = [places[here] for here in slices]
        chunks = (
            _Chunk(
                self._folder,
                paths[part.numpy()].tolist(),
                part.tolist(),
                size,
                augment,
                generator.initial_seed(),
            )
            for batch in batches
            for part in batch.split(CHUNK)
        )
        decoded = self._decoded(chunks, workers)
        on_cuda = device.type == "cuda"
        # Every batch of the pass is put together here. On CUDA it is copied from here while the
        # step before is computed, and the next batch waits until that is done.
        largest = max(map(len, batches), default=0)
        buffer = torch.empty((largest, size, size, 3), dtype=torch.uint8, pin_memory=on_cuda)
        copied = torch.cuda.Event() if on_cuda else None  # no GPU has run this yet
        for batch in batches:
            if copied is not None:
                copied.synchronize()
            images = buffer[: len(batch)]
            for part in images.split(CHUNK):
                # By NumPy: torch's copy would wake threads, which then spin on the workers' cores.
                np.copyto(part.numpy(), next(decoded).numpy())
            images = images.to(device, non_blocking=True)
            if copied is not None:
                copied.record(torch.cuda.current_stream(device))
            yield images, labels[batch].to(device, non_blocking=True)

    def _decoded(self, chunks: Iterable[_Chunk], count: int) -> Iterator[Tensor]:
        """The images of each chunk, uint8 (N, H, W, 3), each valid until the next."""
        shape = (CHUNK, self.image_size, self.image_size, 3)
        if count == 0:
            out = np.empty(shape, dtype=np.uint8)
            for chunk in chunks:
                yield torch.from_numpy(out[: _decode(chunk, out)])
            return
        if self._workers is None or self._workers.count != count:
            self._workers = Workers(_decode, shape, count)
        try:
            yield from self._workers.results(chunks)
        except Exception as error:
            self._workers = None  # those that are left end
            if not isinstance(error, ValueError):
                raise
            # A worker's error arrives with its whole traceback as its text; the last line is ours.
            sentence = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
            raise ValueError(sentence) from None
