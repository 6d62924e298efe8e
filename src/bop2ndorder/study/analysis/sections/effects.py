"""Differences between the arms of an experiment, of one model of all its runs: cells and words."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from math import ceil

import pandas as pd

from ..exhibits import short, signed, signed_interval
from ..records import Records
from ..statistics import NO_CONTRAST, Contrast, Model, joined, mean_interval

COLUMNS = ("estimate", "low", "high", "half_width", "n", "metric", "weights", "experiment")
PAIRED = ("difference", "low", "high", "n", "metric", "runs", "against_runs")


def model_of(records: Records, arm: str = "arm", metric: str = "") -> Model | None:
    """The model of all runs that have a record, with seeds as blocks; None where none has.

    Args:
        records: of the experiment.
        arm: column of `Records.runs` that tells its arms apart.
        metric: column to compare, in percent; by default what the experiment is judged by.
    """
    metric = metric or records.accuracy
    if records.runs[metric].isna().all():
        return None
    return Model.of(records.runs, metric, arm)


def with_mean_curve(records: Records) -> Records:
    """The mean of `Records.curve` over all epochs as a column of its name, in percent."""
    means = records.runs["run"].map(records.over_epochs(records.curve))
    return replace(records, runs=records.runs.assign(**{records.curve: means}))


def contrast_of(model: Model | None, weights: Mapping[Hashable, float]) -> Contrast:
    """A weighted sum of arms' means; empty where an arm has no record, or there is none."""
    if model is None or not weights or not weights.keys() <= model.means.keys():
        return NO_CONTRAST
    return model.contrast(weights)


def effect_row(
    records: Records, model: Model | None, weights: Mapping[str, float], metric: str = ""
) -> dict:
    """A contrast as a row of a table; `metric` is that of `model_of`.

    Returns:
        estimate, low, high (95 %), half_width (points), n (seeds of the arm that has the fewest),
        metric, weights (arm=weight, with spaces between), experiment, and runs (ids of the arms'
        runs).
    """
    metric = metric or records.accuracy
    found = contrast_of(model, weights)
    runs = records.runs[records.runs["arm"].isin(weights)].dropna(subset=[metric])
    fewest = min((int((runs["arm"] == arm).sum()) for arm in weights), default=0)
    words = " ".join(f"{arm}={weight:.12g}" for arm, weight in weights.items())
    half = (found.high - found.low) / 2
    values = (found.estimate, found.low, found.high, half, fewest, metric, words)
    row = dict(zip(COLUMNS, (*values, records.experiment), strict=True))
    return {**row, "runs": joined(runs["run"])}


def paired(of: pd.DataFrame, against: pd.DataFrame, metric: str) -> dict:
    """One setting less another, over the seeds that both have.

    Args:
        of, against: their rows of `Records.runs`; those without a value are left out.
        metric: column to compare.

    Returns:
        difference (points; empty where no seed is shared), low, high (95 %), n (seeds), metric,
        runs and against_runs (ids of the runs that are compared).
    """
    of, against = (runs.dropna(subset=[metric]) for runs in (of, against))
    of, against = of[of["seed"].isin(against["seed"])], against[against["seed"].isin(of["seed"])]
    means = [runs.groupby("seed")[metric].mean() for runs in (of, against)]
    found = mean_interval(means[0] - means[1])
    return dict(
        zip(PAIRED, [*found, metric, joined(of["run"]), joined(against["run"])], strict=True)
    )


def seeds_for(half_width: float, n: int, wanted: float) -> int | None:
    """Seeds an arm that an interval would take to be so narrow; None where it is, or is unknown.

    Args:
        half_width: of the interval, in points.
        n: seeds an arm that it rests on.
        wanted: half-width to reach, in points.
    """
    if pd.isna(half_width) or half_width <= wanted:
        return None
    return ceil(n * (half_width / wanted) ** 2)


def effect_cell(estimate: float, low: float, high: float) -> str:
    """A cell of a table: +1.2 (−0.3 to +2.7), the difference alone without an interval."""
    limits = "" if pd.isna(low) else f" ({signed_interval(low, high)})"
    return f"{signed(estimate)}{limits}"


def spoken(name: str) -> str:
    """An optimizer's name as part of a sentence: Bop2ndOrder (biased)."""
    first, _, rest = name.partition(", ")
    return f"{first} ({rest})" if rest else name


def contrast_cell(model: Model | None, weights: Mapping[Hashable, float]) -> str:
    """A contrast as `effect_cell` has it; of a single seed an arm that is said, not an interval.

    That would be by the spread of other arms, or even of another network.
    """
    found = contrast_of(model, weights)
    if pd.isna(found.estimate) or not single(model, weights):
        return effect_cell(found.estimate, found.low, found.high)
    return f"{signed(found.estimate)} (one seed)"


def single(model: Model, weights: Mapping[Hashable, float]) -> bool:
    """Whether an arm of a contrast has one seed only."""
    return min(model.n[arm] for arm in weights) < 2


def apart(found: Contrast, of: str, against: str) -> str:
    """A difference in words: Bop is 2.1 points below latent weights [−3.2 to −1.0].

    Args:
        found: accuracy of the one less that of the other.
        of, against: what they are called.

    Returns:
        A sentence without its full stop; "" for an empty difference.
    """
    if pd.isna(found.estimate):
        return ""
    side = "below" if found.estimate < 0 else "above"
    of, against = spoken(of), spoken(against)
    text = f"{of} is {short(abs(found.estimate))} points {side} {against}"
    if pd.isna(found.low):
        return f"{text} (too few seeds for an interval)"
    chance = ", which may be chance" if found.low <= 0 <= found.high else ""
    return f"{text} [{signed_interval(found.low, found.high)}]{chance}"
