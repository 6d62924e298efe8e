"""Verdicts: the rules and the comparisons by hand, and the claims of params.yaml as a whole."""

import json
import math
from statistics import stdev

import numpy as np
import pandas as pd
import pytest
from synthetic import made_up, write_records

from bop2ndorder.study.analysis.statistics import Estimate
from bop2ndorder.study.analysis.verdicts.claims import (
    OVERALL,
    comparison_table,
    judge,
    overall,
    read_claims,
    statements,
    verdict,
    verdict_table,
    write_claims,
)
from bop2ndorder.study.analysis.verdicts.contrasts import Contrast, contrast, times_as_many
from bop2ndorder.study.config import SCALES, load_study
from bop2ndorder.study.config.claims import Comparison
from bop2ndorder.study.workflow.products import Workflow

YES, NO, OPEN, GONE = "supported", "not supported", "undecided", "withdrawn"
INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module")
def study():
    return load_study("params.yaml")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.6, 1.2, YES),
        (0.1, 1.2, YES),
        (-1.2, -0.1, NO),
        (-0.5, 0.5, NO),
        (0.1, 0.4, NO),  # surely positive, and too small to matter
        (-0.4, 0.6, OPEN),
        (0.0, 1.0, OPEN),
        (-3.0, 4.0, OPEN),
        (NAN, NAN, OPEN),
        (0.2, INF, YES),
        (-INF, -0.7, NO),
        (-INF, INF, OPEN),
    ],
)
def test_verdict_by_hand(low, high, expected):
    assert verdict(low, high, margin=0.5) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("a", YES), ("b", YES)], YES),
        ([("a", YES), ("b", OPEN)], OPEN),
        ([("a", YES), ("b", NO)], NO),
        ([("a", OPEN), ("b", NO)], NO),
        ([("a", NO), ("a", YES), ("b", OPEN), ("b", YES)], YES),
        ([("a", NO), ("a", OPEN)], OPEN),
        ([("a", NO), ("a", NO), ("b", YES)], NO),
        ([("a", GONE), ("a", YES)], YES),
        ([("a", GONE), ("b", OPEN)], OPEN),
        ([("a", GONE), ("b", NO)], NO),
        ([("a", GONE), ("b", GONE)], GONE),
    ],
)
def test_verdict_of_a_claim_by_hand(found, expected):
    assert overall(found) == expected


def compare(measure="accuracy", of="new", against="old", **more):
    selected = {"of": {"arm": [of]}, "against": {"arm": [against]}}
    return Comparison(experiment="cifar10", measure=measure, **selected, **more)


def arms(column="test_top1_percent", **values):
    """Rows of two arms, a value a seed; None is a missing record."""
    return [
        {
            "arm": arm,
            "run": f"{arm}{seed}",
            "setting": arm,
            "seed": seed,
            "train_on": "all",
            column: NAN if value is None else value,
            "missing": value is None,
        }
        for arm, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]


def test_accuracy_is_compared_seed_by_seed():
    """The seeds differ by points, the pairs by tenths."""
    rows = arms(new=[91.0, 81.1, 86.3], old=[90.0, 80.0, 85.0])
    found = contrast(compare(), made_up("cifar10", rows))
    assert found.estimate.value == pytest.approx(3.4 / 3)
    half = 4.302653 * np.std([1.0, 1.1, 1.3], ddof=1) / 3**0.5
    assert found.estimate.low == pytest.approx(3.4 / 3 - half, abs=1e-6)
    assert (found.estimate.n, found.over, found.complete, found.notes) == (3, "seeds", True, ())
    assert (found.runs, found.against_runs) == ("new0 new1 new2", "old0 old1 old2")


def test_only_seeds_that_both_have_count_and_a_missing_run_is_no_verdict():
    rows = arms(new=[91.0, 92.0, None], old=[90.0, 91.0, 10.0])
    found = contrast(compare(), made_up("cifar10", rows))
    assert found.estimate[:3] == (1.0, 1.0, 1.0) and found.estimate.n == 2
    assert not found.complete and found.notes == ("arm new: 1 of 3 runs missing",)
    assert found.runs == "new0 new1" and found.against_runs == "old0 old1"
    nobody = contrast(compare(of="tuned"), made_up("cifar10", rows))
    assert not nobody.complete and nobody.estimate.n == 0
    assert nobody.notes == ("no runs with arm tuned",)


