"""Numbers out of runs: pure functions of arrays and tables.

Intervals are 95 % intervals of a mean, by Student's t.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import nct as noncentral
from scipy.stats import t as student
from statsmodels.regression.linear_model import OLS

CONFIDENCE = 0.95
POWER = 0.8  # of finding an effect that is called detectable
WITHIN = 2.0  # points below the best that still count as good


class Estimate(NamedTuple):
    """A mean with its interval; empty limits where there are too few values for one.

    A limit is infinite where the values bound it on the other side only.
    """

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean and interval of independent values; empty values are left out."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean, n = values.mean(), len(values)
    half = _half_width(values.std(ddof=1) / np.sqrt(n), n - 1) if n > 1 else np.nan
    return Estimate(mean, mean - half, mean + half, n)


def bounded_interval(low: Sequence[float], high: Sequence[float]) -> Estimate:
    """Mean and interval of values of which some are known to lie between two bounds only.

    The lower limit is that of the lower bounds, the upper one that of the upper bounds, so that
    they hold wherever the values lie in between. The mean is empty unless all are known exactly.

    Args:
        low: lower bound of each value, or minus infinity.
        high: upper bound, or infinity; equal to the lower one where the value is known.
    """
    below, above = (np.asarray(bounds, dtype=float) for bounds in (low, high))
    if np.array_equal(below, above):
        return mean_interval(below)
    lowest = mean_interval(below).low if np.isfinite(below).all() else -np.inf
    highest = mean_interval(above).high if np.isfinite(above).all() else np.inf
    few = len(below) < 2
    return Estimate(np.nan, np.nan if few else lowest, np.nan if few else highest, len(below))


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of arms' means: how far it lies from 0, and how surely.

    Attributes:
        estimate: in the unit of the values.
        se: standard error; empty where no residual is left to estimate it from.
        df: degrees of freedom of `se`; infinite for a known one.
    """

    estimate: float
    se: float
    df: float

    @property
    def low(self) -> float:
        """Lower limit of the 95 % interval."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """Upper limit of the 95 % interval."""
        return self.interval()[1]

    @property
    def p(self) -> float:
        """Two-sided p of no effect."""
        return float(2 * student.sf(np.abs(np.divide(self.estimate, self.se)), self.df))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Student's t interval."""
        half = float(student.ppf((1 + confidence) / 2, self.df)) * self.se
        return self.estimate - half, self.estimate + half

    def equivalence(self, margin: float) -> float:
        """p of two one-sided tests: that the effect is as large as the margin, or larger."""
        away = np.divide(margin - abs(self.estimate), self.se)
        return float(student.sf(away, self.df))

    def detectable(self, level: float = 1 - CONFIDENCE) -> float:
        """The smallest effect that a two-sided test at this level finds with 80 % probability."""
        if not np.isfinite(self.se):
            return np.nan
        limit = student.ppf(1 - level / 2, self.df)
        missed = brentq(lambda away: noncentral.cdf(limit, self.df, away) - (1 - POWER), 0,
                        2 * limit + 5)  # fmt: skip
        return float(missed * self.se)

    def with_variance(self, variance: float) -> "Contrast":
        """The same with a known variance added, of test images drawn, say (Satterthwaite)."""
        total = self.se**2 + variance
        return Contrast(self.estimate, float(np.sqrt(total)), self.df * (total / self.se**2) ** 2)


NO_CONTRAST = Contrast(np.nan, np.nan, np.nan)  # where a mean is missing


@dataclass(frozen=True)
class Model:
    """One linear model of all runs of an experiment: a mean an arm, one residual variance.

    Attributes:
        means: arm -> mean, adjusted for blocks.
        n: arm -> number of values.
        df: of the residuals.
        deviation: standard deviation of the residuals; empty where `df` is 0.
        blocked: whether blocks are part of it.
    """

    means: dict[Hashable, float]
    n: dict[Hashable, int]
    df: int
    deviation: float
    blocked: bool
    _covariance: np.ndarray

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        value: str = "accuracy",
        arm: str = "arm",
        block: str | None = "seed",
    ) -> "Model":
        """Fit by ordinary least squares.

        Args:
            frame: one row a run; rows without a value are left out.
            value, arm: columns.
            block: column of what arms share, as seeds; None for unpaired arms. It is left out
                where arms do not share enough of it to tell both apart.

        Raises:
            ValueError: no row has a value.
        """
        rows = frame.dropna(subset=[value])
        if rows.empty:
            raise ValueError(f"no row has a value in the column {value}")
        design, arms = _one_hot(rows[arm])
        blocked = False
        if block is not None and rows[block].nunique() > 1:
            blocks, _ = _one_hot(rows[block])
            # Summing to 0, so that an arm's coefficient is its mean over all blocks.
            whole = np.hstack([design, blocks[:, 1:] - blocks[:, :1]])
            blocked = np.linalg.matrix_rank(whole) == whole.shape[1]
            design = whole if blocked else design
        counts = design[:, : len(arms)].sum(axis=0).astype(int).tolist()
        fit = OLS(rows[value].to_numpy(dtype=float), design).fit()
        df, many = int(fit.df_resid), len(arms)
        variance = fit.ssr / df if df else np.nan
        return cls(
            dict(zip(arms, fit.params[:many].tolist(), strict=True)),
            dict(zip(arms, counts, strict=True)),
            df,
            float(np.sqrt(variance)),
            bool(blocked),
            fit.normalized_cov_params[:many, :many] * variance,
        )

    def contrast(self, weights: Mapping[Hashable, float]) -> Contrast:
        """A weighted sum of arms' means, such as {"biased": 1, "bop": -1}.

        Raises:
            ValueError: an arm has no value.
        """
        if unknown := [arm for arm in weights if arm not in self.means]:
            raise ValueError(f"no values of {unknown}; there are some of {list(self.means)}")
        each = np.array([weights.get(arm, 0.0) for arm in self.means])
        estimate = float(each @ np.array([*self.means.values()]))
        return Contrast(estimate, float(np.sqrt(each @ self._covariance @ each)), self.df)


