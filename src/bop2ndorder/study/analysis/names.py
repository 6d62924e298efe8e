"""How optimizers, networks, hyperparameters and schedules are called and coloured in results."""

import re
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import pandas as pd


class Names(dict):
    """Names for readers; what has none of its own is called as in params.yaml."""

    def __missing__(self, key: str) -> str:
        return key


OPTIMIZERS = {
    "bop": "Bop",
    "biased": "Bop2ndOrder, biased",
    "corrected": "Bop2ndOrder, corrected",
    "adam": "Bop2ndOrder, Adam's correction",
    "latent": "latent weights",
    "sign": "sign rule",
}
# Of Okabe and Ito, told apart by colour-blind readers.
COLOURS = {
    "bop": "#D55E00",
    "biased": "#0072B2",
    "corrected": "#009E73",
    "adam": "#CC79A7",
    "latent": "#555555",
    "sign": "#000000",
}
# For what has no colour of its own, in turn.
OTHERS = ("#009E73", "#CC79A7", "#D55E00", "#0072B2")
SCHEDULES = {"none": "#777777", "exponential": "#E69F00", "polynomial": "#56409C"}
SOURCES = Names(
    digits="handwritten digits", cifar10="CIFAR-10", imagenette="Imagenette", imagenet="ImageNet"
)
NETWORKS = Names(binarynet="BinaryNet", xnornet="XNOR-Net", birealnet="Bi-Real Net")
SYMBOLS = {
    "gamma": "gamma (adaptivity rate)",
    "sigma": "sigma (second-moment rate)",
    "threshold": "threshold",
    "lr": "learning rate of the real weights",
}


def coloured(known: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Name -> colour: those that are known, then the names that have none of their own."""
    others = [name for name in dict.fromkeys(names) if name not in known]
    return {**known, **dict(zip(others, cycle(OTHERS)))}


def schedule_start(value: Any) -> float | None:
    """A hyperparameter's value at the first step, where it stands in the settings."""
    return value.get("start") if isinstance(value, dict) else value


def schedule_kind(value: Any) -> str:
    """The kind of a hyperparameter's schedule: none, exponential, polynomial, noise_floor
    or steps_of_m."""
    return value["kind"] if isinstance(value, dict) else "none"


def schedule_text(value: Any) -> str:
    """A hyperparameter for a reader: 1e-7, or 1e-2 → 1e-5."""
    if not isinstance(value, dict):
        return "" if value is None or value != value else number_text(value)
    if value["kind"] == "noise_floor":
        return f"{number_text(value['times'])} × noise"
    if value["kind"] == "steps_of_m":
        return f"{number_text(value['times'])} steps of m"
    start = number_text(value["start"])
    if value["kind"] == "exponential":
        return f"{start} × {number_text(value['rate'])} / {value['every']:g} ep."
    until = f" in {100 * value['until']:g} %" if value["until"] < 1 else ""
    return f"{start} → {number_text(value['end'])}{until}"


def number_text(value: float) -> str:
    """A number as short as can be: 1e-7, 2.5e-3, 0.5, 50."""
    if value and abs(value) < 0.1:
        digits, exponent = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:g}"


def slug(name: str) -> str:
    """A name that is safe as a key: small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "")).strip("_")


def with_labels(runs: pd.DataFrame) -> pd.DataFrame:
    """`Records.runs` with a column "label" that tells apart the settings of each network.

    The optimizer's name where that is enough; with the arm's name, and then with a number, where
    several settings share it.
    """
    label = runs["optimizer"].map(OPTIMIZERS)
    arm = runs["arm"].str.replace("_", " ")
    label = label.where(_settings_per(runs, label) == 1, label + " (" + arm + ")")
    crowded = _settings_per(runs, label) > 1
    rank = runs["setting"].groupby([runs["network"], label]).transform(lambda s: pd.factorize(s)[0])
    return runs.assign(label=label.where(~crowded, label + " " + (rank + 1).astype(str)))


def _settings_per(runs: pd.DataFrame, label: pd.Series) -> pd.Series:
    return runs["setting"].groupby([runs["network"], label]).transform("nunique")
