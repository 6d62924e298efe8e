"""A prepared data set of random pixels: speed does not depend on what images show."""

from pathlib import Path

import numpy as np

from bop2ndorder.store import write_done, write_json


def write_random_images(folder: Path, images: int, size: int = 32, classes: int = 10) -> None:
    """Write what `open_data` opens as arrays.

    Args:
        folder: receives the files.
        images: how many there are to train on, and as many to test on; none for validation.
        size: height and width in pixels.
        classes: how many labels there are.
    """
    chance = np.random.default_rng(0)
    for part in ("train", "test"):
        shape = (images, size, size, 3)
        np.save(folder / f"{part}_images.npy", chance.integers(0, 256, shape, dtype=np.uint8))
        np.save(folder / f"{part}_labels.npy", chance.integers(0, classes, images))
    write_json(folder / "splits.json", {"train": list(range(images)), "validation": []})
    facts = {
        "source": "cifar10",
        "classes": [str(label) for label in range(classes)],
        "image_size": size,
        "mean": [127.5] * 3,
        "std": [127.5] * 3,
        "counts": {"train": images, "validation": 0, "test": images},
        "sha256": "",
        "origin": "random",
    }
    write_json(folder / "data.json", facts)
    write_done(folder)
