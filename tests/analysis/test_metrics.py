"""What DVC shows: a short headline, all numbers beside it, and the tables of its charts."""

import csv
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from synthetic import made_up, write_records

from bop2ndorder.study.analysis.pages.metrics import curve_rows, final_rows, summarise
from bop2ndorder.study.config import load_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    """Made-up records of the whole quick study, summed up."""
    folder = tmp_path_factory.mktemp("results") / "quick"
    write_records(study.entries("quick"), folder)
    summarise(study.entries("quick"), folder, "quick")
    return folder


def numbers(path):
    """Dotted name -> number, as DVC shows them."""
    return pd.json_normalize(json.loads(path.read_text())).iloc[0].to_dict()


def test_the_headline_is_short_and_all_numbers_are_beside_it(study, results):
    headline, whole = numbers(results / "metrics.json"), numbers(results / "metrics_all.json")
    assert 8 <= len(headline) <= 16
    assert {name: whole[name] for name in headline} == headline
    assert {name.split(".")[0] for name in whole} == {*study.experiments("quick"), "study"}
    assert all(name.rpartition(".")[2] in ("test_top1", "records", "runs") for name in headline)
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+){1,3}", name) for name in whole)
    assert whole["study.records"] == whole["study.runs"] == len(study.runs("quick"))


def test_final_accuracies_have_intervals_from_three_seeds_on():
    column = "test_top1_percent"
    rows = [
        {column: value, "setting": setting, "optimizer": optimizer, "seed": seed, "train_on": "all"}
        for setting, optimizer, values in (
            ("a", "bop", (90.0, 92.0, 94.0)),
            ("b", "biased", (80.0, 81.0)),
            ("c", "adam", (np.nan,)),
        )
        for seed, value in enumerate(values)
    ]
    table = final_rows(made_up("cifar10", rows)).set_index("arm")
    assert set(table["panel"]) == {"cifar10: BinaryNet on handwritten digits, test images"}
    assert table["accuracy"].to_dict() == {"Bop": 92.0, "Bop2ndOrder, biased": 80.5}
    half = 4.30265 * 2 / 3**0.5  # Student's t of two degrees of freedom
    assert table.loc["Bop", ["low", "high"]].tolist() == pytest.approx([92 - half, 92 + half])
    assert table.loc["Bop2ndOrder, biased", ["low", "high"]].isna().all()
    assert table["seeds"].tolist() == [3, 2]


def test_curves_are_the_means_of_what_the_records_hold(study, results):
    """Counted by hand out of the files; the arms of cifar10 differ in their optimizer alone."""
    curves = defaultdict(list)
    for entry in study.entries("quick", "cifar10"):
        name = "val_accuracy" if entry.run.settings.train_on == "train" else "train_accuracy"
        with (results / "runs" / entry.run.id / "history.csv").open() as file:
            for row in csv.DictReader(file):
                curves[entry.arm, row["epoch"]].append(100 * float(row[name]))
    means = sorted(statistics.mean(values) for values in curves.values())
    with (results / "plots" / "convergence.csv").open() as file:
        shown = [row for row in csv.DictReader(file) if row["panel"].startswith("cifar10: ")]
    assert sorted(float(row["accuracy"]) for row in shown) == pytest.approx(means, rel=1e-5)
    assert {row["seeds"] for row in shown} == {str(len(next(iter(curves.values()))))}


def test_without_a_record_there_are_empty_tables(study, tmp_path):
    summarise(study.entries("quick"), tmp_path, "quick")
    assert list(numbers(tmp_path / "metrics.json")) == ["study.records", "study.runs"]
    for name in ("accuracy", "convergence"):
        (heading,) = (tmp_path / "plots" / f"{name}.csv").read_text().splitlines()
        assert heading.startswith("panel,arm,")


def test_curves_break_off_where_an_arm_ends():
    rows = [
        {"setting": "a", "optimizer": "bop", "train_on": "all"},
        {"setting": "b", "optimizer": "latent", "train_on": "all"},
    ]
    table = curve_rows(made_up("cifar10", rows, {"run0": [0.1, 0.2], "run1": [0.3]}))
    assert table.groupby("arm")["epoch"].max().to_dict() == {"Bop": 2, "latent weights": 1}
    assert table["accuracy"].tolist() == pytest.approx([10, 20, 30])


@pytest.mark.parametrize("name", ["accuracy", "convergence"])
def test_charts_name_columns_of_their_tables(results, name):
    """A column that is not there is drawn as nothing, without a word."""
    columns = pd.read_csv(results / "plots" / f"{name}.csv", nrows=0).columns
    template = (ROOT / ".dvc" / "plots" / f"{name}.json").read_text(encoding="utf-8")
    fields = set(re.findall(r'"field": "([^"]+)"', template))
    anchors = {"<DVC_METRIC_X>", "<DVC_METRIC_Y>"}
    assert fields - anchors <= {*columns, "rev"}
    (axes,) = (
        plot[file]
        for plot in YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]
        for file in plot
        if file == f"results/${{scale}}/plots/{name}.csv"
    )
    assert axes["template"] == name and {axes["x"], axes["y"]} <= {*columns}