def test_one_seed_is_paired_over_settings():
    """Two versions with a baseline each: the mean of all differences, and the baselines' chance."""
    column = "val_top1_percent"
    values = {"biased": [90, 91, 92, 90], "corrected": [80, 83, 82, 80]}
    rows = [
        {"arm": arm, "optimizer": optimizer, "run": f"{optimizer} {arm}", column: float(value)}
        for optimizer, four in values.items()
        for arm, value in zip(["none", "a", "b", "c"], four, strict=True)
    ]
    comparison = Comparison(
        experiment="schedules", measure="accuracy", of={"arm": ["a", "b", "c"]},
        against={"arm": ["none"]}, paired_by=["optimizer", "seed"],
    )  # fmt: skip
    found = contrast(comparison, made_up("schedules", rows))
    assert found.estimate.value == pytest.approx((3 + 5) / 6)
    assert (found.estimate.n, found.over) == (6, "settings")
    # Variance within versions: (1, 2, 0) and (3, 2, 0), 4 degrees of freedom.
    variance = (2 + 14 / 3) / 4
    half = 2.776445 * (2 * variance * (1 + 1 / 3)) ** 0.5 / 2
    assert found.estimate.high == pytest.approx(8 / 6 + half, abs=1e-5)
    ambiguous = comparison.model_copy(update={"paired_by": ["seed"]})
    with pytest.raises(ValueError, match="several partners.*paired_by"):
        contrast(ambiguous, made_up("schedules", rows))


def images(level, **curves):
    """log(images of the arm old / images of new), from training accuracies a run."""
    rows = arms(**{arm: [1.0] * len(found) for arm, found in curves.items()})
    history = {f"{arm}{seed}": c for arm, found in curves.items() for seed, c in enumerate(found)}
    return contrast(compare("images"), made_up("cifar10", rows, history), level)


def test_images_by_hand():
    """150 against 300 images, and 200 against 400: half, with no doubt."""
    found = images(
        50,
        new=[[0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]],
        old=[[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.5]],
    )
    assert times_as_many(found.estimate) == pytest.approx((0.5, 0.5, 0.5, 2)) and not found.notes
    assert found.estimate.value > 0, "which speaks for the first"
    assert found.metric == "train_accuracy"


def test_images_of_a_run_that_never_gets_there_bound_one_side():
    new = [[0.4, 0.6, 0.7, 0.7], [0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]]
    old = [[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.45], [0.1, 0.2, 0.4, 0.45]]
    found = images(50, new=new, old=old)
    # log(old / new) is log 2, more than log 8/3, more than log 2.
    logs = np.log([2, 400 / 150, 2])
    low = logs.mean() - 4.302653 * logs.std(ddof=1) / 3**0.5
    assert found.estimate.low == pytest.approx(low, abs=1e-6)
    assert found.estimate.high == INF and math.isnan(found.estimate.value)
    assert times_as_many(found.estimate)[1:3] == (0, pytest.approx(np.exp(-low), abs=1e-6))
    assert found.notes == ("old: 2 of 3 runs never reach 50 %",)
    neither = images(80, new=new, old=old)
    assert neither.estimate[1:3] == (-INF, INF)
    at_once = images(5, new=new, old=old)
    assert at_once.estimate[1:3] == (-INF, INF) and "in the first epoch" in at_once.notes[0]


