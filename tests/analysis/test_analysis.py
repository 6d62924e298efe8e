"""Numbers, tables and figures made of records, held against values worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import made_up, told, write_records

from bop2ndorder.study.analysis import analyse
from bop2ndorder.study.analysis.exhibits import interval
from bop2ndorder.study.analysis.names import COLOURS, with_labels
from bop2ndorder.study.analysis.pages.metrics import rounded, summarise
from bop2ndorder.study.analysis.published import published_top1
from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.sections import (
    comparison,
    hyperparameters,
    normalization,
    schedules,
)
from bop2ndorder.study.analysis.sections.curves import (
    band,
    draw_flip_rates,
    line_styles,
)
from bop2ndorder.study.analysis.sections.experiments import exhibits_of, run_table, section_of
from bop2ndorder.study.analysis.style import panels
from bop2ndorder.study.config import load_study

EXPERIMENTS = load_study("params.yaml").experiments("quick")
POLYNOMIAL = {"kind": "polynomial", "start": 1e-2, "end": 1e-5, "power": 1.0, "until": 1.0}
EXPONENTIAL = {"kind": "exponential", "start": 1e-4, "rate": 0.1, "every": 100.0}


@pytest.fixture(scope="module")
def study():
    return load_study("params.yaml")


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quick"
    write_records(study.entries("quick"), folder)
    return folder


@pytest.fixture
def records(study, results):
    return lambda name: load_records(study.entries("quick"), results, "quick", name)


def test_effect_of_schedules_by_hand():
    column = "val_top1_percent"
    records = made_up(
        "schedules",
        [
            {column: 90.0},
            {column: 92.5, "gamma": EXPONENTIAL},
            {column: 89.0, "lr": POLYNOMIAL},
            {column: 91.0, **dict.fromkeys(("gamma", "sigma", "threshold", "lr"), POLYNOMIAL)},
            {column: 70.0, "optimizer": "corrected"},
            {column: 75.0, "optimizer": "corrected", "gamma": EXPONENTIAL},
        ],
    )
    found = schedules.effects(records)
    assert found["target"].tolist() == ["none", "gamma", "lr", "all", "none", "gamma"]
    assert found["schedule"].tolist()[:4] == ["none", "exponential", "polynomial", "polynomial"]
    assert found["effect"].tolist() == [0.0, 2.5, -1.0, 1.0, 0.0, 5.0]
    shown = schedules.accuracy_table(records).shown.set_index(["scheduled", "schedule"])
    assert shown.loc[("learning rate", "polynomial"), "Bop2ndOrder, biased"] == "89.0 (−1.0)"
    assert shown.loc[("learning rate", "polynomial"), "Bop2ndOrder, corrected"] == "–"


def test_a_schedule_is_less_the_runs_without_one_that_share_its_seeds():
    """Seed 0 has 40 % with and without it; the other seeds of `none` have 50."""
    column = "val_top1_percent"
    without = [
        {column: value, "run": f"none{seed}", "setting": "none", "seed": seed}
        for seed, value in enumerate([40.0, 50.0, 50.0, 50.0, 50.0])
    ]
    same = {column: 40.0, "gamma": POLYNOMIAL, "seed": 0}
    table = schedules.effects(made_up("schedules", [*without, same])).set_index("target")
    assert table.loc["gamma", "effect"] == 0 and table.loc["gamma", "against_runs"] == "none0"
    assert table.loc["none", "mean"] == 48, "of all its seeds"
    other = schedules.effects(made_up("schedules", [*without, {**same, "seed": 5}]))
    assert np.isnan(other["effect"].iloc[-1]) and other["against_runs"].iloc[-1] == ""


def test_normalization_table_is_norm_by_optimizer():
    column = "val_top1_percent"
    records = made_up(
        "normalization",
        [
            {column: 90.0, "setting": "a"},
            {column: 92.0, "setting": "a", "seed": 1},
            {column: 85.0, "norm": "layer", "optimizer": "corrected"},
        ],
    )
    shown = normalization.accuracy_table(records).shown.set_index("normalization")
    assert shown.loc["batch normalization", "Bop2ndOrder, biased"] == "91.0 ± 1.4"
    assert shown.loc["layer normalization", "Bop2ndOrder, corrected"] == "85.0"
    assert shown.loc["layer normalization", "Bop2ndOrder, biased"] == "–"
    assert normalization.headline(records)["batch_biased"]["val_top1"] == 91.0


def test_final_comparison_puts_the_published_number_on_the_same_images_beside_ours():
    column = "test_top1_percent"
    rows = [
        {column: 60.0, "optimizer": "bop", "setting": "a", "train_on": "all"},
        {column: 61.0, "optimizer": "bop", "setting": "a", "seed": 1, "train_on": "all"},
        {column: 62.0, "optimizer": "latent", "gamma": None, "train_on": "all"},
    ]
    small = made_up("cifar10", [{**row, "source": "cifar10"} for row in rows])
    records = replace(small, scale="paper")
    table = comparison.final_table(records)
    assert table.shown["test accuracy (%)"].tolist() == ["60.50 ± 0.71", "62.00"]
    assert table.shown["published (%)"].tolist() == ["91.3", "–"]
    assert table.shown["gamma"].tolist() == ["1e-7", ""]
    assert "single runs on CIFAR-10" in table.caption
    assert comparison.headline(records)["bop"]["test_top1"] == 60.5
    assert table.numbers["n"].tolist() == [2, 1]
    for other in ("digits", "imagenette", "imagenet", "cifar10"):
        found = made_up("cifar10", [{**row, "source": other} for row in rows])
        found = small if other == "cifar10" else replace(found, scale="paper")
        elsewhere = comparison.final_table(found)
        assert "published (%)" not in elsewhere.shown.columns
        assert "ublished" not in elsewhere.caption + comparison.accuracy_picture(found).caption
    assert "published number" in comparison.accuracy_picture(records).caption


def test_a_band_on_a_logarithmic_axis_stays_above_0():
    flips = [1e-4, 1e-4, 4e-3]
    history = pd.DataFrame({"images_seen": 50, "flip_rate": flips, "label": "bop"})
    history = pd.concat([history, history.assign(images_seen=100)])
    _, [[axes]] = panels(1, 1, 2)
    draw_flip_rates(axes, history, {"bop": "#000000"}, {"bop": ""})
    [shade, *_], [line, *_] = axes.collections, axes.lines
    assert band(flips)[0] < 0 < shade.get_paths()[0].vertices[:, 1].min()
    assert line.get_ydata() == pytest.approx([np.prod(flips) ** (1 / 3)] * 2)


def test_no_two_lines_are_told_apart_by_colour_alone():
    found = made_up("cifar10", [{"optimizer": key, "setting": key} for key in COLOURS])
    _, dashes = line_styles(with_labels(found.runs))
    assert len(set(dashes.values())) == len(COLOURS)


def test_published_numbers():
    assert published_top1("cifar10", "cifar10", "binarynet", "biased") == 91.9
    assert published_top1("imagenet", "imagenet", "birealnet", "bop") == 56.6
    assert np.isnan(published_top1("imagenet", "imagenet", "xnornet", "corrected"))
    assert np.isnan(published_top1("imagenet", "imagenette", "birealnet", "bop"))


def test_only_the_final_comparisons_look_at_the_test_set(records):
    column = {name: records(name).accuracy for name in EXPERIMENTS}
    assert {name for name, found in column.items() if found == "test_top1_percent"} == {
        "cifar10",
        "imagenet",
    }


def test_centre_is_the_setting_that_all_axes_share(records):
    found = records("hyperparameters")
    centre = hyperparameters._centre(found)
    on_axes = found.runs[found.runs["axis"].notna()]
    assert on_axes.loc[on_axes["setting"] == centre, "axis"].nunique() == on_axes["axis"].nunique()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_caption_says_scale_data_and_seeds(records, name):
    for exhibit in exhibits_of(records(name)).values():
        assert "Scale quick; data digits" in exhibit.caption
        assert "sha256 " in exhibit.caption
        assert "per setting" in exhibit.caption


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_any_record_there_are_tables_and_no_figures(study, tmp_path, name):
    analyse(name, study.entries("quick"), tmp_path, "quick")
    shown = json.loads((tmp_path / name / "exhibits.json").read_text())
    assert {exhibit["kind"] for exhibit in shown["exhibits"]} == {"table"}
    assert shown["finding"] == []
    assert len(shown["missing"]) == len({e.run.id for e in study.entries("quick", name)})
    assert not list((tmp_path / name).glob("*.png"))
    summarise(study.entries("quick", name), tmp_path, "quick")
    assert json.loads((tmp_path / "metrics.json").read_text())["study"]["records"] == 0


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("there", ["one", "half", "all but one"])
@pytest.mark.filterwarnings("error")
def test_some_records_are_enough(study, tmp_path, name, there):
    entries = study.entries("quick", name)
    runs = sorted({entry.run.id for entry in entries})
    missing = set({"one": runs[1:], "half": runs[::2], "all but one": runs[:1]}[there])
    write_records(entries, tmp_path, skip=missing)
    records = load_records(entries, tmp_path, "quick", name)
    assert set(records.missing) == missing
    shown = exhibits_of(records)
    assert "runs" in shown and len(shown) > 2, "a table, and a picture or another"
    assert all(f"{len(missing)} of {len(runs)} runs missing" in e.caption for e in shown.values())
    # Of one record nothing can be less than another.
    compares = name in ("rules", "grid", "length") and there == "one"
    assert bool(rounded(section_of(name).load().headline(records))) != compares
    said = told(section_of(name).load(), records)
    assert said == "" or said[-1] == "." and "nan" not in said


def test_tables_say_how_many_seeds_are_there():
    column = "val_top1_percent"
    rows = [{column: 90.0, "setting": "a"}, {"missing": True, "setting": "a", "seed": 1}]
    records = made_up("normalization", rows)
    shown = normalization.accuracy_table(records).shown
    assert shown.iloc[0, 1] == "90.0 (1 of 2 seeds)"
    assert "1 seed per setting; 1 of 2 runs missing" in records.basis()
    assert comparison.final_table(records).shown["seeds"].tolist() == ["1 of 2"]
    other = made_up("normalization", [*rows, {"missing": True, "setting": "b"}])
    assert "0 to 1 seeds per setting" in other.basis()


def test_a_missing_run_is_listed_and_left_out_of_the_mean(study, tmp_path):
    entries = study.entries("quick", "cifar10")
    first = entries[0].run
    write_records(entries, tmp_path, skip={first.id})
    records = load_records(entries, tmp_path, "quick")
    assert records.missing == [first.id]
    table = comparison.final(records)
    assert table.loc[0, "n"] == table.loc[0, "planned"] - 1
    assert f"1 of {len(entries)} runs missing" in records.basis()
    runs = run_table(records).shown.set_index("run")["test accuracy (%)"]
    assert runs[first.id] == "missing"
    assert (runs == "missing").sum() == 1


def test_same_records_give_the_same_bytes_and_old_files_go(study, results):
    folder = results / "normalization"
    analyse("normalization", study.entries("quick"), results, "quick")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "an_old_figure.png").touch()
    analyse("normalization", study.entries("quick"), results, "quick")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {"table.csv", "table.md", "convergence.png", "convergence.svg"} <= set(before)
    assert max(len(content) for content in before.values()) < 90_000


@pytest.mark.parametrize("part", ["finding", "exhibits"])
def test_old_files_stay_where_new_ones_cannot_be_made(study, tmp_path, monkeypatch, part):
    folder = tmp_path / "normalization"
    folder.mkdir()
    (folder / "table.csv").write_text("old")
    monkeypatch.setattr(normalization, part, lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        analyse("normalization", study.entries("quick"), tmp_path, "quick")
    assert (folder / "table.csv").read_text() == "old"


def test_intervals_stand_beside_means():
    column = "test_top1_percent"
    rows = [
        {column: value, "setting": "a", "seed": seed, "train_on": "all"}
        for seed, value in enumerate([90.0, 91.0, 92.0])
    ]
    [row] = comparison.final_table(made_up("cifar10", rows)).shown.to_dict("records")
    assert (row["test accuracy (%)"], row["95 % interval"]) == ("91.00 ± 1.00", "88.5 to 93.5")
    assert interval(99.0, 101.5) == "99.0 to 100.0", "no accuracy is above 100 %"
    assert band([1.0, 3.0]) == (1.0, 3.0)
    assert band([1.0, 2.0, 3.0]) == pytest.approx((-0.484, 4.484), abs=1e-3)


def test_an_experiment_of_ones_own_is_compared_too(study, results, tmp_path):
    entries = [replace(e, experiment="my_own") for e in study.entries("quick", "normalization")]
    records = load_records(entries, results, "quick")
    assert records.accuracy == "val_top1_percent"
    shown = exhibits_of(records)
    learning = {"convergence", "images", "flip_rates"}
    assert set(shown) == {"accuracy", "table", *learning, "costs", "runs"}
    assert "validation accuracy (%)" in shown["table"].shown.columns
