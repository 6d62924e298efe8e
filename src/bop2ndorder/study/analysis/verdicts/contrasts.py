"""Some runs of an experiment against others: a difference, its interval, what it rests on."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...config.claims import Comparison, Selection
from ..names import schedule_start
from ..records import Records
from ..sections.reaching import images_of_run
from ..statistics import (
    Estimate,
    bootstrap_interval,
    bounded_interval,
    joined,
    mean_interval,
    near_best,
    shared_baseline_interval,
)

UNITS = {
    "accuracy": "points",
    "images": "times as many images",
    "spread": "points",
    "share": "percentage points",
}
# What a measure of a grid makes of its cells, and the number out of them; the larger the better.
# The share is counted below the best of the whole grid, also where only some cells are drawn.
GRID_MEASURES = {
    "spread": (lambda accuracy: accuracy, lambda cells: -cells.std(axis=-1, ddof=1)),
    "share": (near_best, lambda cells: 100 * cells.mean(axis=-1)),
}


@dataclass(frozen=True)
class Contrast:
    """What a comparison found.

    Attributes:
        estimate: the difference, positive where it speaks for the first; of images the logarithm of
            the second's number by the first's (see `times_as_many`).
        over: what `estimate.n` counts: seeds, settings or cells.
        metric: the column of metrics.json or, for images, of history.csv that was read.
        runs, against_runs: ids behind the two sides.
        notes: what a reader has to know of it besides.
        complete: whether there are runs on both sides and all have a record.
    """

    estimate: Estimate
    over: str
    metric: str
    runs: str = ""
    against_runs: str = ""
    notes: tuple[str, ...] = ()
    complete: bool = True


def contrast(comparison: Comparison, records: Records, level: float | None = None) -> Contrast:
    """Compare runs of one experiment.

    Args:
        comparison: which runs, and by which measure.
        records: the records of its experiment.
        level: accuracy in percent, for the measure `images`.

    Raises:
        ValueError: a run has several partners, since `paired_by` does not tell them apart.
    """
    lacks, sides = [], []
    for where in (comparison.of, comparison.against):
        runs = select(records.runs, where)
        missing = runs["missing"].astype(bool)
        if runs.empty:
            lacks.append(f"no runs with {described(where)}")
        elif missing.any():
            lacks.append(f"{described(where)}: {missing.sum()} of {len(runs)} runs missing")
        sides.append(runs[~missing])
    if any(side.empty for side in sides):
        nothing = Estimate(np.nan, np.nan, np.nan, 0)
        found = Contrast(nothing, "seeds", records.accuracy)
    elif comparison.measure in GRID_MEASURES:
        found = _of_grids(*sides, records.accuracy, comparison.measure)
    elif comparison.measure == "images":
        found = _of_images(*sides, comparison, records, level)
    else:
        found = _of_accuracy(*sides, comparison, records.accuracy)
    if not lacks and found.over == "seeds" and found.estimate.n < 2:
        found = replace(found, notes=(*found.notes, "too few seeds for an interval"))
    return replace(found, notes=(*lacks, *found.notes), complete=not lacks)


def select(runs: pd.DataFrame, where: Selection) -> pd.DataFrame:
    """The runs whose columns have one of the values named; those of axes are left out."""
    chosen = runs["axis"].isna()
    for column, values in where.items():
        chosen &= runs[column].isin(values)
    return runs[chosen]


def described(where: Selection) -> str:
    """A selection in words."""
    return " and ".join(f"{column} {', '.join(values)}" for column, values in where.items())


def _of_accuracy(
    of: pd.DataFrame, against: pd.DataFrame, comparison: Comparison, metric: str
) -> Contrast:
    pairs = _pairs(of, against, comparison)
    difference = pairs[metric] - pairs[f"{metric}_against"]
    return _of_pairs(pairs.assign(low=difference, high=difference), metric)


def _of_images(
    of: pd.DataFrame, against: pd.DataFrame, comparison: Comparison, records: Records, level: float
) -> Contrast:
    """The logarithm of the partner's images by the run's."""
    sides = []
    for runs in (of, against):
        bounds = [images_of_run(records, run, level) for run in runs["run"]]
        sides.append(runs.assign(least=[low for low, _ in bounds], most=[up for _, up in bounds]))
    pairs = _pairs(*sides, comparison)
    with np.errstate(divide="ignore"):
        low = np.log(pairs["least_against"] / pairs["most"])
        high = np.log(pairs["most_against"] / pairs["least"])
    found = _of_pairs(pairs.assign(low=low, high=high), records.curve)
    notes = [note for runs in sides for note in _describe_reach(runs, level)]
    return replace(found, notes=tuple(notes))


def times_as_many(estimate: Estimate) -> Estimate:
    """How many times as many images the first needs, of the estimate of a `Contrast` of images."""
    value, low, high, n = estimate
    return Estimate(np.exp(-value), np.exp(-high), np.exp(-low), n)


def _describe_reach(runs: pd.DataFrame, level: float) -> list[str]:
    """Of how many runs it is not known exactly when they reach an accuracy."""
    who, count = "/".join(dict.fromkeys(runs["arm"])), len(runs)
    never, at_once = np.isinf(runs["most"]).sum(), (runs["least"] == 0).sum()
    found = [
        (never, f"{who}: {never} of {count} runs never reach {level:g} %"),
        (at_once, f"{who}: {at_once} of {count} runs reach {level:g} % in the first epoch"),
    ]
    return [note for number, note in found if number]


def _pairs(of: pd.DataFrame, against: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    """One row a pair; the columns of the second run end in _against."""
    keys = comparison.paired_by
    if against.duplicated(keys).any():
        raise ValueError(
            f"a run of {described(comparison.of)} has several partners among those of "
            f"{described(comparison.against)} in the experiment {comparison.experiment}: name in "
            "paired_by (params.yaml, claims) what tells them apart"
        )
    return of.merge(against, on=keys, suffixes=("", "_against"), validate="m:1")


def _of_pairs(pairs: pd.DataFrame, metric: str) -> Contrast:
    """Over seeds where there are several, each a mean over its pairs; else over the pairs.

    Args:
        pairs: see `_pairs`; low and high are bounds of each difference, mostly the same.
        metric: for the result.
    """
    low, high = pairs["low"], pairs["high"]
    over = "seeds" if pairs["seed"].nunique() > 1 or len(pairs) < 2 else "settings"
    if over == "seeds":
        estimate = bounded_interval(*(x.groupby(pairs["seed"]).mean() for x in (low, high)))
    elif low.equals(high):
        estimate = shared_baseline_interval(low, pairs["run_against"])
    else:
        estimate = bounded_interval(low, high)
    return Contrast(estimate, over, metric, joined(pairs["run"]), joined(pairs["run_against"]))


def _of_grids(of: pd.DataFrame, against: pd.DataFrame, metric: str, measure: str) -> Contrast:
    """Two grids, cell by cell: over seeds where both have several, else by bootstrap."""
    grids = [_cells(runs, metric) for runs in (of, against)]
    prepare, number = GRID_MEASURES[measure]
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    found = Contrast(nothing, "cells", metric, joined(of["run"]), joined(against["run"]))
    if not grids[0].index.equals(grids[1].index):
        return replace(found, notes=("the grids are not of the same shape",))
    if len(grids[0]) < 2:
        return replace(found, notes=("too few settings for an interval",))
    seeds = grids[0].dropna(axis=1).columns.intersection(grids[1].dropna(axis=1).columns)
    if len(seeds) > 1:
        values = [number(prepare(grid[seeds].to_numpy().T)) for grid in grids]
        return replace(found, estimate=mean_interval(values[0] - values[1]), over="seeds")
    cells = [prepare(grid.mean(axis=1).to_numpy()) for grid in grids]
    return replace(found, estimate=bootstrap_interval(*cells, number))


def _cells(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Accuracy by place in the grid (first, second ... gamma and threshold) and seed."""
    starts = runs[["gamma", "threshold"]].map(schedule_start)
    places = [pd.to_numeric(starts[name]).rank(method="dense") for name in starts]
    return runs.pivot_table(metric, index=places, columns="seed").sort_index()