def grid(optimizer, values, seed=0, decades=0):
    return [
        {
            "arm": optimizer, "optimizer": optimizer, "run": f"{optimizer}{place}-{seed}",
            "seed": seed, "gamma": 10.0 ** (-4 - decades + place // 2),
            "threshold": 10.0 ** (-8 - decades + place % 2), "val_top1_percent": value,
        }
        for place, value in enumerate(values)
    ]  # fmt: skip


def robust(measure, rows):
    selected = {"of": {"arm": ["new"]}, "against": {"arm": ["old"]}}
    comparison = Comparison(experiment="hyperparameters", measure=measure, **selected)
    return contrast(comparison, made_up("hyperparameters", rows))


def test_robustness_over_seeds_and_over_cells_by_hand():
    one = [
        *grid("new", [90.0, 89.0, 88.5, 70.0], decades=3),
        *grid("old", [90.0, 60.0, 70.0, 50.0]),
    ]
    spread, share = robust("spread", one), robust("share", one)
    new, old = stdev([90.0, 89.0, 88.5, 70.0]), stdev([90.0, 60.0, 70.0, 50.0])
    assert spread.estimate.value == pytest.approx(old - new)
    assert (spread.over, spread.estimate.n) == ("cells", 4)
    assert spread.estimate.low < old - new < spread.estimate.high
    assert share.estimate.value == 50 and share.estimate.high == 100
    two = [
        *one,
        *grid("new", [90.0, 89.0, 88.5, 75.0], 1, decades=3),
        *grid("old", [90.0, 60.0, 70.0, 51.0], 1),
    ]
    found = robust("spread", two)
    first, second = old - new, stdev([90.0, 60.0, 70.0, 51.0]) - stdev([90.0, 89.0, 88.5, 75.0])
    assert found.estimate.value == pytest.approx((first + second) / 2)
    assert found.over == "seeds"
    half = 12.7062 * (second - first) / 2
    assert found.estimate.high == pytest.approx((first + second) / 2 + half, abs=1e-3)


def test_grids_of_another_shape_are_not_compared():
    found = robust("spread", [*grid("new", [90.0, 89.0, 88.0]), *grid("old", [9.0, 8.0, 7.0, 6.0])])
    assert found.estimate.n == 0 and found.notes == ("the grids are not of the same shape",)
    found = robust("spread", [*grid("new", [90.0]), *grid("old", [9.0])])
    assert found.estimate.n == 0 and found.notes == ("too few settings for an interval",)


# The claims of params.yaml


def test_every_comparison_finds_its_runs(study, tmp_path):
    """At all scales; tuned arms are there when they have been chosen."""
    for scale in SCALES:
        entries = study.entries(scale)
        chosen = {entry.experiment for entry in entries if entry.arm.startswith("tuned")}
        table = judge(study.claims[scale], entries, tmp_path, scale)
        for row in table.dropna(subset="note").itertuples():
            waiting = "tuned" in row.comparison and row.experiment not in chosen
            assert ("no runs with" in row.note) == waiting, (scale, row)
        assert set(table["verdict"]) <= {OPEN, GONE}, "without records nothing is decided"


def recorded(study, folder, changes, claims=None):
    """Made-up records of the quick study, test accuracies set by (optimizer, seed)."""
    entries = study.entries("quick")
    write_records(entries, folder)
    for entry in entries:
        path = folder / "runs" / entry.run.id / "metrics.json"
        metrics = json.loads(path.read_text())
        value = changes.get((entry.experiment, entry.arm))
        if value is not None:
            metrics["test_top1_percent"] = value + entry.run.settings.seed
            path.write_text(json.dumps(metrics))
    write_claims(claims or study.claims["quick"], entries, folder, "quick")
    return read_claims(folder)


def test_claims_of_the_quick_study(study, tmp_path):
    better = {("cifar10", "biased"): 93.0, ("cifar10", "bop"): 90.0, ("cifar10", "constant"): 90.1}
    table = recorded(study, tmp_path, better)
    assert statements(table)["claim"].tolist() == ["C1", "C2", "C3", "C4", "C5"]
    assert set(table["verdict"]) <= {YES, NO, OPEN, GONE}
    rows = table.set_index(["claim", "comparison"]).sort_index()
    assert rows.loc[("C3", "biased"), "effect"] == pytest.approx(3)
    assert rows.loc[("C3", "biased"), "verdict"] == YES
    assert rows.loc[("C3", "corrected"), "verdict"] == NO, "within the margin"
    assert rows.loc[("C3", "xnornet"), "verdict"] == OPEN, "one seed"
    assert rows.loc[("C3", OVERALL), "verdict"] == OPEN
    assert rows.loc[("C4", "biased_cifar10"), ["effect", "verdict"]].tolist() == [
        pytest.approx(2.9), GONE
    ]  # fmt: skip
    assert len(rows.loc[("C1", "biased")]) == len(study.claims["quick"].levels)
    compared = table[table["comparison"] != OVERALL]
    assert compared["criterion"].notna().all() and compared["runs"].notna().all()
    before = (tmp_path / "claims.csv").read_bytes()
    write_claims(study.claims["quick"], study.entries("quick"), tmp_path, "quick")
    assert (tmp_path / "claims.csv").read_bytes() == before


def test_tables_of_claims(study, tmp_path):
    better = {("cifar10", "biased"): 93.0, ("cifar10", "constant"): 95.0, ("cifar10", "bop"): 90.0}
    table = recorded(study, tmp_path, better)
    shown = verdict_table(table).shown.set_index("claim")
    found = shown.loc["C3 Bop2ndOrder reaches better accuracy than Bop."]
    assert found.tolist() == [OPEN, "supported 2, undecided 2", ""]
    one = comparison_table(table, "C3").shown.set_index("comparison")
    assert one.loc["biased", ["effect", "95 % interval", "n", "verdict"]].tolist() == [
        "+3.0", "+3.0 to +3.0", "2 seeds", YES
    ]  # fmt: skip
    assert one.loc["xnornet", "95 % interval"] == "–"
    assert one.loc["xnornet", ["n", "remark"]].tolist() == [
        "1 seed", "too few seeds for an interval"
    ]  # fmt: skip
    robust = comparison_table(table, "C2").shown
    assert set(robust["n"]) == {"9 cells (bootstrap)"}


def test_images_are_shown_as_a_ratio():
    """In percent fewer, 5.6 times as many would read -458.9."""
    numbers = [
        (5.589, 5.333, 5.858),
        (0.5, 0.4, 1.25),
        (NAN, 0, 0.8),
        (NAN, 1.2, INF),
        (NAN, 0, INF),
    ]
    rows = pd.DataFrame(numbers, columns=["effect", "low", "high"]).assign(
        claim="C1", comparison="one", measure="images", metric="train_accuracy", level=40,
        experiment="cifar10", data="CIFAR-10", margin=1.1, n=3, over="seeds", verdict=NO, note="",
    )  # fmt: skip
    shown = comparison_table(rows, "C1").shown
    assert shown["effect"].tolist() == ["5.6 times as many", "0.50 times as many", "–", "–", "–"]
    assert shown["95 % interval"].tolist() == [
        "5.3 to 5.9", "0.40 to 1.2", "at most 0.80", "at least 1.2", "unknown"
    ]  # fmt: skip
    assert set(shown["effect on"]) == {"images to 40 % training accuracy"}


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, YES), (2.0, NO), (0.95, NO), (1.05, NO), (0.9, YES)]
)
def test_fewer_images_speak_for_a_claim_and_the_margin_is_a_ratio(
    study, tmp_path, monkeypatch, ratio, expected
):
    log = -math.log(ratio)
    found = Contrast(Estimate(log, log - 1e-6, log + 1e-6, 3), "seeds", "train_accuracy")
    monkeypatch.setattr("bop2ndorder.study.analysis.verdicts.claims.contrast", lambda *_: found)
    claims = study.claims["quick"]
    assert claims.margins.images == 1.1
    entries = study.entries("quick")
    table = judge(claims, entries, tmp_path, "quick")
    rows = table[table["measure"] == "images"]
    assert set(rows["verdict"]) == {expected} and rows["effect"].tolist() == pytest.approx(
        [ratio] * len(rows)
    )


