"""The values that a comparison rests on, out of the records, and its contrast by several means."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...config.claims import Comparison, Selection
from ...config.settings import DataSettings
from ..records import Records
from ..sections.reaching import images_of_run
from ..statistics import (
    NO_CONTRAST,
    Contrast,
    Estimate,
    Model,
    bounded_interval,
    difference,
    joined,
    welch,
)

NOT_RUN = "not run yet at this scale"
UNITS = {"images": "times as many images"}  # all others are in points


@dataclass(frozen=True)
class Sample:
    """Values of an experiment's runs, and which of them are compared.

    Attributes:
        frame: one row a run (for the measure `spread`: a side and seed), with the columns cell,
            seed, value and run (ids).
        of, against: the cells compared; each counts alike.
        metric: the column of metrics.json or history.csv that the values come from.
        missing: runs of both sides without a record.
        listed: all runs of both sides.
        images: number of images behind each value; 0 where they are not what is counted.
    """

    frame: pd.DataFrame
    of: Sequence[str]
    against: Sequence[str]
    metric: str
    missing: int = 0
    listed: int = 0
    images: int = 0

    @property
    def n(self) -> int:
        """Seeds of the cell that has the fewest."""
        counts = self.frame.dropna(subset=["value"]).groupby("cell").size()
        return int(min(counts.get(cell, 0) for cell in (*self.of, *self.against)))

    def contrast(self, how: str = "paired") -> Contrast:
        """The mean of one side's cells less that of the other's.

        Args:
            how: paired (one linear model of all cells, the seed as a block), unpaired (without
                blocks), welch (a variance a cell, besides) or seeds (a paired t test of one value
                a seed and side, the mean over its cells).
        """
        if not self.n:
            return NO_CONTRAST
        weights = difference(self.of, self.against)
        if how == "welch":
            return welch(self.frame, "value", "cell", weights)
        if how == "seeds":
            sides = {"of": self.of, "against": self.against}
            means = [_by_seed(self.frame, cells, side, "mean") for side, cells in sides.items()]
            if any(side.empty for side in means):
                return NO_CONTRAST
            return Model.of(pd.concat(means), "value", "cell").contrast({"of": 1, "against": -1})
        block = "seed" if how == "paired" else None
        return Model.of(self.frame, "value", "cell", block).contrast(weights)

    def widened(self) -> Contrast:
        """The contrast where images are drawn as well as seeds.

        Records hold no answer to a single image, so each side's share of right answers varies like
        that of a coin. That is an upper bound: two networks are wrong on the same images more often
        than by chance, which cancels out of a difference.
        """
        found = self.contrast()
        if not self.images or not np.isfinite(found.se):
            return NO_CONTRAST
        cells = self.frame.groupby("cell")["value"].mean() / 100
        shares = [cells[list(side)].mean() for side in (self.of, self.against)]
        return found.with_variance(100**2 * sum(p * (1 - p) for p in shares) / self.images)

    def runs(self, cells: Sequence[str]) -> str:
        """Ids of the runs in some cells."""
        return joined(self.frame.loc[self.frame["cell"].isin(cells), "run"])


def sample(comparison: Comparison, records: Records, first_seed: int = 0) -> Sample | None:
    """The values of a comparison in points; None where the scale leaves out what it names.

    Args:
        comparison: which runs, and by which measure.
        records: of its experiment.
        first_seed: the first of as many seeds as are planned; others, also later ones that another
            comparison has, are passed over, so that nothing is judged twice.
    """
    runs = records.runs[records.runs["axis"].isna()]
    sides = [_chosen(runs, where) for where in (comparison.of, comparison.against)]
    if any(side is None for side in sides):
        return None
    of, against = (list(side["setting"].unique()) for side in sides)
    runs, listed = (_planned(rows, comparison, first_seed) for rows in (runs, pd.concat(sides)))
    there = runs[~runs["missing"].astype(bool)]
    value, metric, images = _values(there, comparison.measure, records)
    frame = there.assign(cell=there["setting"], value=value)[["cell", "seed", "value", "run"]]
    if comparison.measure == "spread":
        spreads = [
            _by_seed(frame, cells, side, "std")
            for side, cells in (("of", of), ("against", against))
        ]
        frame = pd.concat(spreads)
        frame = frame.assign(value=-frame["value"])  # less speaks for a grid
        of, against = ["of"], ["against"]
    missing = int(listed["missing"].astype(bool).sum())
    return Sample(frame, of, against, metric, missing, len(listed), images)


def times_as_many(
    comparison: Comparison, records: Records, level: float, first_seed: int = 0
) -> Estimate:
    """How many times as many images the first side needs to reach an accuracy in percent.

    By seed, geometric mean and interval; the runs' own spread counts, no other arm's. Runs that
    never get there bound it on one side.
    """
    runs = records.runs[records.runs["axis"].isna() & ~records.runs["missing"].astype(bool)]
    runs = _planned(runs, comparison, first_seed)
    logs = []
    for where in (comparison.of, comparison.against):
        side = _chosen(runs, where)
        if side is None:
            return Estimate(np.nan, np.nan, np.nan, 0)
        with np.errstate(divide="ignore"):
            bounds = np.log([images_of_run(records, run, level) for run in side["run"]])
        frame = pd.DataFrame(bounds, columns=["least", "most"], index=side["seed"])
        logs.append(frame.groupby(level=0).mean())
    of, against = logs[0].align(logs[1], join="inner", axis=0)
    if of.empty:
        return Estimate(np.nan, np.nan, np.nan, 0)
    found = bounded_interval(of["least"] - against["most"], of["most"] - against["least"])
    return Estimate(*np.exp(found[:3]).tolist(), found.n)


def _planned(runs: pd.DataFrame, comparison: Comparison, first_seed: int) -> pd.DataFrame:
    """The runs with one of the seeds that a comparison is planned for."""
    return runs[runs["seed"].between(first_seed, first_seed + comparison.planned - 1)]


def _chosen(runs: pd.DataFrame, where: Selection) -> pd.DataFrame | None:
    """The runs whose columns have one of the values named; None where one of them is nowhere."""
    chosen = pd.Series(True, index=runs.index)
    for column, values in where.items():
        if not set(values) <= set(runs[column]):
            return None
        chosen &= runs[column].isin(values)
    return runs[chosen]


def _values(runs: pd.DataFrame, measure: str, records: Records) -> tuple[pd.Series, str, int]:
    """A value a run, the column that it comes from, and the number of images behind it."""
    if measure != "mean_validation_accuracy":
        counts = runs.get(
            records.accuracy.replace("top1_percent", "images"), pd.Series(dtype=float)
        )
        images = 0 if measure == "spread" or counts.dropna().empty else int(counts.min())
        return runs[records.accuracy], records.accuracy, images
    settings = runs["setting"].map(json.loads)
    data = [DataSettings.model_validate(one["data"]) for one in settings]
    images = min((one.validation_images for one in data), default=0)
    column = "val_accuracy"
    return runs["run"].map(records.over_epochs(column)), column, images


def _by_seed(frame: pd.DataFrame, cells: Sequence[str], side: str, reduce: str) -> pd.DataFrame:
    """One value a seed that has all cells of a side: their mean, or standard deviation."""
    by_seed = frame[frame["cell"].isin(cells)].groupby("seed")
    whole = by_seed["value"].count() == len(cells)
    values = by_seed["value"].agg(reduce)
    table = pd.DataFrame({"value": values, "run": by_seed["run"].agg(joined)})
    return table[whole].reset_index().assign(cell=side)
