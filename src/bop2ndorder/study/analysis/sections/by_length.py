"""Biased less Bop at each length of training, and how that changes with the length."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..records import Records
from .effects import COLUMNS, effect_row, model_of

# What is compared, each at several lengths: the arms' names without their epochs.
PAIRS = {
    "published": ("biased", "bop"),
    "scaled": ("biased", "bop_scaled"),
    "gamma": ("biased_gamma", "bop_gamma"),
}
SLOPE = "slope"


def differences(records: Records, metric: str = "") -> pd.DataFrame:
    """Biased less Bop at each length, and for each pair with two lengths the slope.

    The slope weighs each difference by its number of seeds; its interval, as all, is of one model
    of all runs. Where lengths have one seed each, their spread comes from those that have more.

    Args:
        records: of the experiment.
        metric: as `effects.model_of` takes it.

    Returns:
        pair (of `PAIRS`), kind (difference or slope), epochs (empty for a slope), and those of
        `effects.effect_row`; a slope is in points per ten times as many epochs.
    """
    model, arms = model_of(records, metric=metric), arms_of(records)
    rows = []
    for pair in PAIRS:
        lengths = [
            epochs for epochs in sorted(arms["epochs"].unique()) if weights_at(arms, pair, epochs)
        ]
        for epochs in lengths:
            row = effect_row(records, model, weights_at(arms, pair, epochs), metric)
            rows.append({"pair": pair, "kind": "difference", "epochs": epochs, **row})
        recorded = [
            (epochs, row["n"])
            for epochs, row in zip(lengths, rows[len(rows) - len(lengths) :], strict=True)
            if row["n"]
        ]
        if len(recorded) > 1:
            row = effect_row(records, model, dict(_slope(arms, pair, recorded)), metric)
            rows.append({"pair": pair, "kind": SLOPE, "epochs": None, **row})
    columns = ["pair", "kind", "epochs", *COLUMNS, "runs"]
    return pd.DataFrame(rows, columns=columns).astype({"epochs": "Int64"})


def arms_of(records: Records) -> pd.DataFrame:
    """One row an arm: arm, name (without its epochs) and epochs."""
    arms = records.runs.drop_duplicates("arm")[["arm", "epochs"]]
    return arms.assign(name=arms["arm"].str.replace(r"_\d+$", "", regex=True))


def weights_at(arms: pd.DataFrame, pair: str, epochs: int) -> dict[str, float]:
    """Weights of the difference at a length; none where one of the two arms is not there."""
    here = arms[arms["epochs"] == epochs].set_index("name")["arm"]
    if not {*PAIRS[pair]} <= {*here.index}:
        return {}
    of, against = PAIRS[pair]
    return {here[of]: 1.0, here[against]: -1.0}


def _slope(
    arms: pd.DataFrame, pair: str, recorded: list[tuple[int, int]]
) -> Iterator[tuple[str, float]]:
    """Weights of the slope against log10 of the epochs; recorded: (epochs, seeds) of each."""
    places = np.log10([epochs for epochs, _ in recorded])
    seeds = np.array([n for _, n in recorded], dtype=float)
    away = places - np.average(places, weights=seeds)
    slopes = seeds * away / (seeds * away**2).sum()
    for (epochs, _), slope in zip(recorded, slopes, strict=True):
        for arm, weight in weights_at(arms, pair, epochs).items():
            yield arm, weight * slope
