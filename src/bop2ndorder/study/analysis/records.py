"""The records of an experiment's runs, as two tidy tables."""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ..config.claims import columns_of
from ..config.runs import Entry
from ..run.evaluate import PREFIX
from ..run.record import read_record
from .names import NETWORKS, SOURCES

HYPERPARAMETERS = ("gamma", "sigma", "threshold")
# Columns that are there even where no record is.
METRICS = (
    "test_top1_percent",
    "test_top5_percent",
    "val_top1_percent",
    "train_accuracy_percent",
    "flip_rate",
    "images_seen",
)
# On which images an accuracy was measured, by its column in metrics.json or history.csv.
SPLITS = {
    **{f"{prefix}_top1_percent": split for split, prefix in PREFIX.items()},
    "val_accuracy": "validation",
    "train_accuracy": "training",
}
ACCURACY = {column: f"{split} accuracy (%)" for column, split in SPLITS.items()}
ORIGINS = {
    "embedded": "embedded in scikit-learn",
    "download": "downloaded",
    "folder": "from a local image folder",
}
# Image folders that are not what torchvision downloads, by the hash of what is prepared from them.
COPIES = {
    "96eafb89f0e927706329ad27e05af8c8d527389f1f5906790583d33f87447657": "JPEG copies",
    "fd910f23222d7759a19b2a24a879b5436a243a39a4a84d9127603168234b4648": (
        "a subset of 3,000 training and 1,000 test images"
    ),
}
HISTORY = ("epoch", "images_seen", "train_accuracy", "val_accuracy", "flip_rate")


@dataclass(frozen=True)
class Records:
    """What is known of one experiment at one scale.

    Attributes:
        experiment: its name.
        scale: quick, small or paper.
        runs: one row an entry of the experiment, in the order of params.yaml. Columns: arm, axis,
            run (id), setting (the same for runs that differ in the seed alone), seed, data (its
            name in params.yaml), source (see `names.SOURCES`), network, norm, optimizer (see
            `names.OPTIMIZERS`), gamma, sigma, threshold, lr (a number, or the dict of a schedule),
            batch_size, epochs, train_on, judged_on (validation or test), missing, and those of
            metrics.json, empty where the record is missing.
        history: the rows of every history.csv, with the columns run and setting.
        provenance: the provenance.json of every run that has a record, in order, each once.
    """

    experiment: str
    scale: str
    runs: pd.DataFrame
    history: pd.DataFrame
    provenance: list[dict]

    @property
    def missing(self) -> list[str]:
        """Ids of the runs without a record."""
        return list(dict.fromkeys(self.runs.loc[self.runs["missing"], "run"]))

    @cached_property
    def accuracy(self) -> str:
        """The column of `runs` that this experiment compares, in percent.

        Runs that are judged on validation images have never looked at the test images.
        """
        on_validation = self.runs["judged_on"].eq("validation").all()
        return "val_top1_percent" if on_validation else "test_top1_percent"

    @property
    def measured(self) -> str:
        """What that is, in words: validation or test accuracy."""
        return f"{SPLITS[self.accuracy]} accuracy"

    @cached_property
    def curve(self) -> str:
        """The column of `history` that shows learning: held-out images wherever there are any."""
        return "val_accuracy" if self.held_out else "train_accuracy"

    def over_epochs(self, curve: str) -> pd.Series:
        """Run id -> mean of a column of `history` in percent: high for who learns soon."""
        return 100 * self.history.groupby("run")[curve].mean()

    @property
    def held_out(self) -> bool:
        """Whether every run holds out validation images."""
        return bool((self.runs["train_on"] == "train").all())

    @cached_property
    def images(self) -> str:
        """The images in words, such as CIFAR-10 (JPEG copies)."""
        sources = " and ".join(SOURCES[source] for source in self.runs["source"].unique())
        copies = {COPIES.get(p["data"]["sha256"]) for p in self.provenance} - {None}
        return f"{sources} ({', '.join(sorted(copies))})" if copies else sources

    def basis(self) -> str:
        """What every caption ends with: scale, data, seeds that are there."""
        data = {describe_data(p["data"]) for p in self.provenance}
        present = self.runs["seed"].where(~self.runs["missing"])
        seeds = present.groupby(self.runs["setting"]).nunique()
        low, high = int(seeds.min()), int(seeds.max())
        count = f"{high} seed{'s' * (high != 1)}" if low == high else f"{low} to {high} seeds"
        parts = [
            f"Scale {self.scale}",
            f"data {' and '.join(sorted(data)) or 'not recorded yet'}",
            f"{count} per setting",
        ]
        if self.missing:
            parts.append(f"{len(self.missing)} of {self.runs['run'].nunique()} runs missing")
        return "; ".join(parts) + "."


