"""Differences between arms, and the sections that are made of them, against other computations."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from synthetic import made_up

from bop2ndorder.study.analysis.exhibits import signed
from bop2ndorder.study.analysis.sections import (
    comparison,
    grid,
    length,
    rules,
    schedules,
)
from bop2ndorder.study.analysis.sections.effects import (
    NO_CONTRAST,
    apart,
    effect_cell,
    effect_row,
    model_of,
    seeds_for,
)
from bop2ndorder.study.analysis.sections.reaching import sooner
from bop2ndorder.study.analysis.statistics import Contrast, Model

COLUMN = "val_top1_percent"
NOISE = [0.3, -0.5, 0.2, 0.4, -0.1, -0.3]


def records_of(experiment: str, arms: dict[str, list[float | None]], **columns: dict):
    """Records with these values of each arm, a seed each; columns: arm -> value, by column."""
    rows = [
        {
            COLUMN: np.nan if value is None else value,
            "arm": arm,
            "setting": arm,
            "run": f"{arm}{seed}",
            "seed": seed,
            "missing": value is None,
            **{name: values[arm] for name, values in columns.items()},
        }
        for arm, of_arm in arms.items()
        for seed, value in enumerate(of_arm)
    ]
    return made_up(experiment, rows)


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
    said = rules.finding(records)
    start = "In validation accuracy after the last epoch, 6 seeds an arm, the sign rule with 5.2's "
    assert said.startswith(f"{start}schedules is 7.0 points above Bop as published [")
    assert "No arm of this experiment is Bop2ndOrder as published in 5.2;" in said
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
    said = rules.finding(records)
    # Of 1, 2 and 4 points the mean over both epochs is 1.1 / 2 times as much.
    assert re.search(r"by which C1 is judged, the same steps are \+0\.[56] \(.+\) from the l", said)
    assert " from the learning rate, +1.1 (" in said and ", +2.2 (" in said
    assert re.search(r"less Bop is \+1\.[67] \(.+\) at Bop's schedule and \+1\.[67] \(", said)
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
    said = grid.finding(records)
    assert "Bop2ndOrder (biased) is 2.0 points above Bop" in said
    assert "varies over them by 1.7 points (standard deviation) against 1.7; seeds alone" in said
    assert re.search(
        r"apart by threshold, .*, the difference is \+2.0 \(.+\) at 1 and \+2.0 \(.+\) at 10\.",
        said,
    )
    assert (
        "A threshold of nominally 10 steps of m, by the size of a gradient fixed beforehand, is 8 "
        "to 8 with Bop and 8 to 8 with Bop2ndOrder (biased) when counted in the last epoch." in said
    )
    picture = grid.heat_maps(records)
    for told in (said, picture.caption, grid.rules_table(records).caption):
        assert "given the size of a typical gradient" in told


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
    said = grid.finding(replace(records, runs=runs))
    assert "varies over them by 0.0 points (standard deviation) against 14.1; seeds alone would " \
        "give 0.8 and 1.6. " in said  # fmt: skip


def test_the_grid_without_the_columns_of_older_records_shows_accuracy_alone():
    records = grid_records()
    older = type(records)("grid", "quick", records.runs, records.history.drop(columns="off"), [])
    assert grid.cells(older)["off"].isna().all()
    assert "the share of weights that are off" in grid.heat_maps(older).caption
    older = type(records)("grid", "quick", records.runs, records.history[["run", "epoch"]], [])
    assert "off" not in grid.heat_maps(older).caption


def length_records():
    """Biased less Bop is 1 point at 10 epochs, 3 at 100, 6 at 1000, which has one seed."""
    arms, epochs = {}, {}
    for long, above, seeds in ((10, 1, 6), (100, 3, 4), (1000, 6, 1)):
        for name, plus in (("bop", 0), ("biased", above)):
            arm = f"{name}_{long}"
            arms[arm] = [60 + plus + noise for noise in NOISE[:seeds]]
            epochs[arm] = long
    return records_of("length", arms, epochs=epochs)


def test_the_slope_weighs_lengths_by_their_seeds():
    rows = length.differences(length_records())
    assert rows["epochs"].dropna().tolist() == [10, 100, 1000]
    assert rows["estimate"].tolist()[:3] == pytest.approx([1, 3, 6])
    slope, _ = np.polyfit([1, 2, 3], [1, 3, 6], 1, w=np.sqrt([6, 4, 1]))
    [found] = rows.loc[rows["kind"] == "slope", "estimate"]
    assert found == pytest.approx(slope)
    said = length.finding(length_records())
    assert re.search(
        r"comes to \+1.0 \(.+\) points after 10 epochs \(6 seeds\) and \+6.0 \(.+\) points after "
        r"1000 epochs \(1 seed\); per ten times as many epochs it changes by ", said,
    )  # fmt: skip


def test_of_two_lengths_that_hardly_differ_and_of_one_seed_no_slope_is_said():
    arms = {"bop_4": [60, 61, 60.5], "biased_4": [62, 62.5, 63], "bop_8": [61, 62, 61.5],
            "biased_8": [62, 62.8, 63.1]}  # fmt: skip
    said = length.finding(
        records_of("length", arms, epochs=dict(zip(arms, (4, 4, 8, 8), strict=True)))
    )
    assert "after 8 epochs (3 seeds)" in said and "ten times" not in said
    alone = {arm: values[:1] for arm, values in arms.items()}
    epochs = dict(zip(arms, (4, 4, 400, 400), strict=True))
    said = length.finding(records_of("length", alone, epochs=epochs))
    assert said.endswith("+2.0 points after 4 epochs (1 seed) and +1.0 points after 400 epochs "
                         "(1 seed).")  # fmt: skip


def test_one_length_alone_has_no_slope():
    records = records_of("length", {"bop_5": [60.0, 61.0], "biased_5": [62.0, 63.0]},
                         epochs={"bop_5": 5, "biased_5": 5})  # fmt: skip
    assert set(length.differences(records)["kind"]) == {"difference"}
    assert length.finding(records).startswith("After 5 epochs Bop2ndOrder (biased) is 2.0 points")


def test_how_many_times_as_many_images_in_words(monkeypatch):
    """Each epoch has 100 images: biased passes 50 % after 200, Bop half way between 200 and 300."""
    rows = [
        {"optimizer": "bop", "arm": "bop", "run": "bop", COLUMN: 60.0},
        {"optimizer": "biased", "arm": "biased", "run": "biased", COLUMN: 58.0},
    ]
    rows = [{**row, "test_top1_percent": row[COLUMN]} for row in rows]
    curves = {"bop": [0.2, 0.4, 0.6, 0.64], "biased": [0.2, 0.5, 0.52, 0.54]}
    records = made_up("cifar10", rows, curves)
    said = comparison.finding(records)
    few = "accuracy after the last epoch Bop2ndOrder (biased) is 2.0 points below Bop (too few "
    assert few in said
    assert said.endswith("Bop needs 1.2 times as many images as Bop2ndOrder (biased) to reach a "
                         "validation accuracy of 50 %.")  # fmt: skip
    own = made_up("imagenet", [{**row, "train_on": "all"} for row in rows], curves)
    assert few in comparison.finding(own) and "images" not in comparison.finding(own)
    ratio = Contrast(np.log(1.3), 0.7, 2)  # log of the interval's ends: 0.2624 -+ 3.0119
    monkeypatch.setattr(Model, "contrast", lambda *_: ratio)
    again = sooner(records, records.runs.assign(label=["a", "b"]), "a", "b")
    assert again.endswith(" [0.064 to 26.4], which may be chance"), "no ratio is 0"
    runs = records.runs.assign(label=["Bop", "other"])
    never = made_up("cifar10", rows, {"bop": [0.2, 0.3], "biased": [0.0, 0.0]})
    assert sooner(never, runs, "Bop", "other") == ""


def test_versions_with_bias_correction_are_held_against_the_biased_one():
    """By one model of all arms; a version without a record is left out."""
    values = {
        "bop": [60.0, 61.0, 62.0], "biased": [58.0, 59.0, 60.5],
        "corrected": [58.5, 59.0, 60.0], "adam": [57.0, 58.0, 59.5],
    }  # fmt: skip
    rows = [
        {"optimizer": name, "arm": name, "run": f"{name}{seed}", "setting": name, "seed": seed,
         "test_top1_percent": value, "train_on": "all"}
        for name, seeds in values.items() for seed, value in enumerate(seeds)
    ]  # fmt: skip
    records = made_up("cifar10", rows)
    model = Model.of(pd.DataFrame(rows), "test_top1_percent", "optimizer")
    half = model.contrast({"adam": 1.0, "biased": -1.0})
    said = comparison.finding(records)
    assert (
        f"; Bop2ndOrder (Adam's correction) is 1.0 points below Bop2ndOrder (biased) "
        f"[{signed(half.low)} to {signed(half.high)}]"
    ) in said
    assert ". Bop2ndOrder (corrected) is 0.0 points above Bop2ndOrder (biased) [" in said
    gone = records.runs["optimizer"] == "adam"
    records.runs.loc[gone, ["test_top1_percent", "missing"]] = [np.nan, True]
    assert "Adam" not in comparison.finding(records)


def test_what_schedules_bring_is_said_of_pairs_of_seeds():
    """As a paired t test has it, though a third arm was trained with another seed."""
    decay = {"kind": "polynomial", "start": 1.0, "end": 0.1}
    fixed = {"gamma": 1.0, "sigma": 1.0, "threshold": 1.0, "lr": 1.0}
    without, scheduled = [50.0, 52.0, 51.0, 49.0], [51.0, 53.5, 52.0, 51.5]
    rows = [
        {**values, COLUMN: accuracy, "optimizer": "biased", "seed": 10 + seed}
        for values, of_arm in ((fixed, without), (dict.fromkeys(fixed, decay), scheduled))
        for seed, accuracy in enumerate(of_arm)
    ]
    rows.append({**fixed, "gamma": decay, COLUMN: 20.0, "optimizer": "biased", "seed": 0})
    low, high = ttest_rel(scheduled, without).confidence_interval(0.95)
    assert schedules.finding(made_up("schedules", rows)) == (
        "With polynomial schedules on gamma, sigma, threshold and the learning rate accuracy is "
        f"1.5 points above that without a schedule [{signed(low)} to {signed(high)}]."
    )
    alone = [{**fixed, "lr": decay, COLUMN: 52.0, "optimizer": "biased", "seed": 10}]
    said = schedules.finding(made_up("schedules", rows + alone))
    assert re.search(r"; the learning rate's alone changes it by \+2\.\d \(.+\) points\.$", said)
    effects = schedules.effects(made_up("schedules", rows)).set_index("target")["effect"]
    assert effects["all"] == pytest.approx(1.5) and np.isnan(effects["gamma"])
