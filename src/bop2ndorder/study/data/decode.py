"""Images decoded to uint8 RGB with Pillow."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

# What Pillow raises for files that are truncated or no images at all.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file; grey, palette, CMYK and transparent images become RGB.

    Raises:
        ValueError: the file is truncated, damaged or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()
            # Of an image that is RGB already convert() would make a copy.
            return image if image.mode == "RGB" else image.convert("RGB")
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}): replace it by a sound copy or remove it"
        ) from None


def square(image: Image.Image, size: int) -> Image.Image:
    """Resize the short side to `size` (bicubic, antialiased) and cut the centre size x size."""
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    if (width, height) == (size, size):
        return image
    box = (left, top, left + short, top + short)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def decode_into(
    out: np.ndarray, images: Sequence[Path] | np.ndarray, what: str, progress: bool
) -> None:
    """Fill `out` with square images, decoded in threads (Pillow frees Python's lock meanwhile).

    Args:
        out: uint8 (N, size, size, 3), e.g. memory-mapped.
        images: N paths, or decoded images uint8 (N, H, W, 3).
        what: name for the progress bar.
        progress: whether to show it.

    Raises:
        ValueError: an image cannot be read.
    """
    size = out.shape[1]

    def fill(place: int) -> None:
        image = images[place]
        rgb = read_rgb(image) if isinstance(image, Path) else Image.fromarray(image)
        out[place] = square(rgb, size)

    with ThreadPoolExecutor() as pool:
        done = pool.map(fill, range(len(images)))
        for _ in tqdm(done, total=len(images), desc=what, unit="image", disable=not progress):
            pass
