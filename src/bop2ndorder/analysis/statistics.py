"""Numbers out of runs: pure functions of arrays and tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def over_seeds(runs: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Mean and spread over seeds.

    Args:
        runs: one row a run.
        by: columns that tell the settings apart; their order in `runs` is kept.
        column: the column to average; empty where a record is missing.

    Returns:
        `by`, mean, std (divided by n - 1; empty for one seed), n (runs with a value) and runs.
    """
    grouped = runs.groupby(list(by), sort=False, dropna=False)[column]
    return grouped.agg(mean="mean", std="std", n="count", runs="size").reset_index()


def robustness(accuracy: Sequence[float], within: float = 2.0) -> dict[str, float]:
    """How much accuracy depends on the setting.

    Args:
        accuracy: one value a setting, in percent; empty ones are left out.
        within: how far from the best still counts as good, in points.

    Returns:
        settings (count), best, median, worst, spread = best - worst (points), std over settings,
        and share_within, the percentage of settings at most `within` points below the best.
    """
    values = np.asarray(accuracy, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return {"settings": 0}
    best, worst = values.max(), values.min()
    return {
        "settings": len(values),
        "best": best,
        "median": np.median(values),
        "worst": worst,
        "spread": best - worst,
        "std": values.std(ddof=1) if len(values) > 1 else np.nan,
        "share_within": 100 * np.mean(values >= best - within),
    }
