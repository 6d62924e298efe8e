"""Numbers in the text of docs are those of the records, the settings and the scripts."""

import importlib
import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

from bop2ndorder.optim import Bop2ndOrder
from bop2ndorder.schedules import Constant, NoiseFloor, StepsOfM
from bop2ndorder.store import read_json
from bop2ndorder.study.analysis.exhibits import markdown, short
from bop2ndorder.study.analysis.sections.audits import gamma_total
from bop2ndorder.study.config import load_study

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_flips_quotes_what_the_script_prints(figures, tmp_path):
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    quoted = figures.main(tmp_path)
    assert len(quoted) > 10
    assert [words for words in quoted if words not in page] == []
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "figures").iterdir()}
    assert set(re.findall(r"\(figures/(\w+\.png)\)", page)) == drawn


def test_guidance_of_the_optimizer_is_what_was_measured():
    folder = Path("results/small/noise_floor")
    said = " ".join(Bop2ndOrder.__doc__.split())
    effects = pd.read_csv(folder / "table.csv").set_index(["gamma", "times"])
    rows = re.findall(r"(1e-\d(?: -> 1e-\d)?) (\d) ([+-][\d.]+ \([^)]*\))", said)
    assert len(rows) == 8
    for gamma, times, gain in rows:
        row = effects.loc[gamma.replace("->", "→"), int(times)]
        assert gain == points(row["effect"], row["effect_low"], row["effect_high"])
    beside = pd.read_csv(folder / "against_decay.csv").set_index(["gamma", "times"])
    places = [("1e-3 against 1e-3 → 1e-5", 2), ("1e-2 against 1e-2 → 1e-4", 3)]
    rows = [beside.loc[place, ["difference", "low", "high"]] for place in places]
    assert f"are at {points(*rows[0])} and {points(*rows[1])}" in said
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    limits = " and ".join(f"{low:+.1f} to {high:+.1f}" for _, low, high in rows)
    assert f"intervals, {limits} points, do not tell them apart" in page
    half = 0.5 * NoiseFloor(1.0, Constant(1e-3))(0)
    assert StepsOfM(10.0, Constant(1e-3))(0) < half, "ten steps are less than half of one floor"


def test_what_thresholds_do_is_what_was_counted():
    page = (DOCS / "flips.md").read_text(encoding="utf-8")
    exhibits = read_json(Path("results/small/mechanism/exhibits.json"))["exhibits"]
    [table] = [exhibit for exhibit in exhibits if exhibit["name"] == "mechanism"]
    columns = ["settings", "held (%)", "flips (%)", "held per flip", "the rule is"]
    shown = pd.DataFrame(table["rows"], columns=table["columns"])[columns]
    assert markdown(shown) in page
    facts = pd.read_csv("results/small/mechanism/mechanism.csv").set_index("arm")
    assert f"at any time {facts.loc['wide_bop', 'off']:.0f} % of\nall weights are due" in page
    assert facts.loc["constant_5_1", "flips"] / facts.loc["biased_5_1", "flips"] == pytest.approx(
        10, abs=0.5
    ), "a tenth as many"


def test_whether_the_versions_of_5_2_are_equal_is_what_was_measured():
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    claims = pd.read_csv("results/small/claims.csv").set_index("comparison")
    for name, words in (
        ("biased_corrected", "biased less corrected"),
        ("biased_adam", "biased less Adam's correction"),
        ("corrected_adam", "corrected less Adam's correction"),
    ):
        row = claims.loc[name]
        found, low, high = (
            short(row[end], "+").replace("−", "-") for end in ("estimate", "low", "high")
        )
        assert f"{words} {found} points ({low} to {high}), {row['verdict']}" in page
        assert row["n"] == 16 and "with 16 seeds each" in page and row["margin"] == 1
    runs = pd.read_csv("results/small/cifar10/runs.csv")
    held = [
        (100 * history["off"] / history["due"]).max()
        for history in (
            pd.read_csv(f"results/small/runs/{run}/history.csv")
            for run in runs.loc[runs["arm"] == "biased", "run"]
        )
    ]
    assert f"biased one held at most {max(held):.2f} % of the due weights in any epoch" in page


def test_bop_s_threshold_in_steps_of_m_is_what_was_counted():
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    runs = pd.read_csv("results/small/rules/runs.csv")
    steps = {
        arm: pd.DataFrame(
            pd.read_csv(f"results/small/runs/{run}/history.csv")["threshold_steps"] for run in ids
        )
        for arm, ids in runs.groupby("arm")["run"]
    }
    own = steps["bop_exponential"].mean()
    assert f"is {own[:2].min():.1f} to {own[:2].max():.1f} steps of m in the first two" in page
    assert own[7:].min() > 600 and "over 600 from the eighth on" in page
    assert steps["bop_polynomial"].max(axis=None) < 0.5 and "below 0.5 throughout 5.2's" in page
    page = " ".join((DOCS / "deviations.md").read_text(encoding="utf-8").split())
    arms = pd.read_csv("results/small/cifar10/runs.csv").groupby("arm")["run"].agg(list)
    late = [
        pd.read_csv(f"results/small/runs/{run}/history.csv")["flip_rate"][5:].max()
        for run in arms["bop"]
    ]
    assert f"at most {1e6 * max(late):.1f} in a million of its binary weights flip" in page


