"""What is said of lengths, optimizers and schedules, against other computations."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from synthetic import COLUMN, NOISE, made_up, records_of, told, write_records

from bop2ndorder.study.analysis.exhibits import signed
from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.sections import (
    comparison,
    hyperparameters,
    length,
    schedules,
)
from bop2ndorder.study.analysis.sections.reaching import sooner
from bop2ndorder.study.analysis.statistics import Contrast, Model
from bop2ndorder.study.config import load_study


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
    said = told(length, length_records())
    assert re.search(
        r"comes to \+1.0 \(.+\) points after 10 epochs \(6 seeds\), \+3.0 \(.+\) after 100 "
        r"\(4 seeds\) and \+6.0 after 1000 \(1 seed\); per ten times as many epochs it changes by ",
        said,
    )  # fmt: skip


def test_of_two_lengths_that_hardly_differ_and_of_one_seed_no_slope_is_said():
    arms = {"bop_4": [60, 61, 60.5], "biased_4": [62, 62.5, 63], "bop_8": [61, 62, 61.5],
            "biased_8": [62, 62.8, 63.1]}  # fmt: skip
    said = told(
        length, records_of("length", arms, epochs=dict(zip(arms, (4, 4, 8, 8), strict=True)))
    )
    assert "after 8 (3 seeds)" in said and "ten times" not in said
    alone = {arm: values[:1] for arm, values in arms.items()}
    epochs = dict(zip(arms, (4, 4, 400, 400), strict=True))
    said = told(length, records_of("length", alone, epochs=epochs))
    assert said.endswith("+2.0 points after 4 epochs (1 seed) and +1.0 after 400 (1 seed).")


def test_how_soon_is_told_beside_where_it_ends():
    """Bop learns 60, 70 and 80 %, biased 0, 40 and 80 %: 30 points apart in the mean, 0 in the end.

    At the longer length Bop's three epochs are 10 points lower than that.
    """
    curves = {"bop": [0.6, 0.7, 0.8], "biased": [0.0, 0.4, 0.8], "late": [0.5, 0.6, 0.7]}
    rows, history = [], {}
    for epochs, of_bop in ((3, "bop"), (30, "late")):
        for name, curve in (("bop", of_bop), ("biased", "biased")):
            for seed, noise in enumerate(NOISE[:3]):
                run = f"{name}{epochs}seed{seed}"
                history[run] = [accuracy + noise / 100 for accuracy in curves[curve]]
                row = {"arm": f"{name}_{epochs}", "run": run, "seed": seed, "epochs": epochs}
                rows.append({**row, COLUMN: 80 + noise})
    records = made_up("length", rows, history)
    assert re.search(
        r"comes to .?0.0 \(.+\) points after 3 .+ not planned here, it is −30.0 \(.+\) points "
        r"after 3 epochs \(3 seeds\) and −20.0 \(.+\) after 30 \(3 seeds\); per ten times as many "
        r"epochs it changes by \+10.0 \(.+\) points: the longer the training, the more it speaks "
        r"for the claim\.$", told(length, records),
    )  # fmt: skip
    assert length.pace_table(records).numbers["estimate"].tolist() == pytest.approx([-30, -20, 10])
    on_all = [{**row, "train_on": "all", "test_top1_percent": row[COLUMN]} for row in rows]
    on_all = made_up("length", on_all, history)
    assert length.pace_table(on_all) is None and "In the mean" not in told(length, on_all)


def test_one_length_alone_has_no_slope():
    records = records_of("length", {"bop_5": [60.0, 61.0], "biased_5": [62.0, 63.0]},
                         epochs={"bop_5": 5, "biased_5": 5})  # fmt: skip
    assert set(length.differences(records)["kind"]) == {"difference"}
    assert told(length, records).startswith("After 5 epochs Bop2ndOrder (biased) is 2.0 points")


def test_how_many_times_as_many_images_in_words(monkeypatch):
    """Each epoch has 100 images: biased passes 50 % after 200, Bop half way between 200 and 300."""
    rows = [
        {"optimizer": "bop", "arm": "bop", "run": "bop", COLUMN: 60.0},
        {"optimizer": "biased", "arm": "biased", "run": "biased", COLUMN: 58.0},
    ]
    rows = [{**row, "test_top1_percent": row[COLUMN]} for row in rows]
    curves = {"bop": [0.2, 0.4, 0.6, 0.64], "biased": [0.2, 0.5, 0.52, 0.54]}
    records = made_up("cifar10", rows, curves)
    said = told(comparison, records)
    few = "accuracy after the last epoch Bop2ndOrder (biased) is 2.0 points below Bop (too few "
    assert few in said
    assert said.endswith("Bop needs 1.2 times as many images as Bop2ndOrder (biased) to reach a "
                         "validation accuracy of 50 %.")  # fmt: skip
    own = made_up("imagenet", [{**row, "train_on": "all"} for row in rows], curves)
    assert few in told(comparison, own) and "images" not in told(comparison, own)
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
    said = told(comparison, records)
    assert (
        f"; Bop2ndOrder (Adam's correction) is 1.0 points below Bop2ndOrder (biased) "
        f"[{signed(half.low)} to {signed(half.high)}]"
    ) in said
    assert ". Bop2ndOrder (corrected) is 0.0 points above Bop2ndOrder (biased) [" in said
    few = records.runs["run"].isin(["corrected1", "corrected2", "bop0", "bop1"])
    single = told(comparison, replace(records, runs=records.runs[~few]))
    for name in ("Bop (too", "Bop2ndOrder (biased) (too"):
        assert f"above {name} few seeds" in single or f"below {name} few seeds" in single
    assert f"[{signed(half.low)} to " not in single and "Adam's correction) is" in single
    gone = records.runs["optimizer"] == "adam"
    records.runs.loc[gone, ["test_top1_percent", "missing"]] = [np.nan, True]
    assert "Adam" not in told(comparison, records)


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
    assert told(schedules, made_up("schedules", rows)) == (
        "With polynomial schedules on gamma, sigma, threshold and the learning rate accuracy is "
        f"1.5 points above that without a schedule [{signed(low)} to {signed(high)}]."
    )
    alone = [{**fixed, "lr": decay, COLUMN: 52.0, "optimizer": "biased", "seed": 10}]
    said = told(schedules, made_up("schedules", rows + alone))
    assert re.search(
        r"; the learning rate's alone changes it by \+2\.\d \(one seed\) points\.$", said
    )
    said = told(schedules, made_up("schedules", [*rows, *alone, {**alone[0], "seed": 11}]))
    assert re.search(
        r"; the learning rate's alone changes it by \+1\.\d \(.+ to .+\) points\.$", said
    )
    effects = schedules.effects(made_up("schedules", rows)).set_index("target")["effect"]
    assert effects["all"] == pytest.approx(1.5) and np.isnan(effects["gamma"])


def test_axes_along_which_no_threshold_holds_anything_are_inactive(tmp_path):
    """To the sign rule sigma and threshold are nothing; gamma, too, where m forgets nothing."""
    entries = [*load_study("params.yaml").entries("quick", "hyperparameters")]
    write_records(entries, tmp_path)
    records = load_records(entries, tmp_path, "quick")

    def said(held, **columns):
        history = records.history.assign(due=0.1, off=0.1 * held)
        runs = records.runs.assign(**columns)
        return told(hyperparameters, replace(records, runs=runs, history=history))

    assert "holds back more than 0.5 % of the weights" in said(0.005)
    assert "sigma and threshold are nothing, nor is gamma, since m forgets no gradient." in said(
        0.005
    )
    longer = records.runs["setting"].str.replace('"epochs": 8', '"epochs": 80000')
    assert "sigma and threshold are nothing. That accuracy" in said(0.005, setting=longer)
    some = records.runs["run"] == records.runs["run"].iloc[0]
    for text in (said(0.02), said(0.005, missing=some)):
        assert text.startswith("Varied one at a time") and "sign rule" not in text