def load_records(
    entries: Iterable[Entry], results: Path, scale: str, experiment: str | None = None
) -> Records:
    """Read the records of an experiment.

    Args:
        entries: the entries of the study; those of other experiments are passed over.
        results: the folder results/SCALE, which holds the records in runs/ID.
        scale: quick, small or paper; named in every caption.
        experiment: its name; by default that of the first entry.
    """
    entries = list(entries)
    experiment = experiment or entries[0].experiment
    runs, histories, provenance = [], {}, {}
    for entry in (entry for entry in entries if entry.experiment == experiment):
        row = _settings_row(entry)
        folder = Path(results) / "runs" / entry.run.id
        record = read_record(folder)
        row["missing"] = record is None
        if record is not None:
            row |= record.metrics
            if entry.run.id not in histories:
                history = pd.read_csv(io.StringIO(record.history))
                histories[entry.run.id] = history.assign(run=entry.run.id, setting=row["setting"])
                provenance[entry.run.id] = record.provenance
        runs.append(row)
    frame = pd.DataFrame(runs).reindex(columns=list(dict.fromkeys([*runs[0], *METRICS])))
    history = (
        pd.concat(histories.values(), ignore_index=True)
        if histories
        else pd.DataFrame(columns=["run", "setting", *HISTORY])
    )
    return Records(experiment, scale, frame, history, list(provenance.values()))


def _settings_row(entry: Entry) -> dict:
    settings = entry.run.settings.model_dump()
    optimizer = settings["optimizer"]
    apart_from_seed = {key: value for key, value in settings.items() if key != "seed"}
    return {
        "arm": entry.arm,
        "axis": entry.axis,
        "run": entry.run.id,
        "setting": json.dumps(apart_from_seed, sort_keys=True),
        "seed": settings["seed"],
        "data": settings["data_name"],
        "source": settings["data"]["source"],
        **columns_of(entry),
        **{name: optimizer.get(name) for name in HYPERPARAMETERS},
        "lr": settings["lr"],
        "batch_size": settings["batch_size"],
        "epochs": settings["epochs"],
        "train_on": settings["train_on"],
        "judged_on": _judged_on(settings),
    }


def _judged_on(settings: dict) -> str:
    on_test = settings["train_on"] == "all" or settings["judged_on"] == "test"
    return "test" if on_test else "validation"


def sizes(runs: pd.DataFrame) -> str:
    """Which networks, how wide, for how many epochs, of rows of `Records.runs`, in words."""
    said = []
    for network, part in runs.groupby("network", sort=False):
        widths = {json.loads(setting)["network"]["width"] for setting in part["setting"]}
        epochs = sorted({*part["epochs"]})
        wide = ", ".join(f"{width:g}" for width in sorted(widths))
        span = f"{epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"{epochs[0]}"
        said.append(f"{NETWORKS[network]} of width {wide}, {span} epochs")
    return "; ".join(said)


def describe_data(data: dict) -> str:
    """The data of a record, with hash and origin."""
    return f"{data['name']} (sha256 {data['sha256'][:12]}, {origin_of(data)})"


def origin_of(data: dict) -> str:
    """Where a record's images came from, in words."""
    origin = ORIGINS.get(data["origin"], data["origin"])
    copies = COPIES.get(data["sha256"])
    return f"{copies} {origin}" if copies else origin