def difference(of: Sequence[Hashable], against: Sequence[Hashable]) -> dict[Hashable, float]:
    """Weights of the mean of some arms less the mean of others."""
    weights = dict.fromkeys([*of, *against], 0.0)
    for arms, sign in ((of, 1.0), (against, -1.0)):
        for arm in arms:
            weights[arm] += sign / len(arms)
    return weights


def welch(frame: pd.DataFrame, value: str, arm: str, weights: Mapping[Hashable, float]) -> Contrast:
    """A weighted sum of arms' means with a variance an arm (Welch-Satterthwaite), unpaired.

    Empty error where an arm has fewer than two values.
    """
    groups = frame.dropna(subset=[value]).groupby(arm)[value]
    each = pd.DataFrame({"mean": groups.mean(), "variance": groups.var() / groups.size()})
    each = each.assign(df=groups.size() - 1).loc[list(weights)]
    weight = np.array([*weights.values()])
    parts = weight**2 * each["variance"].to_numpy()
    df = parts.sum() ** 2 / (parts**2 / each["df"].to_numpy()).sum() if parts.sum() else np.nan
    return Contrast(float(weight @ each["mean"].to_numpy()), float(np.sqrt(parts.sum())), df)


def _one_hot(column: pd.Series) -> tuple[np.ndarray, list]:
    """A column for each value that occurs, and those values."""
    codes, found = pd.factorize(column)
    return np.eye(len(found))[codes], list(found)


def near_best(accuracy: np.ndarray) -> np.ndarray:
    """Which values are at most `WITHIN` below the best of the last axis, of the same shape."""
    return accuracy >= accuracy.max(axis=-1, keepdims=True) - WITHIN


def over_seeds(runs: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Mean, spread and interval over seeds.

    Args:
        runs: one row a run, with a column "run".
        by: columns that tell the settings apart; their order in `runs` is kept.
        column: the column to average; empty where a record is missing.

    Returns:
        `by`, mean, std (divided by n - 1; empty for one seed), low and high (the interval; empty
        for one seed), n (runs with a value), planned (all runs), metric (`column`) and runs (ids
        of those with a value, with spaces between).
    """
    grouped = runs.groupby(list(by), sort=False, dropna=False)
    table = grouped[column].agg(mean="mean", std="std", n="count", planned="size")
    limits = [mean_interval(values) for _, values in grouped[column]]
    recorded = runs["run"].where(runs[column].notna())
    ids = recorded.groupby([runs[name] for name in by], sort=False, dropna=False).agg(joined)
    table.insert(2, "low", [limit.low for limit in limits])
    table.insert(3, "high", [limit.high for limit in limits])
    return table.assign(metric=column, runs=ids.to_numpy()).reset_index()


def joined(runs: pd.Series) -> str:
    """Ids of runs as one cell of a table, each once."""
    return " ".join(dict.fromkeys(runs.dropna()))


def robustness(accuracy: Sequence[float]) -> dict[str, float]:
    """How much accuracy depends on the setting.

    Args:
        accuracy: one value a setting, in percent; empty ones are left out.

    Returns:
        settings (count), best, median, worst, range = best - worst (points), spread, the standard
        deviation over settings (points; empty for one), and share_within, the percentage of
        settings at most `WITHIN` points below the best.
    """
    values = np.asarray(accuracy, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return {"settings": 0}
    return {
        "settings": len(values),
        "best": values.max(),
        "median": np.median(values),
        "worst": values.min(),
        "range": values.max() - values.min(),
        "spread": values.std(ddof=1) if len(values) > 1 else np.nan,
        "share_within": 100 * near_best(values).mean(),
    }


def _half_width(error: float, freedom: int) -> float:
    return student.ppf((1 + CONFIDENCE) / 2, freedom) * error