def withdraw(claims, label, *comparisons, why="It says nothing."):
    """The claims with comparisons of one withdrawn; without any named, the claim."""
    claim = claims.statements[label]
    change = {"withdrawn": why}
    if comparisons:
        found = {
            name: one.model_copy(update=change if name in comparisons else {})
            for name, one in claim.comparisons.items()
        }
        change = {"comparisons": found}
    statements = {**claims.statements, label: claim.model_copy(update=change)}
    return claims.model_copy(update={"statements": statements})


def test_what_is_withdrawn_enters_no_verdict(study, tmp_path):
    """The biased version alone supports C3's part `published`."""
    better = {("cifar10", "biased"): 93.0, ("cifar10", "bop"): 90.0, ("cifar10", "constant"): 90.1}
    claims = withdraw(study.claims["quick"], "C3", "xnornet", "birealnet", why="One seed.")
    gone = withdraw(claims, "C3", "biased", why="It was luck.")

    def verdicts(claims):
        table = recorded(study, tmp_path, better, claims)
        rows = table[table["claim"] == "C3"].set_index("comparison")
        return table, rows

    _, before = verdicts(claims)
    assert before.loc[[OVERALL, "biased"], "verdict"].tolist() == [YES, YES]
    table, after = verdicts(gone)
    assert after.loc[[OVERALL, "biased", "corrected"], "verdict"].tolist() == [NO, GONE, NO]
    assert after.loc["biased", "withdrawn"] == "It was luck."
    assert after.loc["corrected", "withdrawn"] == ""
    assert after.loc[OVERALL, "withdrawn"] == "3 of 4 comparisons: It was luck. One seed."
    numbers = ["effect", "low", "high", "runs"]
    assert after.loc["biased", numbers].equals(before.loc["biased", numbers]), (
        "it is still measured"
    )
    shown = verdict_table(table).shown.set_index("claim")
    row = shown.loc["C3 Bop2ndOrder reaches better accuracy than Bop."]
    assert row.tolist() == [
        NO,
        "not supported 1, withdrawn 3",
        "3 of 4 comparisons: It was luck. One seed.",
    ]
    one = comparison_table(table, "C3").shown.set_index("comparison")
    assert one.loc["biased", ["effect", "verdict"]].tolist() == ["+3.0", GONE]


