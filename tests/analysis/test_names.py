"""Names, labels and numbers as readers see them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from synthetic import made_up

from bop2ndorder.study.analysis.exhibits import markdown, mean_cell, short, signed
from bop2ndorder.study.analysis.names import number_text, schedule_text, slug, with_labels
from bop2ndorder.study.analysis.pages.metrics import rounded
from bop2ndorder.study.analysis.style import ink_on

POLYNOMIAL = {"kind": "polynomial", "start": 1e-2, "end": 1e-5, "power": 1.0, "until": 1.0}
EXPONENTIAL = {"kind": "exponential", "start": 1e-4, "rate": 0.1, "every": 100.0}


def test_names():
    assert [number_text(x) for x in (1e-7, 2.5e-3, 0.01, 0.5, 50, 0)] == [
        "1e-7", "2.5e-3", "1e-2", "0.5", "50", "0"
    ]  # fmt: skip
    assert schedule_text(POLYNOMIAL) == "1e-2 → 1e-5"
    assert schedule_text({**POLYNOMIAL, "until": 0.7}) == "1e-2 → 1e-5 in 70 %"
    assert schedule_text(EXPONENTIAL) == "1e-4 × 0.1 / 100 ep."
    assert schedule_text(None) == schedule_text(float("nan")) == ""
    assert slug("Bop2ndOrder, Adam's correction") == "bop2ndorder_adams_correction"
    assert [mean_cell(91.26, 0.44), mean_cell(91.26), mean_cell(np.nan)] == [
        "91.3 ± 0.4", "91.3", "–"
    ]  # fmt: skip


def test_rounding_does_not_hide_on_which_side_of_0_a_number_is():
    assert [short(x) for x in (-0.028, 0.04, 0.06, -0.004, -1.26, 0)] == [
        "−0.03", "0.04", "0.1", "0.0", "−1.3", "0.0"
    ]  # fmt: skip
    assert [signed(x) for x in (0.028, -0.028, -0.004, np.nan)] == ["+0.03", "−0.03", "+0.0", "–"]


@pytest.mark.parametrize("name", ["viridis", "cividis"])
def test_numbers_on_colours_can_be_read(name):
    """At least 4.5 to 1, which WCAG 2 asks of text."""
    for value in np.linspace(0, 1, 50):
        colour = colormaps[name](value)
        light = [luminance(to_rgb(c)) for c in (ink_on(colour), colour)]
        assert (max(light) + 0.05) / (min(light) + 0.05) >= 4.5


def luminance(colour):
    linear = np.where(
        np.array(colour[:3]) <= 0.04045,
        np.array(colour[:3]) / 12.92,
        ((np.array(colour[:3]) + 0.055) / 1.055) ** 2.4,
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_labels_tell_settings_apart():
    runs = made_up(
        "cifar10",
        [
            {"optimizer": "bop", "arm": "tuned", "setting": "a"},
            {"optimizer": "bop", "arm": "tuned", "setting": "a", "seed": 1},
            {"optimizer": "bop", "arm": "as_published", "setting": "b"},
            {"optimizer": "biased", "arm": "grid", "setting": "c"},
            {"optimizer": "biased", "arm": "grid", "setting": "d"},
            {"optimizer": "latent", "arm": "latent", "setting": "e"},
        ],
    ).runs
    assert with_labels(runs)["label"].tolist() == [
        "Bop (tuned)",
        "Bop (tuned)",
        "Bop (as published)",
        "Bop2ndOrder, biased (grid) 1",
        "Bop2ndOrder, biased (grid) 2",
        "latent weights",
    ]


def test_markdown_aligns_words_left_and_numbers_right():
    table = pd.DataFrame({"arm": ["a"], "accuracy": ["91.3 ± 0.4"]})
    assert markdown(table) == "| arm | accuracy |\n| --- | --: |\n| a | 91.3 ± 0.4 |\n"


def test_rounded_keeps_counts_whole_and_drops_what_is_empty():
    nested = {"a": {"mean": 91.23456, "std": np.nan, "n": np.int64(3)}, "b": {"std": np.nan}}
    assert rounded(nested) == {"a": {"mean": 91.235, "n": 3}}
