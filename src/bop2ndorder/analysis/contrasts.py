"""Some runs of an experiment against others: a difference, its interval, what it rests on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..config.claims import Comparison, Selection
from .names import start
from .reaching import images_of_run
from .records import Records
from .statistics import (
    Estimate,
    bootstrap_interval,
    bounded_interval,
    joined,
    mean_interval,
    share_near_best,
    shared_baseline_interval,
    spread_of,
)

UNITS = {
    "accuracy": "points",
    "images": "% fewer images",
    "spread": "points",
    "share": "percentage points",
}
# Of a grid, larger is better.
GRID_MEASURES = {"spread": lambda accuracy: -spread_of(accuracy), "share": share_near_best}
NOTHING = Estimate(np.nan, np.nan, np.nan, 0)


@dataclass(frozen=True)
class Contrast:
    """What a comparison found.

    Attributes:
        estimate: the difference, positive where it speaks for the first.
        over: what `estimate.n` counts: seeds, settings or cells.
        metric: the column of metrics.json or, for images, of history.csv that was read.
        complete: whether there are runs on both sides and all have a record.
        note: what a reader has to know of it besides.
        runs, against_runs: ids behind the two sides.
    """

    estimate: Estimate
    over: str
    metric: str
    complete: bool
    note: str
    runs: str
    against_runs: str


def contrast(comparison: Comparison, records: Records, level: float | None = None) -> Contrast:
    """Compare runs of one experiment.

    Args:
        comparison: which runs, and by which measure.
        records: the records of its experiment.
        level: accuracy in percent, for the measure `images`.

    Raises:
        ValueError: a run has several partners, since `paired_by` does not tell them apart.
    """
    chosen = [select(records.runs, side) for side in (comparison.of, comparison.against)]
    notes = [
        f"no runs with {described(side)}"
        for side, runs in zip((comparison.of, comparison.against), chosen, strict=True)
        if runs.empty
    ]
    absent = [int(runs["missing"].sum()) for runs in chosen]
    if any(absent):
        notes.append(f"{sum(absent)} of {sum(map(len, chosen))} runs have no record")
    complete = not notes
    of, against = (runs[~runs["missing"].astype(bool)] for runs in chosen)
    metric = records.accuracy
    if of.empty or against.empty:
        estimate, over = NOTHING, "seeds"
    elif comparison.measure in GRID_MEASURES:
        estimate, over = _of_grids(of, against, metric, comparison.measure)
        if not estimate.n:
            notes.append("the grids are not of the same shape")
    elif comparison.measure == "images":
        metric = records.curve
        sides = [_with_images(runs, records, level) for runs in (of, against)]
        pairs = _pairs(*sides, comparison)
        estimate, over = _of_pairs(_log_ratios(pairs))
        estimate = Estimate(*(_percent_fewer(x) for x in estimate[:3]), estimate.n)
        notes += [_describe_reach(runs, level) for runs in sides]
    else:
        sides = [runs.assign(low=runs[metric], high=runs[metric]) for runs in (of, against)]
        pairs = _pairs(*sides, comparison)
        difference = pairs["low"] - pairs["low_against"]
        estimate, over = _of_pairs(pairs.assign(low=difference, high=difference))
    if over == "seeds" and estimate.n < 2:
        notes.append("too few seeds for an interval")
    note = "; ".join(filter(None, notes))
    return Contrast(estimate, over, metric, complete, note, joined(of["run"]),
                    joined(against["run"]))  # fmt: skip


def select(runs: pd.DataFrame, where: Selection) -> pd.DataFrame:
    """The runs whose columns have one of the values named; those of axes are left out."""
    chosen = runs["axis"].isna()
    for column, values in where.items():
        chosen &= runs[column].isin(values)
    return runs[chosen]


def described(where: Selection) -> str:
    """A selection in words."""
    return " and ".join(f"{column} {', '.join(values)}" for column, values in where.items())


def _pairs(of: pd.DataFrame, against: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    """One row a pair, with seed, low, high, low_against, high_against and run_against."""
    keys = comparison.paired_by
    if against.duplicated(keys).any():
        raise ValueError(
            f"a run of {described(comparison.of)} has several partners among those of "
            f"{described(comparison.against)} in the experiment {comparison.experiment}: name in "
            "paired_by (params.yaml, claims) what tells them apart"
        )
    columns = dict.fromkeys([*keys, "run", "seed", "low", "high"])
    return of[list(columns)].merge(
        against[list(columns)], on=keys, suffixes=("", "_against"), validate="m:1"
    )


def _of_pairs(pairs: pd.DataFrame) -> tuple[Estimate, str]:
    """Over seeds where there are several, each a mean over its pairs; else over the pairs."""
    if pairs["seed"].nunique() > 1:
        by_seed = pairs.groupby("seed")[["low", "high"]].mean()
        return bounded_interval(by_seed["low"], by_seed["high"]), "seeds"
    if len(pairs) == 1 or not pairs["low"].equals(pairs["high"]):
        return bounded_interval(pairs["low"], pairs["high"]), "seeds" if len(
            pairs
        ) == 1 else "settings"
    return shared_baseline_interval(pairs["low"], pairs["run_against"]), "settings"


def _with_images(runs: pd.DataFrame, records: Records, level: float) -> pd.DataFrame:
    """Bounds on the images that each run needs to reach an accuracy, as low and high."""
    found = [images_of_run(records, run, level) for run in runs["run"]]
    return runs.assign(low=[low for low, _ in found], high=[high for _, high in found])


def _log_ratios(pairs: pd.DataFrame) -> pd.DataFrame:
    """Bounds on log(images of the partner / images of the run)."""
    with np.errstate(divide="ignore"):
        low = np.log(pairs["low_against"] / pairs["high"])
        high = np.log(pairs["high_against"] / pairs["low"])
    return pairs.assign(low=low, high=high)


def _percent_fewer(log_ratio: float) -> float:
    return 100 * (1 - np.exp(-log_ratio))


def _describe_reach(runs: pd.DataFrame, level: float) -> str:
    """Of how many runs it is not known exactly when they reach an accuracy."""
    never, at_once = np.isinf(runs["high"]).sum(), (runs["low"] == 0).sum()
    who = "/".join(dict.fromkeys(runs["arm"]))
    parts = []
    if never:
        parts.append(f"{who}: {never} of {len(runs)} runs never reach {level:g} %")
    if at_once:
        parts.append(f"{who}: {at_once} of {len(runs)} runs reach {level:g} % in the first epoch")
    return "; ".join(parts)


def _of_grids(
    of: pd.DataFrame, against: pd.DataFrame, metric: str, measure: str
) -> tuple[Estimate, str]:
    """Two grids, cell by cell: over seeds where both have several, else by bootstrap."""
    grids = [_cells(runs, metric) for runs in (of, against)]
    if not grids[0].index.equals(grids[1].index):
        return NOTHING, "cells"
    number = GRID_MEASURES[measure]
    seeds = grids[0].dropna(axis=1).columns.intersection(grids[1].dropna(axis=1).columns)
    if len(seeds) > 1:
        values = [number(grid[seeds].to_numpy().T) for grid in grids]
        return mean_interval(values[0] - values[1]), "seeds"
    means = [grid.mean(axis=1) for grid in grids]
    return bootstrap_interval(*means, number), "cells"


def _cells(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Accuracy by place in the grid (first, second ... gamma and threshold) and seed."""
    places = [
        pd.to_numeric(runs[name].map(start)).rank(method="dense") for name in ("gamma", "threshold")
    ]
    return runs.pivot_table(metric, index=places, columns="seed").sort_index()
