"""What is made of the records of each experiment, and of the study as a whole."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from ...config import Entry
from ...run.record import read_record
from ..exhibits import Exhibits, Table
from ..names import text
from ..records import ACCURACY, HYPERPARAMETERS, Records, load_records
from . import comparison, hyperparameters, noise_floor, normalization, plateau, schedules, tuning


@dataclass(frozen=True)
class Experiment:
    """How an experiment is shown: its title, what it asks, and the module with its exhibits.

    The title says {} where the images are to be named.
    """

    title: str
    asks: str
    module: ModuleType


TUNING = (
    "Which settings are best for each optimizer, out of as many each? The tuned arms of the "
    "comparison use them. (Beyond the paper.)"
)
# In the order of the report: what is final first, what led to it after.
EXPERIMENTS = {
    "cifar10": Experiment(
        "BinaryNet on {}",
        "Which accuracy does each optimizer reach, and how soon? (Section 5.2 of the paper.)",
        comparison,
    ),
    "imagenet": Experiment(
        "XNOR-Net and Bi-Real Net on {}",
        "The same with networks whose first and last layers are real-valued. (Section 5.3.)",
        comparison,
    ),
    "hyperparameters": Experiment(
        "Hyperparameters",
        "How much does accuracy depend on gamma, sigma and threshold? (Sections 5.1.2, 5.1.3.)",
        hyperparameters,
    ),
    "schedules": Experiment(
        "Schedules",
        "What does it change to let a hyperparameter decay during training? (Section 5.1.4.)",
        schedules,
    ),
    "normalization": Experiment(
        "Normalization",
        "Batch or layer normalization, with and without bias correction? (Section 5.1.1.)",
        normalization,
    ),
    "noise_floor": Experiment(
        "Noise floor",
        "Of gradients that are noise alone, m / sqrt(v) has the standard deviation sqrt(gamma / "
        "(2 - gamma)), the noise floor. Is threshold / noise floor what counts, and is a threshold "
        "at that height of use? (Beyond the paper.)",
        noise_floor,
    ),
    "plateau": Experiment(
        "Plateau",
        "Had training come to its end? The tuned arms of the CIFAR-10 comparison once more, with "
        "validation images held out. (Beyond the paper.)",
        plateau,
    ),
    "tuning_cifar10": Experiment("Tuning BinaryNet on {}", TUNING, tuning),
    "tuning_imagenet": Experiment("Tuning XNOR-Net and Bi-Real Net on {}", TUNING, tuning),
}


def experiment_of(name: str) -> Experiment:
    """The experiment of that name; one that the paper does not have is a plain comparison."""
    title = name.replace("_", " ").capitalize()
    return EXPERIMENTS.get(name) or Experiment(title, "", comparison)


def exhibits_of(records: Records) -> Exhibits:
    """The tables and pictures of an experiment, by name; last, its runs."""
    shown = experiment_of(records.experiment).module.exhibits(records)
    return {**shown, "runs": run_table(records)}


def run_table(records: Records) -> Table:
    """Every run with its numbers, the missing ones too."""
    runs = records.runs
    as_text = {name: runs[name].map(text) for name in (*HYPERPARAMETERS, "lr")}
    accuracy = [
        "missing" if missing else f"{value:.2f}"
        for missing, value in zip(runs["missing"], runs[records.accuracy], strict=True)
    ]
    return Table(
        "runs",
        "Every run",
        "The records behind this experiment are in runs/, in a folder of this name each. "
        f"{records.basis()}",
        runs.assign(**as_text).drop(columns=["setting", "source"]),
        pd.DataFrame(
            {
                "run": runs["run"],
                "arm or axis": runs["arm"],
                "seed": runs["seed"].astype(str),
                ACCURACY[records.accuracy]: accuracy,
            }
        ),
    )


def analyse(experiment: str, entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write the tables and figures of one experiment to results/EXPERIMENT.

    Args:
        experiment: its name in params.yaml.
        entries: its entries (those of other experiments are passed over).
        results: the folder results/SCALE, which holds the records in runs/ID.
        scale: quick, small or paper; named in every caption.

    Writes TABLE.csv and TABLE.md, FIGURE.png and FIGURE.svg, and exhibits.json, from which the
    report is made. A missing record is listed, and left out of means.
    """
    records = load_records(entries, results, scale, experiment)
    folder = Path(results) / experiment
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.suffix in (".csv", ".md", ".png", ".svg"):
            old.unlink()
    shown = experiment_of(experiment)
    write_json(
        folder / "exhibits.json",
        {
            "experiment": experiment,
            "title": shown.title.format(records.images),
            "asks": shown.asks,
            "exhibits": [exhibit.write(folder) for exhibit in exhibits_of(records).values()],
            "missing": records.missing,
        },
    )


def summarise(entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write results/metrics.json: experiment -> setting -> headline numbers, for `dvc metrics`."""
    entries = list(entries)
    metrics: dict[str, Any] = {}
    for name in dict.fromkeys(entry.experiment for entry in entries):
        records = load_records(entries, results, scale, name)
        metrics[name] = experiment_of(name).module.headline(records)
    ids = {entry.run.id for entry in entries}
    done = sum(read_record(Path(results) / "runs" / run) is not None for run in ids)
    metrics["study"] = {"runs": len(ids), "records": done}
    write_json(Path(results) / "metrics.json", rounded(metrics))


def rounded(value: Any) -> Any:
    """Nested numbers with three digits after the point, without the empty ones."""
    if isinstance(value, Mapping):
        inner = {key: rounded(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in (None, {})}
    if pd.isna(value):
        return None
    return int(value) if isinstance(value, int | np.integer) else round(float(value), 3)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
