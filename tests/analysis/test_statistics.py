"""Intervals, held against values worked out by hand, by other means or by simulation."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from bop2ndorder.study.analysis.sections.reaching import images_to_reach
from bop2ndorder.study.analysis.statistics import (
    Contrast,
    Model,
    bounded_interval,
    difference,
    mean_interval,
    near_best,
    over_seeds,
    robustness,
    welch,
)

INF, NAN = math.inf, math.nan


def test_mean_interval_by_hand():
    """Student's t of 2 degrees of freedom at 97.5 % is 4.303, of 1 it is 12.706."""
    found = mean_interval([1.0, 2.0, 3.0, NAN])
    assert found.value == 2.0 and found.n == 3
    half = 4.302653 / 3**0.5
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-6)
    assert mean_interval([1.0, 2.0]).high == pytest.approx(1.5 + 12.7062 / 2)
    assert mean_interval([7.0])[::3] == (7.0, 1) and math.isnan(mean_interval([7.0]).low)
    assert mean_interval([]).n == 0


def test_bounds_give_the_limits_that_they_can():
    known = mean_interval([0.1, 0.2, 0.4])
    assert bounded_interval([0.1, 0.2, 0.4], [0.1, 0.2, 0.4]) == known
    one_sided = bounded_interval([0.1, 0.2, 0.4], [0.1, 0.2, INF])
    assert one_sided.low == known.low and one_sided.high == INF and math.isnan(one_sided.value)
    assert bounded_interval([-INF, 0.2], [0.1, INF])[1:3] == (-INF, INF)
    alone = bounded_interval([0.1], [INF])
    assert math.isnan(alone.low) and math.isnan(alone.high), "one value tells nothing of chance"


def test_an_arm_on_both_sides_counts_on_both():
    assert difference(["a", "b"], ["a", "c"]) == {"a": 0.0, "b": 0.5, "c": -0.5}


def test_images_to_reach_by_hand():
    images, accuracy = [100, 200, 300, 400], [0.2, 0.4, 0.3, 0.6]
    assert images_to_reach(images, accuracy, 0.3) == (150, 150)
    assert images_to_reach(images, accuracy, 0.4) == (200, 200)
    assert images_to_reach(images, accuracy, 0.5) == pytest.approx((366.667, 366.667), abs=1e-3)
    assert images_to_reach(images, accuracy, 0.1) == (0, 100), "at some time in the first epoch"
    assert images_to_reach(images, accuracy, 0.7) == (400, INF), "never"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_level_takes_no_fewer_images(accuracy, one, other):
    images = 100.0 * np.arange(1, len(accuracy) + 1)
    lower = images_to_reach(images, accuracy, min(one, other))
    higher = images_to_reach(images, accuracy, max(one, other))
    assert lower[0] <= lower[1] and lower[0] <= higher[0] and lower[1] <= higher[1]


def test_over_seeds_by_hand():
    runs = pd.DataFrame(
        {"arm": ["b", "b", "a", "a"], "x": [90.0, 94.0, 80.0, NAN], "run": list("mnop")}
    )
    found = over_seeds(runs, ["arm"], "x")
    assert found["arm"].tolist() == ["b", "a"]
    assert found["mean"].tolist() == [92.0, 80.0]
    assert found["std"].tolist() == pytest.approx([8**0.5, NAN], nan_ok=True)
    assert found["low"].tolist() == pytest.approx([92 - 2 * 12.7062, NAN], nan_ok=True)
    assert found["high"].tolist() == pytest.approx([92 + 2 * 12.7062, NAN], nan_ok=True)
    assert found["n"].tolist() == [2, 1] and found["planned"].tolist() == [2, 2]
    assert found["runs"].tolist() == ["m n", "o"] and set(found["metric"]) == {"x"}


def test_robustness_by_hand():
    found = robustness([90.0, 88.0, 87.9, 80.0, NAN])
    assert found["settings"] == 4
    assert (found["best"], found["worst"], found["range"]) == (90.0, 80.0, 10.0)
    assert found["spread"] == pytest.approx(statistics.stdev([90.0, 88.0, 87.9, 80.0]))
    assert found["median"] == pytest.approx(87.95)
    assert found["share_within"] == 50.0  # 88.0 lies on the edge and counts
    assert robustness([NAN]) == {"settings": 0}
    cells = np.array([[90.0, 88.0, 70.0], [50.0, 50.0, 50.0]])
    assert near_best(cells).tolist() == [[True, True, False], [True, True, True]]


# One linear model an experiment


def runs_of(chance, deviation=1.0, **effects):
    """Rows of arms with as many seeds as they name, (mean, seeds); seeds have an effect, too."""
    seeds = chance.normal(0, 2, max(n for _, n in effects.values()))
    return pd.DataFrame(
        {"arm": arm, "seed": 10 + seed, "accuracy": mean + seeds[seed] + value}
        for arm, (mean, n) in effects.items()
        for seed, value in enumerate(chance.normal(0, deviation, n))
    )


