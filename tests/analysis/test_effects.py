"""Differences between arms; the sections on rules and on the grid, against other computations."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from synthetic import COLUMN, NOISE, made_up, records_of, told

from bop2ndorder.study.analysis.exhibits import signed
from bop2ndorder.study.analysis.sections import (
    grid,
    rules,
)
from bop2ndorder.study.analysis.sections.effects import (
    NO_CONTRAST,
    apart,
    effect_cell,
    effect_row,
    model_of,
    seeds_for,
)
from bop2ndorder.study.analysis.statistics import Contrast


def test_of_two_arms_the_model_says_what_a_paired_t_test_says():
    one, other = [50.0, 52.0, 51.5, 53.0], [48.0, 51.0, 49.0, 52.5]
    records = records_of("rules", {"a": one, "b": other})
    row = effect_row(records, model_of(records), {"a": 1.0, "b": -1.0})
    expected = ttest_rel(one, other).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["estimate"] == pytest.approx(np.mean(one) - np.mean(other))
    assert row["half_width"] == pytest.approx((expected.high - expected.low) / 2)
    assert row["n"] == 4 and row["weights"] == "a=1 b=-1"
    assert row["runs"].split() == [f"{arm}{seed}" for arm in "ab" for seed in range(4)]
    nothing = effect_row(records, model_of(records), {"a": 1.0, "c": -1.0})
    assert nothing["n"] == 0 and np.isnan(nothing["estimate"])


def test_how_many_seeds_an_interval_would_take():
    assert seeds_for(1.4, 8, 0.7) == 32, "twice as narrow takes four times as many"
    assert seeds_for(0.7, 8, 0.7) is None and seeds_for(np.nan, 1, 0.7) is None
    assert effect_cell(1.23, -0.34, 2.8) == "+1.2 (−0.3 to +2.8)"
    assert effect_cell(-1.23, np.nan, np.nan) == "−1.2"


def test_a_difference_in_words():
    found = Contrast(-2.1, 0.5, 20)
    low, high = found.interval()
    assert apart(found, "Bop", "Bop2ndOrder, biased") == (
        f"Bop is 2.1 points below Bop2ndOrder (biased) [{signed(low)} to {signed(high)}]"
    )
    chance = apart(Contrast(0.2, 0.5, 20), "a", "b")
    assert chance == "a is 0.2 points above b [−0.8 to +1.2], which may be chance"
    assert apart(Contrast(0.2, np.nan, 0), "a", "b").endswith("(too few seeds for an interval)")
    assert apart(NO_CONTRAST, "a", "b") == ""


def rule_records(gone: str = "", noise: float = 1.0):
    """Means by hand: sign 50 and 54, bop 48 and 49, biased 51 and 52; bop as published 47."""
    means = {
        "sign_exponential": 50, "bop_exponential": 48, "biased_exponential": 51,
        "sign_polynomial": 54, "bop_polynomial": 49, "biased_polynomial": 52, "bop_published": 47,
    }  # fmt: skip
    arms = {
        arm: [
            None if arm == gone else mean + noise * NOISE[(place + seed) % 6] for seed in range(6)
        ]
        for place, (arm, mean) in enumerate(means.items())
    }
    return records_of("rules", arms)


def test_biased_less_bop_is_the_sum_of_its_steps_by_both_paths():
    records = rule_records()
    found = rules.effects(records).set_index(["part", "key"])["estimate"]
    for part, steps in (("first the rule", [1, 2, 4]), ("first the schedule", [1, 1, 5])):
        assert found[part].tolist() == pytest.approx([*steps, 7])
    main = found["main"]
    assert main["schedule"] == pytest.approx((54 + 49 + 52 - 50 - 48 - 51) / 3)
    assert main["sign_less_bop"] == pytest.approx(3.5)
    assert main["sign_less_biased"] == pytest.approx(0.5)
    assert main["biased_less_bop"] == pytest.approx(3.0)
    said = told(rules, records)
    start = "In validation accuracy after the last epoch, 6 seeds an arm, the sign rule with 5.2's "
    assert said.startswith(f"{start}schedules is 7.0 points above Bop as published [")
    assert " No arm of this experiment is Bop2ndOrder as published in 5.2;" in said
    step = rules.effects(records).set_index(["part", "key"]).loc[("first the rule", "step_1")]
    first = f"+1.0 ({signed(step['low'])} to {signed(step['high'])}) from the learning rate, +2.0 ("
    assert first in said
    main = rules.effects(records).set_index(["part", "key"]).loc[("main", "biased_less_bop")]
    assert said.endswith(
        "On average over both schedules of gamma, Bop2ndOrder (biased, threshold 1e-6) is "
        f"3.0 points above Bop (threshold 1e-6) [{signed(main['low'])} to {signed(main['high'])}]."
    )


def test_the_steps_are_taken_again_for_the_mean_over_epochs():
    """In the second epoch every arm has what it ends with, in the first a tenth of it."""
    records = rule_records()
    curves = {
        run: [accuracy / 1000, accuracy / 100]
        for run, accuracy in records.runs[["run", COLUMN]].to_numpy()
    }
    records = made_up("rules", records.runs.to_dict("records"), curves)
    said = told(rules, records)
    # Of 1, 2 and 4 points the mean over both epochs is 1.1 / 2 times as much.
    assert re.search(r"by which C1 is judged, .*, the same steps are \+0\.[56] \(.+\) from", said)
    assert " from the learning rate, +1.1 (" in said and ", +2.2 (" in said
    assert re.search(
        r"less Bop is \+1\.[67] \(.+\) at Bop's schedule and \+1\.[67] \(.+ in the mean", said
    )
    table = rules.pace_table(records).numbers.set_index(["part", "key"])
    assert table.loc[("first the rule", "sum"), "estimate"] == pytest.approx(7 * 1.1 / 2)
    assert set(table["metric"]) == {"val_accuracy"}


def test_wide_intervals_say_how_many_seeds_they_lack():
    assert rules.effects(rule_records())["seeds"].isna().all()
    table = rules.effects(rule_records(noise=3)).set_index("part")
    half = table.loc["first the rule", "half_width"].iloc[0]
    assert half > 0.9 and (table["n"] == 6).all()
    assert set(table.loc["first the rule", "seeds"]) == {int(np.ceil(6 * (half / 0.9) ** 2))}
    schedule = table.loc["main"].iloc[0]
    assert schedule["half_width"] == pytest.approx(half / np.sqrt(3)), "of three arms each"
    shown = rules.effects_table(rule_records(noise=3)).shown
    assert shown.columns[-1] == "seeds for 0.7 or 0.9"


def test_a_path_without_one_of_its_arms_is_not_drawn():
    assert rules.path_picture(rule_records()) is not None
    gone = rule_records(gone="bop_polynomial")
    assert rules.path_picture(gone) is None
    found = rules.effects(gone).set_index(["part", "key"])["estimate"]
    assert found["first the rule", "sum"] == pytest.approx(7, abs=0.2)
    assert np.isnan(found["first the schedule", "step_2"])


def grid_records():
    """Two gammas, thresholds of 0, 1 and 10 steps; Bop2ndOrder is 2 points better throughout."""
    arms, columns = {}, {"gamma": {}, "threshold": {}}
    for gamma in (1e-3, 1e-2):
        for arm, above in (("sign", 0), ("bop", 0), ("bop2ndorder", 2)):
            for times in (0,) if arm == "sign" else (1, 10):
                name = f"{arm} {gamma} {times}"
                arms[name] = [50 + 3 * (times == 10) + above + noise for noise in NOISE[:3]]
                columns["gamma"][name] = gamma
                threshold = {"kind": "steps_of_m", "times": float(times), "gradient": 1e-4}
                columns["threshold"][name] = 0.0 if arm == "sign" else threshold
    records = records_of("grid", arms, **columns)
    runs = records.runs.assign(arm=records.runs["arm"].str.partition(" ")[0])
    history = pd.DataFrame(
        {
            "run": run,
            "epoch": epoch,
            "off": epoch / 100,
            "wait": 2.0 * epoch,
            "threshold_steps": 4.0 * epoch,
        }  # fmt: skip
        for run in runs["run"]
        for epoch in (1, 2)
    )
    return type(records)("grid", "quick", runs, history, [])


def test_the_grid_compares_cells_with_a_threshold():
    records = grid_records()
    assert grid.less_bop(records)["estimate"] == pytest.approx(2)
    table = grid.rules(records).set_index("arm")
    assert table["cells"].tolist() == [4, 4] and "sign" not in table.index
    assert table.loc["bop", "mean"] == pytest.approx(51.5)
    assert table.loc["bop", "spread"] == pytest.approx(np.std([50, 50, 53, 53], ddof=1))
    cells = grid.cells(records)
    assert len(cells) == 10 and set(cells["off"]) == {0.02} and set(cells["wait"]) == {4.0}
    said = told(grid, records)
    assert "Bop2ndOrder (biased) is 2.0 points above Bop" in said
    assert "varies over them by 1.7 points (standard deviation) against 1.7; seeds alone" in said
    assert re.search(
        r"apart by threshold, .*, the mean difference over gammas is \+2.0 \(.+\) at 1 and \+2.0 "
        r"\(.+\) at 10\. By cell it goes from \+2.0 \(gamma 1e-., threshold 10?\) to ",
        said,
    )
    assert (
        "A threshold of nominally 10 steps of m, by the size of a gradient fixed beforehand, is 8 "
        "to 8 with Bop and 8 to 8 with Bop2ndOrder (biased) when counted in the last epoch." in said
    )
    picture = grid.heat_maps(records)
    for text in (said, picture.caption, grid.rules_table(records).caption):
        assert "given the size of a typical gradient" in text


def test_what_seeds_alone_would_give_a_rule_depends_on_its_own_seeds():
    """Residuals of 1 in eight values and 0 in two, with 3 degrees of freedom: sqrt(8 / 3) = 1.63.

    A mean of four seeds has half of that.
    """
    values = {
        "bop2ndorder 1": [51.0, 49.0, 51.0, 49.0], "bop2ndorder 10": [49.0, 51.0, 49.0, 51.0],
        "bop 1": [40.0], "bop 10": [60.0],
    }  # fmt: skip
    times = {name: {"kind": "steps_of_m", "times": float(name.split()[1])} for name in values}
    records = records_of("grid", values, threshold=times)
    runs = records.runs.assign(arm=records.runs["arm"].str.partition(" ")[0])
    said = told(grid, replace(records, runs=runs))
    assert "varies over them by 0.0 points (standard deviation) against 14.1; seeds alone would " \
        "give 0.8 and 1.6. " in said  # fmt: skip


def test_the_grid_without_the_columns_of_older_records_shows_accuracy_alone():
    records = grid_records()
    older = type(records)("grid", "quick", records.runs, records.history.drop(columns="off"), [])
    assert grid.cells(older)["off"].isna().all()
    assert "the share of weights that are off" in grid.heat_maps(older).caption
    older = type(records)("grid", "quick", records.runs, records.history[["run", "epoch"]], [])
    assert "off" not in grid.heat_maps(older).caption
