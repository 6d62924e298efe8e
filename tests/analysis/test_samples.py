"""What a comparison measures, out of records that are made up, by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import arms, made_up

from bop2ndorder.study.analysis.verdicts.samples import sample, times_as_many
from bop2ndorder.study.config.claims import Comparison

INF = math.inf


def compare(measure="accuracy", of="new", against="old", **more):
    selected = {"of": {"arm": [of]}, "against": {"arm": [against]}}
    return Comparison(experiment="cifar10", measure=measure, planned=3, **selected, **more)


def test_accuracy_is_compared_with_the_variance_of_all_arms():
    """By hand: a third arm without effect adds degrees of freedom, and its own variance."""
    values = {"new": [91.0, 81.1, 86.3], "old": [90.0, 80.0, 85.0], "other": [88.0, 79.0, 85.0]}
    found = sample(compare(), made_up("cifar10", arms(**values)))
    table = np.array([*values.values()])
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    variance = (rest**2).sum() / 4
    contrast = found.contrast()
    assert (contrast.estimate, contrast.df, found.n) == (pytest.approx(3.4 / 3), 4, 3)
    assert contrast.se == pytest.approx((variance * 2 / 3) ** 0.5)
    assert found.runs(found.of) == "new0 new1 new2" and found.runs(found.against).startswith("old")
    assert found.contrast("unpaired").df == 6
    plain = stats.ttest_ind(*table[:2], equal_var=False)
    assert found.contrast("welch").p == pytest.approx(plain.pvalue)


def test_one_value_a_seed_is_a_paired_t_test_of_means_over_cells():
    """Two cells a side; a seed that lacks one of them does not count."""
    rows = arms(a=[60.0, 61.0, 64.0, 50.0], b=[70.0, 72.0, 71.0], c=[58.0, 61.0, 60.0, 90.0],
                d=[66.0, 67.0, 69.0, 9.0], e=[1.0, 99.0, 50.0])  # fmt: skip
    comparison = Comparison(
        experiment="cifar10", measure="accuracy", planned=4,
        of={"arm": ["a", "b"]}, against={"arm": ["c", "d"]},
    )  # fmt: skip
    found = sample(comparison, made_up("cifar10", rows)).contrast("seeds")
    plain = stats.ttest_rel([65.0, 66.5, 67.5], [62.0, 64.0, 64.5])
    assert (found.p, found.df) == (pytest.approx(plain.pvalue), 2)
    none = sample(compare(), made_up("cifar10", arms(new=[1.0, None], old=[None, 2.0])))
    assert math.isnan(none.contrast("seeds").p), "no seed has both"


def test_later_seeds_than_planned_judge_nothing_again():
    """Another comparison of the arm may have more."""
    values = {"new": [91.0, 92.5, 93.0], "old": [90.0, 91.0, 91.0]}
    more = {"new": [*values["new"], 10.0, 11.0], "old": [*values["old"], 90.0]}
    few, many = (sample(compare(), made_up("cifar10", arms(**one))) for one in (values, more))
    assert many.contrast() == few.contrast() and (many.n, many.listed) == (3, 6)
    assert "new3" not in many.runs(many.of)


def test_test_images_drawn_widen_an_interval_by_hand():
    """80 and 90 % of 1,000 images: variances of 0.16 and 0.09 an image, 1.6 and 0.9 points."""
    rows = arms(new=[89.0, 90.0, 91.0], old=[80.5, 79.5, 80.0])
    found = sample(compare(), made_up("cifar10", rows))
    narrow, wide = found.contrast(), found.widened()
    assert wide.se**2 - narrow.se**2 == pytest.approx(1.6 + 0.9)
    assert wide.estimate == narrow.estimate
    assert wide.df == pytest.approx(narrow.df * (wide.se / narrow.se) ** 4)


def test_mean_validation_accuracy_is_that_over_all_epochs():
    values = {"new": [1.0, 2.0], "old": [3.0, 4.0]}
    rows = arms(**values)
    records = made_up("cifar10", rows, {row["run"]: [0.0] for row in rows})
    curves = {"new0": [0.1, 0.5], "new1": [0.3, 0.5], "old0": [0.1, 0.3], "old1": [0.2, 0.3]}
    history = pd.DataFrame(
        {"run": run, "epoch": epoch, "val_accuracy": value}
        for run, curve in curves.items()
        for epoch, value in enumerate(curve, 1)
    )
    found = sample(compare("mean_validation_accuracy"), replace(records, history=history))
    assert found.contrast().estimate == pytest.approx(35 - 22.5)
    assert (found.metric, found.images) == ("val_accuracy", 1000)
    few = replace(records, runs=made_up("cifar10", arms(limit=20, **values)).runs, history=history)
    assert sample(compare("mean_validation_accuracy"), few).images == 20, "as many as are kept"


def test_settings_count_alike_and_seeds_are_those_of_the_scarcest():
    rows = arms(new=[90.0, 92.0, 91.0], newer=[80.0, 82.0], old=[80.0, 80.5, 81.0])
    comparison = Comparison(
        experiment="cifar10", measure="accuracy", planned=3, of={"arm": ["new", "newer"]},
        against={"arm": ["old"]},
    )  # fmt: skip
    found = sample(comparison, made_up("cifar10", rows))
    assert found.n == 2 and set(found.contrast().__dict__) == {"estimate", "se", "df"}
    assert found.contrast("unpaired").estimate == pytest.approx((91 + 81) / 2 - 80.5)


def test_missing_runs_and_arms():
    rows = arms(new=[91.0, 92.0, None], old=[90.0, 91.0, 10.0])
    found = sample(compare(), made_up("cifar10", rows))
    assert (found.n, found.missing, found.listed) == (2, 1, 6)
    assert sample(compare(of="dropped"), made_up("cifar10", rows)) is None
    none = sample(compare(), made_up("cifar10", arms(new=[None], old=[1.0])))
    assert none.n == 0 and math.isnan(none.contrast().estimate)


def test_seeds_that_were_seen_before_count_for_nothing():
    records = made_up("cifar10", arms(new=[91.0, 92.0, 94.0], old=[10.0, 91.0, 92.0]))
    found = sample(compare(), records, first_seed=1)
    assert (found.n, found.listed) == (2, 4)
    assert found.contrast().estimate == pytest.approx(1.5) and found.runs(found.of) == "new1 new2"
    assert sample(compare(), records, first_seed=9).n == 0


def grid(arm, *cells):
    """Rows of a grid: a cell a list, a value a seed."""
    return [
        row
        for place, values in enumerate(cells)
        for row in arms(**{f"{arm}{place}": values})
        for row in [{**row, "arm": arm}]
    ]


def test_robustness_of_grids_by_hand():
    """Two cells of each: means 89 and 70 over both; spreads of sqrt 2 and 10 sqrt 2, and less."""
    rows = [*grid("new", [90.0, 91.0], [88.0, 89.0]), *grid("old", [80.0, 79.0], [60.0, 61.0])]
    records = made_up("grid", rows)
    assert sample(compare(), records).contrast().estimate == pytest.approx(89.5 - 70)
    spread = sample(compare("spread"), records)
    assert (spread.n, spread.images) == (2, 0)
    differences = [20 - 2, 18 - 2] / np.sqrt(2)
    paired = stats.ttest_1samp(differences, 0)
    assert spread.contrast().estimate == pytest.approx(differences.mean())
    assert spread.contrast().p == pytest.approx(paired.pvalue)
    assert spread.runs(["of"]) == "new00 new10 new01 new11"
    lacking = [row for row in rows if row["run"] != "new11"]
    assert sample(compare("spread"), made_up("grid", lacking)).n == 1, "whole grids only"


def images(level, **curves):
    """How many times as many images the arm new needs as old, from accuracies an epoch."""
    rows = arms(**{arm: [1.0] * len(found) for arm, found in curves.items()})
    history = {f"{arm}{seed}": c for arm, found in curves.items() for seed, c in enumerate(found)}
    return times_as_many(compare("images"), made_up("cifar10", rows, history), level)


def test_images_by_hand():
    """150 against 300 images, and 200 against 400: half, with no doubt."""
    found = images(
        50,
        new=[[0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]],
        old=[[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.5]],
    )
    assert found == pytest.approx((0.5, 0.5, 0.5, 2))


def test_images_of_a_run_that_never_gets_there_bound_one_side():
    new = [[0.4, 0.6, 0.7, 0.7], [0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]]
    old = [[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.45], [0.1, 0.2, 0.4, 0.45]]
    found = images(50, new=new, old=old)
    # new / old is 1/2, less than 3/8, less than 1/2.
    logs = -np.log([2, 400 / 150, 2])
    high = logs.mean() + 4.302653 * logs.std(ddof=1) / 3**0.5
    assert found.high == pytest.approx(np.exp(high), abs=1e-6)
    assert found.low == 0 and math.isnan(found.value)
    assert images(80, new=new, old=old)[1:3] == (0, INF)
    assert images(5, new=new, old=old)[1:3] == (0, INF), "both in the first epoch"
