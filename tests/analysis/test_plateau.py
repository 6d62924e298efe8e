"""Whether training had ended, and what more of it would cost: by hand, and by counting layers."""

import json

import numpy as np
import pytest
from retrace import Trace, multiply_accumulates
from synthetic import made_up, write_records

from bop2ndorder.study.analysis import load_records
from bop2ndorder.study.analysis.sections.costs import cost_table, costs
from bop2ndorder.study.analysis.sections.plateau import exhibits, headline, rise_table, rises
from bop2ndorder.study.config import load_study


def curves(**runs):
    """Records of runs with these training accuracies, epoch by epoch; a seed a run."""
    rows = [{"run": run, "seed": seed, "setting": "one"} for seed, run in enumerate(runs)]
    records = made_up("plateau", [{**row, "train_on": "all"} for row in rows], runs)
    assert records.curve == "train_accuracy"
    return records


def test_the_rise_is_that_of_the_last_fifth_over_the_one_before():
    ten = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.60, 0.64, 0.65, 0.67]
    [row] = rises(curves(a=ten)).itertuples()
    assert (row.before, row.last, row.rise) == pytest.approx((62, 66, 4))
    assert np.isnan(row.low) and row.n == 1
    flat = [0.6] * 10
    [row] = rises(curves(a=ten, b=flat)).itertuples()
    assert (row.before, row.last, row.rise) == pytest.approx((61, 63, 2))
    assert (row.low, row.high) == pytest.approx((2 - 12.7062 * 2, 2 + 12.7062 * 2), abs=1e-3)
    table = rise_table(curves(a=ten, b=flat))
    assert table.shown["rise (points)"].tolist() == ["+2.0"]
    assert table.shown["95 % interval"].tolist() == ["−23.4 to +27.4"]
    assert headline(curves(a=ten)) == {
        "bop2ndorder_biased": {
            "last_fifth_top1": pytest.approx(66),
            "rise_points": pytest.approx(4),
        }
    }


def test_a_fifth_is_whole_epochs_and_at_least_one():
    [row] = rises(curves(a=[0.2, 0.3, 0.5])).itertuples()
    assert (row.before, row.last) == pytest.approx((30, 50))
    twelve = [0.1] * 8 + [0.5, 0.6, 0.7, 0.8]
    [row] = rises(curves(a=twelve)).itertuples()
    assert (row.before, row.last) == pytest.approx((55, 75))


def test_the_plateau_of_the_small_scale_is_followed_to_its_records(tmp_path):
    """By the means that follow the committed tables, on made-up records of twelve epochs."""
    entries = load_study().entries("small", "plateau")
    write_records(entries, tmp_path)
    records = load_records(entries, tmp_path, "small")
    assert records.curve == "val_accuracy" and set(records.runs["epochs"]) == {12}
    assert exhibits(records)[0].numbers.equals(rises(records))
    for row in rises(records).to_dict("records"):
        again = Trace(tmp_path).row("table", row)
        assert {name: row[name] for name in again} == pytest.approx(again)


def of_width(width, images_seen=1_000_000):
    settings = {
        "network": {"name": "binarynet", "width": width, "dense": 8 * width, "norm": "batch"},
        "data": {"source": "cifar10", "image_size": 32, "validation": 5000},
    }
    row = {"run": "a", "setting": json.dumps(settings), "images_seen": images_seen}
    return made_up("cifar10", [{**row, "train_on": "all", "val_top1_percent": np.nan}])


def test_costs_follow_from_the_operations_of_each_width():
    table = costs(of_width(16))
    assert table["width"].tolist() == [16, 32, 64, 128]
    for row in table.itertuples():
        network = {"name": "binarynet", "width": row.width, "dense": 8 * row.width, "norm": "batch"}
        assert row.multiply_accumulates == multiply_accumulates(network, 32)
        hours = 1_000_000 * 6 * row.multiply_accumulates / 5e10 / 3600
        assert row.core_hours_1 == pytest.approx(hours)
        assert row.core_hours_50 == pytest.approx(50 * hours)


def test_costs_stop_at_the_published_width():
    assert costs(of_width(128))["width"].tolist() == [128]
    assert costs(of_width(50))["width"].tolist() == [50, 100]
    shown = cost_table(of_width(128)).shown
    assert shown["multiply-accumulates an image"].tolist() == ["514.1M"]
