"""Made-up records with the shape of real ones, for tests of what is made of records."""

import csv
import hashlib
import json
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd

from bop2ndorder.study.analysis.records import Records

LAYERS = ("conv2", "conv3", "conv4", "conv5", "conv6", "dense1", "dense2")
COLUMN = "val_top1_percent"
NOISE = [0.3, -0.5, 0.2, 0.4, -0.1, -0.3]  # of six seeds
SOURCES = {"digits": "embedded", "imagenette": "folder"}


def told(section, records: Records) -> str:
    """What a section finds, as one text."""
    return " ".join(section.finding(records))


def made_up(experiment: str, rows: list[dict], history: dict | None = None) -> Records:
    """Records without files: rows of `Records.runs`, completed, and run -> accuracy each epoch.

    Each epoch has 100 images.
    """
    common = {
        "arm": "all", "axis": None, "seed": 0, "data": "digits16", "source": "digits",
        "network": "binarynet", "norm": "batch", "optimizer": "biased",
        "gamma": 1e-7, "sigma": 1e-3, "threshold": 1e-6, "lr": 0.01,
        "batch_size": 50, "epochs": 2, "train_on": "train", "missing": False,
        "test_top5_percent": np.nan, "train_accuracy_percent": np.nan, "flip_rate": np.nan,
    }  # fmt: skip
    runs = [
        {**common, "run": f"run{i}", "setting": f"setting{i}"} | row for i, row in enumerate(rows)
    ]
    for run in runs:
        run.setdefault("judged_on", "test" if run["train_on"] == "all" else "validation")
    curves = pd.DataFrame(
        [
            (run, epoch, 100 * epoch, accuracy, accuracy)
            for run, curve in (history or {}).items()
            for epoch, accuracy in enumerate(curve, 1)
        ],
        columns=["run", "epoch", "images_seen", "train_accuracy", "val_accuracy"],
    )
    return Records(experiment, "quick", pd.DataFrame(runs), curves, [])


def arms(column="test_top1_percent", limit=None, **values):
    """Rows of `made_up`: arms with a value a seed; None is a missing record.

    1,000 images are held out for validation, of which at most `limit` are kept.
    """
    data = {"source": "digits", "image_size": 16, "validation": 1000, "limit": limit}
    return [
        {
            "arm": arm,
            "run": f"{arm}{seed}",
            "setting": json.dumps({"arm": arm, "data": data, "network": {"width": 12}}),
            "seed": seed,
            "train_on": "all",
            column: math.nan if value is None else value,
            "test_images": 1000,
            "missing": value is None,
        }
        for arm, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]


def records_of(experiment: str, arms: dict[str, list[float | None]], **columns: dict):
    """Records with these values of each arm, a seed each; columns: arm -> value, by column."""
    rows = [
        {
            COLUMN: np.nan if value is None else value,
            "arm": arm,
            "setting": arm,
            "run": f"{arm}{seed}",
            "seed": seed,
            "missing": value is None,
            **{name: values[arm] for name, values in columns.items()},
        }
        for arm, of_arm in arms.items()
        for seed, value in enumerate(of_arm)
    ]
    return made_up(experiment, rows)


def write_records(entries, results: Path, skip=()) -> None:
    """Write a record for every run of `entries` whose id is not in `skip`."""
    for run in {entry.run.id: entry.run for entry in entries}.values():
        if run.id not in skip:
            write_record(run, results / "runs" / run.id)


