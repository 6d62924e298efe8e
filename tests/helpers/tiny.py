"""Runs that train in a fifth of a second, for the tests of training and of what follows it."""

import csv
from collections.abc import Callable
from pathlib import Path

from bop2ndorder.study.data import Data
from bop2ndorder.study.workflow.training import train_run

# Digits, of which each split keeps 60: three steps of 20 an epoch.
DATA = {"source": "digits", "image_size": 16, "validation": 60, "limit": 60}
STEPS, EPOCHS, BATCH = 3, 3, 20
OPTIMIZERS = {
    "bop": {"name": "bop", "gamma": 1e-3, "threshold": 1e-8},
    "adam": {
        "name": "bop2ndorder",
        "gamma": {"kind": "polynomial", "start": 1e-2, "end": 1e-4, "power": 1.0, "until": 1.0},
        "sigma": 1e-2,
        "threshold": 1e-6,
        "eps": 1e-10,
        "bias_correction": "adam",
    },
    "latent": {"name": "latent"},
}


def settings(optimizer: str = "bop", **changes) -> dict:
    """Settings of a run, as `config.Settings.model_dump()` gives them."""
    return {
        "data_name": "digits16",
        "data": {**DATA, "augment": {"pad": 1, "flip": False}},
        "network": {"name": "binarynet", "width": 4, "dense": 16, "norm": "batch"},
        "optimizer": OPTIMIZERS[optimizer],
        "lr": 0.01,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "train_on": "train",
        "norm_statistics": "moving",
        "seed": 0,
        "threads": 1,
        **changes,
    }


class Stopped(BaseException):
    """Like the KeyboardInterrupt of Ctrl-C, nothing that any code should catch."""


def stop_after(epoch: int) -> Callable[[dict], None]:
    """An `on_epoch` that stops the training after an epoch."""

    def stop(row: dict) -> None:
        if row["epoch"] == epoch:
            raise Stopped

    return stop


def finished_run(data: Data, folder: Path, **changes) -> Path:
    """Train a run with all its files; its folder."""
    places = folder, folder.with_suffix(".pt"), origin_of(folder)
    train_run(folder.name, settings(**changes), data, *places)
    return folder


def origin_of(folder: Path) -> Path:
    """Where the training of a run notes its origin: beside the run here."""
    return folder.with_name(f"{folder.name}.json")


def history(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's history.csv."""
    with (folder / "history.csv").open(newline="") as file:
        return [*csv.DictReader(file)]
