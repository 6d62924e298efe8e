"""Contestant: JPEGs decoded into batches. images.py limit|ours|plain FOLDER BATCH WORKERS

Units are images; a step is an epoch of FOLDER/images/train, prepared in FOLDER/data.

- limit: processes decode and resize, and throw away what they made.
- ours: `Data.batches`; "meta", which takes nothing, stands for the accelerator.
- plain: as one writes it first: a `DataLoader` of single images, made anew for each epoch, whose
  workers return whole batches.
"""

import itertools
import sys
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from contestant import serve
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bop2ndorder.study.data import open_data
from bop2ndorder.study.data.imagenet import random_box

SIZE = 224


def crop(path: Path, draw: np.random.Generator) -> Image.Image:
    """Decode an image and resize a random crop of it."""
    with Image.open(path) as image:
        image.load()
    box = random_box(*image.size, SIZE, draw)
    return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)


def throw_away(numbered: tuple[int, Path]) -> None:
    number, path = numbered
    crop(path, np.random.default_rng(number))


class Images(Dataset):
    """Single images, with their numbers as labels."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        draw = np.random.default_rng(number)
        image = crop(self.paths[number], draw)
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.array(image), number


def limit(folder: Path, paths: list[Path], batch: int, workers: int) -> Callable[[], Iterable]:
    pool = get_context("fork").Pool(workers)
    return lambda: pool.imap_unordered(throw_away, enumerate(paths), chunksize=16)


def ours(folder: Path, paths: list[Path], batch: int, workers: int) -> Callable[[], Iterable]:
    data, seeds = open_data(folder / "data"), itertools.count()
    augment = {"crop": "random_resized", "flip": True}
    return lambda: data.batches(
        "train", batch, device="meta", seed=next(seeds), augment=augment, workers=workers
    )


def plain(folder: Path, paths: list[Path], batch: int, workers: int) -> Callable[[], Iterable]:
    return lambda: DataLoader(Images(paths), batch, shuffle=True, num_workers=workers)


if __name__ == "__main__":
    kind, folder, batch, workers = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    paths = sorted((folder / "images" / "train").rglob("*.JPEG"))
    epoch = {"limit": limit, "ours": ours, "plain": plain}[kind](folder, paths, batch, workers)

    def step() -> None:
        for _ in epoch():
            pass

    serve(step, units=len(paths), seconds=1, at_least=1)
