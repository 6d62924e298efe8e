"""Contestant: training as `bop2ndorder train` does it. ours.py WIDTH DENSE BATCH THREADS

BinaryNet, Bop2ndOrder and Adam, random crops and flips of uint8 images of CIFAR-10's size; loss,
hits and flips are counted.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import torch
from contestant import serve
from random_images import write_random_images
from run_settings import COMMON

from bop2ndorder.study.data import open_data
from bop2ndorder.study.run.deterministic import use_deterministic_kernels
from bop2ndorder.study.run.trainer import Trainer

IMAGES = 10_000


def main(width: int, dense: int, batch: int, threads: int) -> None:
    settings = {
        **COMMON,
        "data": {"augment": {"pad": 4, "flip": True}},
        "network": {"name": "binarynet", "width": width, "dense": dense, "norm": "batch"},
        "epochs": 1,
        "batch_size": batch,
        "train_on": "train",
        "threads": threads,
    }
    torch.set_num_threads(threads)
    use_deterministic_kernels()
    with tempfile.TemporaryDirectory() as folder:
        write_random_images(Path(folder), IMAGES)
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
