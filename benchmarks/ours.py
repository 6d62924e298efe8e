"""Contestant: training as `bop2ndorder train` does it. ours.py WIDTH DENSE BATCH THREADS

BinaryNet, Bop2ndOrder and Adam, random crops and flips of uint8 images of CIFAR-10's size; loss,
hits and flips are counted.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from contestant import serve

from bop2ndorder.store import write_done, write_json
from bop2ndorder.study.data import open_data
from bop2ndorder.study.run.deterministic import use_deterministic_kernels
from bop2ndorder.study.run.trainer import Trainer

IMAGES = 10_000


def write_random_images(folder: Path) -> None:
    """A prepared data set of random pixels; speed does not depend on what the images show."""
    chance = np.random.default_rng(0)
    for part in ("train", "test"):
        shape = (IMAGES, 32, 32, 3)
        np.save(folder / f"{part}_images.npy", chance.integers(0, 256, shape, dtype=np.uint8))
        np.save(folder / f"{part}_labels.npy", chance.integers(0, 10, IMAGES))
    write_json(folder / "splits.json", {"train": list(range(IMAGES)), "validation": []})
    facts = {
        "source": "cifar10",
        "classes": [str(label) for label in range(10)],
        "image_size": 32,
        "mean": [127.5] * 3,
        "std": [127.5] * 3,
        "counts": {"train": IMAGES, "validation": 0, "test": IMAGES},
        "sha256": "",
        "origin": "random",
    }
    write_json(folder / "data.json", facts)
    write_done(folder)


def main(width: int, dense: int, batch: int, threads: int) -> None:
    settings = {
        "data": {"augment": {"pad": 4, "flip": True}},
        "network": {"name": "binarynet", "width": width, "dense": dense, "norm": "batch"},
        "optimizer": {
            "name": "bop2ndorder",
            "gamma": 1e-7,
            "sigma": 1e-3,
            "threshold": 1e-6,
            "eps": 1e-10,
            "bias_correction": "constant",
        },
        "lr": 0.01,
        "epochs": 1,
        "batch_size": batch,
        "train_on": "train",
        "seed": 0,
        "threads": threads,
    }
    torch.set_num_threads(threads)
    use_deterministic_kernels()
    with tempfile.TemporaryDirectory() as folder:
        write_random_images(Path(folder))
        trainer = Trainer(settings, open_data(folder), "cpu")
        trainer.network.train()
        epochs = (trainer.batches(epoch) for epoch in itertools.count())
        batches = itertools.chain.from_iterable(epochs)
        steps = 0

        def step() -> None:
            nonlocal steps
            trainer.step(*next(batches), steps)
            steps += 1

        serve(step, units=batch, seconds=2.0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