def test_a_withdrawn_claim_has_no_verdict(study, tmp_path):
    table = recorded(study, tmp_path, {}, withdraw(study.claims["quick"], "C5"))
    rows = table[table["claim"] == "C5"]
    assert set(rows["verdict"]) == {GONE} and set(rows["withdrawn"]) == {"It says nothing."}
    others = table[~table["claim"].isin(["C2", "C4", "C5"])]
    assert GONE not in set(others["verdict"]) and set(others["withdrawn"]) == {""}


def test_what_params_yaml_withdraws(study):
    """C2, whose grid is one algorithm, C4, which counts settings as seeds; what was tuned."""
    found = {
        scale: {
            (label, name)
            for label, claim in claims.statements.items()
            for name, one in claim.comparisons.items()
            if claim.withdrawn or one.withdrawn
        }
        for scale, claims in study.claims.items()
    }
    small = study.claims["small"].statements
    tuned = {(c, n) for c in ("C1", "C3") for n in small[c].comparisons if "tuned" in n}
    whole = {
        scale: {(c, n) for c in ("C2", "C4") for n in claims.statements[c].comparisons}
        for scale, claims in study.claims.items()
    }
    assert found["paper"] == set() and found["quick"] == whole["quick"]
    assert len(tuned) == 6 and found["small"] == whole["small"] | tuned
    reasons = [c.withdrawn for c in small.values()] + [
        one.withdrawn for c in small.values() for one in c.comparisons.values()
    ]
    assert all(why.endswith(".") and why.count(". ") == 0 for why in reasons if why)


def test_a_remark_of_params_yaml_stands_beside_its_comparison(study, tmp_path):
    entries = study.entries("small", "imagenet")
    table = judge(study.claims["small"], entries, tmp_path, "small")
    rows = table.set_index(["claim", "comparison"])["note"]
    remark = study.claims["small"].statements["C3"].comparisons["xnornet"].remark
    assert remark and rows["C3", "xnornet"].endswith(f"; {remark}")
    assert remark not in rows["C3", "birealnet"]


def test_an_experiment_that_is_not_there_leaves_its_comparisons_undecided(study, tmp_path):
    entries = study.entries("quick", "cifar10")
    table = judge(study.claims["quick"], entries, tmp_path, "quick")
    notes = table.loc[table["experiment"] == "schedules", "note"]
    assert set(notes) == {"no such experiment at this scale"}


def test_the_claims_are_judged_anew_where_they_change(study, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    claims = study.claims["quick"]
    margins = claims.margins.model_copy(update={"accuracy": 1.0})
    changed = {"quick": claims.model_copy(update={"margins": margins})}
    one = Workflow(study, "quick")
    other = Workflow(type(study)(study.scale, study.local, study.plans, changed), "quick")
    differ = {product for product in one.products if one.key(product) != other.key(product)}
    assert differ == {"claims", "report"}
    assert pd.Series(one.products).is_unique