def test_two_arms_that_share_seeds_are_a_paired_t_test():
    runs = runs_of(np.random.default_rng(0), new=(60, 8), old=(59, 8))
    new, old = (runs.loc[runs["arm"] == arm, "accuracy"].to_numpy() for arm in ("new", "old"))
    found = Model.of(runs).contrast({"new": 1, "old": -1})
    paired = stats.ttest_rel(new, old)
    assert (found.p, found.df) == pytest.approx((paired.pvalue, 7))
    assert (found.low, found.high) == pytest.approx(tuple(paired.confidence_interval()))
    assert found.equivalence(1.5) == pytest.approx(ttost_paired(new, old, -1.5, 1.5)[0])


def test_without_blocks_they_are_an_unpaired_t_test():
    runs = runs_of(np.random.default_rng(1), new=(60, 9), old=(59, 6))
    new, old = (runs.loc[runs["arm"] == arm, "accuracy"].to_numpy() for arm in ("new", "old"))
    found = Model.of(runs, block=None).contrast({"new": 1, "old": -1})
    plain = stats.ttest_ind(new, old)
    assert (found.p, found.df) == pytest.approx((plain.pvalue, 13))
    assert found.interval(0.9) == pytest.approx(tuple(plain.confidence_interval(0.9)))
    assert found.equivalence(3) == pytest.approx(ttost_ind(new, old, -3, 3)[0])
    other = welch(runs, "accuracy", "arm", {"new": 1, "old": -1})
    apart = stats.ttest_ind(new, old, equal_var=False)
    assert (other.p, other.df) == pytest.approx((apart.pvalue, apart.df))


def test_several_arms_with_different_seeds_as_a_formula_gives_them():
    runs = runs_of(np.random.default_rng(2), a=(60, 16), b=(61, 8), c=(59, 5))
    model = Model.of(runs)
    fit = ols("accuracy ~ C(arm) + C(seed)", runs).fit()
    by_formula = fit.t_test("C(arm)[T.b] = 0")  # against a
    found = model.contrast({"b": 1, "a": -1})
    assert (found.estimate, found.se, found.p, found.df) == pytest.approx(
        (by_formula.effect.item(), by_formula.sd.item(), by_formula.pvalue.item(), fit.df_resid)
    )
    assert model.deviation**2 == pytest.approx(fit.mse_resid) and model.n == {
        "a": 16, "b": 8, "c": 5
    }  # fmt: skip
    together = model.contrast(difference(["b", "c"], ["a"]))
    by_formula = fit.t_test("0.5 * C(arm)[T.b] + 0.5 * C(arm)[T.c] = 0")
    assert (together.estimate, together.se) == pytest.approx(
        (by_formula.effect.item(), by_formula.sd.item())
    )


def test_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3."""
    values = {"new": [3.0, 5.0, 7.0], "old": [2.0, 3.0, 4.0]}
    runs = pd.DataFrame(
        {"arm": arm, "seed": seed, "accuracy": value}
        for arm, of_arm in values.items()
        for seed, value in enumerate(of_arm)
    )
    found = Model.of(runs).contrast({"new": 1, "old": -1})
    assert (found.estimate, found.se, found.df) == pytest.approx((2, 3**-0.5, 2))
    assert found.high == pytest.approx(2 + 4.302653 * 3**-0.5, abs=1e-6)
    assert found.p == pytest.approx(0.0741799, abs=1e-6)  # t = 3.4641 of 2 degrees
    wider = found.with_variance(1.0)
    assert (wider.se, wider.df) == pytest.approx(((4 / 3) ** 0.5, 32))


def test_seeds_that_arms_do_not_share_are_no_blocks():
    runs = runs_of(np.random.default_rng(3), a=(60, 4), b=(61, 4))
    apart = runs.assign(seed=range(len(runs)))
    assert Model.of(runs).blocked and not Model.of(apart).blocked
    assert Model.of(apart).contrast({"b": 1, "a": -1}) == Model.of(runs, block=None).contrast(
        {"b": 1, "a": -1}
    )
    alone = Model.of(runs[runs["seed"] == 10]).contrast({"b": 1, "a": -1})
    assert alone.df == 0 and all(map(math.isnan, (alone.se, alone.low, alone.p)))
    assert math.isnan(alone.detectable()) and math.isnan(alone.equivalence(1))
    with pytest.raises(ValueError, match=r"no values of \['c'\]; there are some of \['a', 'b'\]"):
        Model.of(runs).contrast({"a": 1, "c": -1})
    with pytest.raises(ValueError, match="no row has a value in the column accuracy"):
        Model.of(runs.assign(accuracy=NAN))


def test_the_detectable_effect_is_that_of_the_power_analysis():
    """Of two unpaired arms with a standard deviation of 1."""
    found = Contrast(0.0, (2 / 8) ** 0.5, 14).detectable()
    assert found == pytest.approx(
        TTestIndPower().solve_power(nobs1=8, power=0.8, alpha=0.05), abs=1e-4
    )
    assert Contrast(0.0, 1.0, 30).detectable(0.01) == pytest.approx(3.6196, abs=1e-3)