def write_record(run, folder: Path) -> None:
    """One record: the values follow from the run's id alone."""
    settings = run.settings.model_dump()
    chance = random.Random(run.id)
    history = [row | _audit(settings) for row in _history(settings, chance)]
    last = history[-1]
    held_out = settings["train_on"] == "train"
    of_test = round(100 * last["train_accuracy"] - 3 + chance.gauss(0, 0.6), 4)
    on_test = not held_out or settings["judged_on"] == "test"
    split, top1 = ("test", of_test) if on_test else ("val", 100 * last["val_accuracy"])
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {
        "run": run.id,
        f"{split}_top1_percent": top1,
        f"{split}_top5_percent": min(100.0, top1 + 4),
        f"{split}_loss": 0.4,
        f"{split}_images": 360,
        "train_loss": last["train_loss"],
        "train_accuracy_percent": 100 * last["train_accuracy"],
        "flip_rate": last["flip_rate"],
        "epochs": settings["epochs"],
        "images_seen": last["images_seen"],
        "weights_sha256": _sha256(run.id),
    }
    provenance = {
        "run": run.id,
        "settings": settings,
        "data": {
            "name": settings["data_name"],
            "sha256": _sha256(settings["data_name"]),
            "origin": SOURCES.get(settings["data"]["source"], "download"),
        },
        "code": {"training": "0123456789", "preparing": "9876543210"},
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "versions": {"python": "3.11.2", "torch": "2.14.1"},
        "device": "cpu",
        "processor": {"model": "a processor", "vendor": "a maker", "extensions": [], "cores": 2},
        "system": "Linux x86_64",
        "threads": settings["threads"],
        "numerics": {
            "in_force": "native",
            "aten": "AVX2",
            "onednn": None,
            "mkl": None,
            "numpy": "baseline",
        },
        "precision": "float32",
        "train_seconds": 12.5,
        "images_per_second": [1000.0] * settings["epochs"],
    }
    for name, content in (("metrics.json", metrics), ("provenance.json", provenance)):
        (folder / name).write_text(json.dumps(content, indent=1))
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _history(settings: dict, chance: random.Random) -> list[dict]:
    optimizer, epochs = settings["optimizer"], settings["epochs"]
    reach, pace = _quality(optimizer), 1.5 + 2 * (optimizer["name"] == "bop2ndorder")
    reach += 0.01 * chance.gauss(0, 1) - 0.05 * (settings["network"].get("norm") == "layer")
    rows = []
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        accuracy = reach - (reach - 0.1) * math.exp(-4 * pace * done) + chance.gauss(0, 0.006)
        level = 2e-3 * 10 ** (-2.5 * done)
        flips = {
            f"flip_rate/{name}": level / (1 + place) * chance.uniform(0.8, 1.2)
            for place, name in enumerate(LAYERS)
        }
        rows.append(
            {
                "epoch": epoch,
                "step": epoch * 25,
                "images_seen": epoch * 1250,
                "train_loss": 2.3 - 2 * accuracy,
                "train_accuracy": min(accuracy, 1.0),
                "val_loss": None if settings["train_on"] == "all" else 2.4 - 2 * accuracy,
                "val_accuracy": None if settings["train_on"] == "all" else accuracy - 0.02,
                "flip_rate": sum(flips.values()) / len(flips),
                **flips,
                "gamma": 1e-4,
                "sigma": None,
                "threshold": 1e-8,
                "lr": 0.01,
            }
        )
    return rows


def _audit(settings: dict) -> dict:
    """What the threshold does, the same in every epoch; Bop's holds nine of ten, others few."""
    held = {"latent": None, "bop": 0.9}.get(settings["optimizer"]["name"], 1e-4)
    columns = ("due", "held", "off", "wait", "threshold_steps", "gradient_rms")
    values = [0.02, held, 0.02 * held, held / (1 - held), 100 * held, 1e-4] if held else [None] * 6
    shadows = {f"disagree/{name}": held for name in settings["shadows"]}
    layers = {
        f"{column}/{layer}": value
        for column, value in zip(columns, values, strict=True)
        if column not in ("due", "wait")
        for layer in LAYERS
    }
    return {**dict(zip(columns, values, strict=True)), **layers, **shadows}


def _quality(optimizer: dict) -> float:
    """Best near the middle of a grid, worse with every decade away from it."""
    if optimizer["name"] == "latent":
        return 0.95
    centre = {"bop": (1e-4, 1e-8, 0.05)}.get(optimizer["name"], (1e-7, 1e-6, 0.02))
    gamma, threshold = (
        value.get("start", 1e-6) if isinstance(value, dict) else value
        for value in (optimizer["gamma"], optimizer["threshold"])
    )
    scheduled = any(isinstance(optimizer[name], dict) for name in ("gamma", "threshold"))
    threshold = threshold or 1e-12
    away = abs(math.log10(gamma / centre[0])) + 0.6 * abs(math.log10(threshold / centre[1]))
    return 0.92 + 0.02 * scheduled - centre[2] * min(away, 3)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
