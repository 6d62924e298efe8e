"""Small folders of generated images, for the tests of data."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, width: int, height: int) -> Image.Image:
    """An RGB image of random pixels."""
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_folder(
    root: Path,
    train: int = 6,
    test: int = 3,
    classes: tuple[str, ...] = ("cat", "ant"),
    test_name: str = "test",
    extension: str = ".png",
    width: int = 20,
    height: int = 14,
) -> Path:
    """Write train/CLASS/* and TEST/CLASS/* with so many images a class; return `root`."""
    for part, count in (("train", train), (test_name, test)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * label + number + (500 if part != "train" else 0)
                noise(seed, width, height).save(folder / f"{number:03}{extension}")
    return root


def settings(source: str = "cifar10", **changes) -> dict:
    """Settings for `prepare` that suit the folders above."""
    return {"source": source, "image_size": 8, "validation": 4, "limit": None, **changes}