def test_what_rules_and_schedules_bring_is_what_was_measured():
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    table = pd.read_csv("results/small/rules/effects.csv").set_index(["part", "key"]).loc["main"]
    assert set(table["n"]) == {3} and "so far with three seeds" in page
    for key, before in (
        ("biased_less_bop", "a threshold of 10 steps of m is"),
        ("sign_less_biased", "and the sign rule"),
        ("sign_less_bop", "between the sign rule and Bop,"),
        ("schedule", "nor between the schedules,"),
    ):
        row = table.loc[key]
        limits = [short(row[end], "+").replace("−", "-") for end in ("estimate", "low", "high")]
        said = f"{limits[0]} ({limits[1]} to {limits[2]})"
        assert f"{before} {said}" in page.replace(" points (", " ("), (before, said)


def test_what_the_grid_says_beside_it_is_what_was_measured():
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    table = pd.read_csv("results/small/grid/table.csv").set_index(["arm", "gamma", "times"])
    bop, second = (table.loc[(arm, 1e-4, 10), "mean"] for arm in ("bop", "bop2ndorder"))
    assert f"they come to {bop:.1f} % (Bop) and {second:.1f} %" in page
    plan = " ".join((DOCS / "plan.md").read_text(encoding="utf-8").split())
    counted = table.xs(100, level="times")["threshold_steps"].groupby("arm")
    low, high = counted.min(), counted.max()
    assert f"{low['bop']:.0f} to {high['bop']:.0f} for Bop, and {low['bop2ndorder']:.0f} to " \
        f"{high['bop2ndorder']:.0f} for Bop2ndOrder" in plan  # fmt: skip


def test_the_end_of_the_imagenet_schedule_is_what_the_records_say():
    """Of the biased rule at `small`: held by a tenth, then nearly all, of ever fewer."""
    page = " ".join((DOCS / "flips.md").read_text(encoding="utf-8").split())
    paths = Path("results/small/runs").glob("imagenette64-*-bop2ndorder-g1e-4to1e-9-*/history.csv")
    runs = [pd.read_csv(path) for path in paths]
    held = [100 * run["off"].sum() / run["due"].sum() for run in runs]
    last = pd.DataFrame([run.iloc[-1] for run in runs])
    at_last, steps = 100 * last["off"] / last["due"], last["threshold_steps"]
    assert f"it held {min(held):.0f} to {max(held):.0f} % of the due weights" in page
    assert f"{at_last.min():.0f} to {at_last.max():.0f} % in the last" in page
    assert f"at {steps.min():.0f} to {steps.max():.0f} steps of m" in page
    assert "less than 0.1 % of all weights are due" in page and last["due"].max() < 0.001
    counts = {9: "nine", 16: "sixteen"}
    assert f"In the {counts[len(runs)]} runs of the biased rule" in page


def test_what_squeezed_schedules_sum_to_is_what_the_settings_say():
    page = " ".join((DOCS / "deviations.md").read_text(encoding="utf-8").split())
    study = load_study("params.yaml")
    totals = {
        (scale, entry.arm): gamma_total(entry.run.settings)
        for scale in ("small", "paper")
        for entry in study.entries(scale, "cifar10")
    }
    assert f"is {totals['small', 'bop']:.2f} for Bop at `small` (published: " in page
    assert (
        f"(published: {totals['paper', 'bop']:.0f}) and {totals['small', 'biased']:.0f} for" in page
    )
    assert f"5.2 (published: {totals['paper', 'biased']:,.0f})" in page


def points(value: float, low: float, high: float) -> str:
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def test_what_squeezing_the_schedules_costs_is_what_was_measured():
    page = " ".join((DOCS / "deviations.md").read_text(encoding="utf-8").split())
    table = pd.read_csv("results/small/length/differences.csv")
    rows = table[(table["pair"] == "published") & table["estimate"].notna()]
    by_length = rows[rows["kind"] != "slope"].set_index("epochs")
    several, single = by_length[by_length["n"] > 1], by_length[by_length["n"] == 1]
    assert list(several.index) == [12, 40] and list(single.index) == [130]
    for epochs, row in several.iterrows():
        found = points(row["estimate"], row["low"], row["high"])
        assert f"{found} after {epochs:.0f} epochs ({row['n']} seeds)" in page
    assert f"{single.loc[130, 'estimate']:+.1f} after 130 (1 seed)" in page
    [slope] = rows[rows["kind"] == "slope"].itertuples()
    assert (
        f"ten times as many epochs change it by {points(slope.estimate, slope.low, slope.high)}"
        in page
    )
