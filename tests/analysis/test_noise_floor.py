"""Thresholds in units of the noise floor: tables and sentences, by hand."""

import numpy as np
import pytest
from synthetic import made_up, told

from bop2ndorder.study.analysis.sections import (
    noise_floor,
)

COLUMN = "val_top1_percent"
POLYNOMIAL = {"kind": "polynomial", "start": 1e-2, "end": 1e-5, "power": 1.0, "until": 1.0}


def noise_floor_records():
    """Two gammas, times 0 and 2, two seeds; the second seed of one setting is missing."""
    values = {(1e-3, 0): [40, 41], (1e-3, 2): [44, 46], (1e-2, 0): [38, 40], (1e-2, 2): [45, None]}
    decaying = {**POLYNOMIAL, "end": 1e-4}
    rows = [
        {
            "val_top1_percent": np.nan if value is None else float(value),
            "missing": value is None,
            "gamma": gamma,
            "threshold": {"kind": "noise_floor", "times": float(times)},
            "setting": f"{gamma} {times}",
            "seed": seed,
        }
        for (gamma, times), two in values.items()
        for seed, value in enumerate(two)
    ]
    return made_up("noise_floor", [*rows, {**rows[0], "gamma": decaying, "setting": "decaying"}])


def test_noise_floor_by_hand():
    records = noise_floor_records()
    table = noise_floor.accuracy(records).set_index(["decay", "gamma", "times"])
    assert table["mean"].tolist() == [40.5, 45, 39, 45, 40]
    assert table.loc[("constant", "1e-3", 2), "effect"] == 4.5
    assert table.loc[("constant", "1e-2", 2), "effect"] == 7, "over the seed that both have"
    apart = noise_floor.collapse(records)
    assert apart["difference"].tolist() == [-1.5, 1.0] and apart["n"].tolist() == [2, 1]
    assert set(apart["gamma"]) == {"1e-2 against 1e-3"} and set(apart["decay"]) == {"constant"}
    half = 12.7062 / 2  # of differences -2 and -1
    assert apart["low"].tolist() == pytest.approx([-1.5 - half, np.nan], nan_ok=True, abs=1e-3)
    instead = noise_floor.against_decay(records)  # the one with a decay begins at 1e-2, seed 0
    assert instead["difference"].tolist() == [-2, 5] and instead["n"].tolist() == [1, 1]
    assert set(instead["gamma"]) == {"1e-2 against 1e-2 → 1e-4"}
    headline = noise_floor.headline(records)
    assert headline["constant"]["gammas_apart_points"] == 1.5
    assert headline["decaying"]["best_gamma"] == 1e-2


def test_the_best_threshold_in_words():
    floor = {"kind": "noise_floor", "times": 2.0}
    rows = [
        {COLUMN: 40.0, "gamma": 1e-2, "threshold": {**floor, "times": 0.0}},
        {COLUMN: 45.0, "gamma": 1e-2, "threshold": floor},
    ]
    assert told(noise_floor, made_up("noise_floor", rows)) == (
        "With a constant gamma the best threshold of 2 is 2 times the noise floor, at gamma 1e-2 "
        "(45.0 %), +5.0 points from none (chosen as the best, it is rather too good)."
    )
    higher = {"gamma": 1e-2, "threshold": {**floor, "times": 3.0}}
    rows += [{COLUMN: 60.0, **higher, "seed": 0}, {COLUMN: None, **higher, "seed": 1}]
    assert "threshold of 2 is 2 times" in told(noise_floor, made_up("noise_floor", rows)), (
        "a lucky seed is no best"
    )
