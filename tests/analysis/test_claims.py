"""Verdicts: the rules and the comparisons by hand, and the claims of params.yaml as a whole."""

import json
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic import made_up, write_records

from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.statistics import Contrast
from bop2ndorder.study.analysis.verdicts.claims import (
    comparison_table,
    parse_claims,
    read_claims,
    read_sensitivity,
    registration_table,
    sensitivity_table,
    statements,
    verdict_table,
    write_claims,
)
from bop2ndorder.study.analysis.verdicts.conclusions import conclusions
from bop2ndorder.study.analysis.verdicts.judging import OVERALL, judge, vary
from bop2ndorder.study.analysis.verdicts.rules import Primary, holm, holm_levels, judge_together
from bop2ndorder.study.analysis.verdicts.samples import sample, times_as_many
from bop2ndorder.study.config import SCALES, load_study
from bop2ndorder.study.config.claims import Claims, Comparison
from bop2ndorder.study.workflow.products import Workflow

YES, NO, SAME, OPEN = "supported", "contradicted", "equivalent", "undecided"
INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module")
def study():
    return load_study("params.yaml")


# The rules


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    # 0.005 is below 0.05 / 5, 0.01 below 0.05 / 4; 0.03 is not below 0.05 / 3.
    third = 0.05 / 3
    assert holm_levels([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx(
        [0.0125, third, third, 0.01, third]
    )
    assert holm([]) == holm_levels([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=7))
def test_intervals_at_holms_levels_exclude_0_where_holm_rejects(ps):
    """A t interval at a level excludes 0 where p is below the level."""
    for p, corrected, level in zip(ps, holm(ps), holm_levels(ps), strict=True):
        assert (p < level) == (corrected < 0.05)


def one(estimate, se, df=14, lacks=""):
    return Primary([Contrast(estimate, se, df)], lacks)


@pytest.mark.parametrize(
    ("estimate", "se", "verdict", "why"),
    [
        (2.0, 0.5, YES, ""),  # t = 4
        (-2.0, 0.5, NO, ""),
        (0.5, 0.1, YES, "by less than 1 point"),  # 90 %: 0.5 +- 0.18
        (-0.5, 0.1, NO, "by less than 1 point"),
        (0.9, 0.1, YES, ""),  # 0.9 +- 0.18 goes beyond
        (0.1, 0.3, SAME, "no difference of 1 point or more"),  # (1 - 0.1) / 0.3 = 3
        (0.1, 0.6, OPEN, "1.8 points would have been found with a probability of 80 %"),
        (1.0, 0.5, OPEN, "1.5 points would have been found with a probability of 80 %"),
    ],
)
def test_a_verdict_by_hand(estimate, se, verdict, why):
    [found] = judge_together([one(estimate, se)], margin=1.0)
    assert (found.verdict, found.why) == (verdict, why)


def test_the_family_is_corrected_and_unfinished_tests_count_as_1():
    ps = [stats.t.sf(2.4, 14) * 2, stats.t.sf(4, 14) * 2]  # 0.031, 0.0013
    two = [one(2.4, 1.0), one(4.0, 1.0)]
    found = judge_together(two, margin=1.0)
    assert [f.p for f in found] == pytest.approx([ps[0], 2 * ps[1]])
    assert [f.verdict for f in found] == [YES, YES]
    found = judge_together([*two, one(9.0, 0.1, lacks="3 of 8 planned seeds")], margin=1.0)
    assert [f.p for f in found] == pytest.approx([2 * ps[0], 3 * ps[1], 1])
    assert [f.verdict for f in found] == [OPEN, YES, OPEN]
    assert found[0].why.endswith("80 %, 3.6 after Holm's correction")
    assert found[2].why == "3 of 8 planned seeds"
    assert [f.verdict for f in judge_together(two[:1] * 2, 1.0, corrected=False)] == [YES, YES]


def test_equivalence_is_corrected_too():
    same = one(0.0, 0.5)  # t = 2 against either margin: 0.033
    assert judge_together([same], 1.0)[0].verdict == SAME
    assert {found.verdict for found in judge_together([same, same], 1.0)} == {OPEN}
    assert judge_together([same, same], 2.0)[0].verdict == SAME


@pytest.mark.parametrize(
    ("pair", "verdict"),
    [
        ([(2.0, 0.5), (2.0, 0.4)], YES),
        ([(2.0, 0.5), (-2.0, 0.5)], NO),  # better with both normalizations
        ([(2.0, 0.5), (0.6, 0.5)], OPEN),
        ([(2.0, 0.5), (0.1, 0.2)], OPEN),  # the one is there, the other is none
        ([(0.2, 0.2), (0.1, 0.2)], SAME),
    ],
)
def test_a_conjunction_holds_where_both_do(pair, verdict):
    tested = Primary([Contrast(*both, 14) for both in pair])
    assert tested.p == max(contrast.p for contrast in tested.contrasts)
    assert judge_together([tested], 1.0)[0].verdict == verdict


# What a comparison measures


def compare(measure="accuracy", of="new", against="old", **more):
    selected = {"of": {"arm": [of]}, "against": {"arm": [against]}}
    return Comparison(experiment="cifar10", measure=measure, planned=3, **selected, **more)


def arms(column="test_top1_percent", **values):
    """Rows of arms, a value a seed; None is a missing record."""
    return [
        {
            "arm": arm,
            "run": f"{arm}{seed}",
            "setting": json.dumps({"arm": arm, "data": {"validation": 1000}}),
            "seed": seed,
            "train_on": "all",
            column: NAN if value is None else value,
            "test_images": 1000,
            "missing": value is None,
        }
        for arm, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]


def test_accuracy_is_compared_with_the_variance_of_all_arms():
    """By hand: a third arm without effect adds degrees of freedom, and its own variance."""
    values = {"new": [91.0, 81.1, 86.3], "old": [90.0, 80.0, 85.0], "other": [88.0, 79.0, 85.0]}
    found = sample(compare(), made_up("cifar10", arms(**values)))
    table = np.array([*values.values()])
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    variance = (rest**2).sum() / 4
    contrast = found.contrast()
    assert (contrast.estimate, contrast.df, found.n) == (pytest.approx(3.4 / 3), 4, 3)
    assert contrast.se == pytest.approx((variance * 2 / 3) ** 0.5)
    assert found.runs(found.of) == "new0 new1 new2" and found.runs(found.against).startswith("old")
    assert found.contrast("unpaired").df == 6
    plain = stats.ttest_ind(*table[:2], equal_var=False)
    assert found.contrast("welch").p == pytest.approx(plain.pvalue)


def test_test_images_drawn_widen_an_interval_by_hand():
    """80 and 90 % of 1,000 images: variances of 0.16 and 0.09 an image, 1.6 and 0.9 points."""
    rows = arms(new=[89.0, 90.0, 91.0], old=[80.5, 79.5, 80.0])
    found = sample(compare(), made_up("cifar10", rows))
    narrow, wide = found.contrast(), found.widened()
    assert wide.se**2 - narrow.se**2 == pytest.approx(1.6 + 0.9)
    assert wide.estimate == narrow.estimate
    assert wide.df == pytest.approx(narrow.df * (wide.se / narrow.se) ** 4)


def test_mean_validation_accuracy_is_that_over_all_epochs():
    rows = arms(new=[1.0, 2.0], old=[3.0, 4.0])
    records = made_up("cifar10", rows, {row["run"]: [0.0] for row in rows})
    curves = {"new0": [0.1, 0.5], "new1": [0.3, 0.5], "old0": [0.1, 0.3], "old1": [0.2, 0.3]}
    history = pd.DataFrame(
        {"run": run, "epoch": epoch, "val_accuracy": value}
        for run, curve in curves.items()
        for epoch, value in enumerate(curve, 1)
    )
    found = sample(compare("mean_validation_accuracy"), replace(records, history=history))
    assert found.contrast().estimate == pytest.approx(35 - 22.5)
    assert (found.metric, found.images) == ("val_accuracy", 1000)


def test_settings_count_alike_and_seeds_are_those_of_the_scarcest():
    rows = arms(new=[90.0, 92.0, 91.0], newer=[80.0, 82.0], old=[80.0, 80.5, 81.0])
    comparison = Comparison(
        experiment="cifar10", measure="accuracy", planned=3, of={"arm": ["new", "newer"]},
        against={"arm": ["old"]},
    )  # fmt: skip
    found = sample(comparison, made_up("cifar10", rows))
    assert found.n == 2 and set(found.contrast().__dict__) == {"estimate", "se", "df"}
    assert found.contrast("unpaired").estimate == pytest.approx((91 + 81) / 2 - 80.5)


def test_missing_runs_and_arms():
    rows = arms(new=[91.0, 92.0, None], old=[90.0, 91.0, 10.0])
    found = sample(compare(), made_up("cifar10", rows))
    assert (found.n, found.missing, found.listed) == (2, 1, 6)
    assert sample(compare(of="dropped"), made_up("cifar10", rows)) is None
    none = sample(compare(), made_up("cifar10", arms(new=[None], old=[1.0])))
    assert none.n == 0 and math.isnan(none.contrast().estimate)


def test_seeds_that_were_seen_before_count_for_nothing():
    records = made_up("cifar10", arms(new=[91.0, 92.0, 94.0], old=[10.0, 91.0, 92.0]))
    found = sample(compare(), records, first_seed=1)
    assert (found.n, found.listed) == (2, 4)
    assert found.contrast().estimate == pytest.approx(1.5) and found.runs(found.of) == "new1 new2"
    assert sample(compare(), records, first_seed=9).n == 0


def grid(arm, *cells):
    """Rows of a grid: a cell a list, a value a seed."""
    return [
        row
        for place, values in enumerate(cells)
        for row in arms(**{f"{arm}{place}": values})
        for row in [{**row, "arm": arm}]
    ]


def test_robustness_of_grids_by_hand():
    """Two cells of each: means 89 and 70 over both; spreads of sqrt 2 and 10 sqrt 2, and less."""
    rows = [*grid("new", [90.0, 91.0], [88.0, 89.0]), *grid("old", [80.0, 79.0], [60.0, 61.0])]
    records = made_up("grid", rows)
    assert sample(compare(), records).contrast().estimate == pytest.approx(89.5 - 70)
    spread = sample(compare("spread"), records)
    assert (spread.n, spread.images) == (2, 0)
    differences = [20 - 2, 18 - 2] / np.sqrt(2)
    paired = stats.ttest_1samp(differences, 0)
    assert spread.contrast().estimate == pytest.approx(differences.mean())
    assert spread.contrast().p == pytest.approx(paired.pvalue)
    assert spread.runs(["of"]) == "new00 new10 new01 new11"
    lacking = [row for row in rows if row["run"] != "new11"]
    assert sample(compare("spread"), made_up("grid", lacking)).n == 1, "whole grids only"


def images(level, **curves):
    """How many times as many images the arm new needs as old, from accuracies an epoch."""
    rows = arms(**{arm: [1.0] * len(found) for arm, found in curves.items()})
    history = {f"{arm}{seed}": c for arm, found in curves.items() for seed, c in enumerate(found)}
    return times_as_many(compare("images"), made_up("cifar10", rows, history), level)


def test_images_by_hand():
    """150 against 300 images, and 200 against 400: half, with no doubt."""
    found = images(
        50,
        new=[[0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]],
        old=[[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.5]],
    )
    assert found == pytest.approx((0.5, 0.5, 0.5, 2))


def test_images_of_a_run_that_never_gets_there_bound_one_side():
    new = [[0.4, 0.6, 0.7, 0.7], [0.4, 0.6, 0.7, 0.7], [0.4, 0.5, 0.7, 0.7]]
    old = [[0.1, 0.4, 0.5, 0.6], [0.1, 0.2, 0.4, 0.45], [0.1, 0.2, 0.4, 0.45]]
    found = images(50, new=new, old=old)
    # new / old is 1/2, less than 3/8, less than 1/2.
    logs = -np.log([2, 400 / 150, 2])
    high = logs.mean() + 4.302653 * logs.std(ddof=1) / 3**0.5
    assert found.high == pytest.approx(np.exp(high), abs=1e-6)
    assert found.low == 0 and math.isnan(found.value)
    assert images(80, new=new, old=old)[1:3] == (0, INF)
    assert images(5, new=new, old=old)[1:3] == (0, INF), "both in the first epoch"


# All claims together


def claims_of(**primary):
    """Claims with a primary comparison each, by label."""
    named = {"claim": "It is so.", "criterion": "It is found."}
    comparisons = {
        label: {"experiment": "cifar10", "measure": "accuracy", "planned": 6,
                "of": {"arm": of}, "against": {"arm": against}}
        for label, (of, against) in primary.items()
    }  # fmt: skip
    return Claims.model_validate(
        {
            "margin": 1.0,
            "first_seed": 0,
            "levels": [50],
            "plan": {"document": "docs/plan.md", "commit": "a" * 40, "deviations": 2},
            "statements": {
                label: {**named, "primary": {"it": it}} for label, it in comparisons.items()
            },
        }
    )


def six(mean, deviation=0.5):
    """Six seeds with this mean."""
    return (mean + deviation * stats.zscore([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])).tolist()


def test_claims_by_hand():
    rows = arms(a=six(60), b=six(62)[::-1], c=six(62.1)[::-1], d=six(66, 5)[3:])
    claims = claims_of(C1=(["b"], ["a"]), C2=(["a"], ["b"]), C3=(["b"], ["c"]), C4=(["d"], ["a"]))
    records = {"cifar10": made_up("cifar10", rows)}
    table = judge(claims, records)
    rows = statements(table).set_index("claim")
    assert rows["verdict"].tolist() == [YES, NO, SAME, OPEN]
    assert rows.loc["C4", "why"] == "3 of 6 planned seeds" and math.isnan(rows.loc["C4", "p_holm"])
    assert rows.loc["C1", "p_holm"] == pytest.approx(4 * rows.loc["C1", "p"])
    assert rows.loc["C1", "holm_low"] > 0 > rows.loc["C2", "holm_high"]
    width = {c: (rows.loc["C1", f"{c}high"] - rows.loc["C1", f"{c}low"]) for c in ("", "holm_")}
    assert width["holm_"] > width[""]
    assert rows.loc["C1", ["margin", "deviations", "n", "planned"]].tolist() == [1, 2, 6, 6]
    varied = vary(claims, records).set_index(["variation", "claim"])["verdict"]
    assert varied["as planned"].tolist() == rows["verdict"].tolist()
    assert varied["margin 0.5", "C3"] == OPEN and varied["margin 0.5", "C1"] == YES
    assert set(varied.index.get_level_values(0)) >= {"seeds unpaired", "Welch's test", "margin 2"}
    few = claims.model_copy(deep=True)
    few.statements["C4"].primary["it"].planned = 3
    assert statements(judge(few, records))["why"].iloc[-1] == "fewer than 5 seeds"


def test_the_row_of_a_claim_has_the_numbers_of_the_larger_p():
    claims = claims_of(C1=(["b"], ["a"]))
    other = claims.statements["C1"].primary["it"].model_copy(update={"of": {"arm": ["c"]}})
    claims.statements["C1"].primary["other"] = other
    rows = arms(a=six(60), b=six(64)[::-1], c=six(62)[::-1])
    table = judge(claims, {"cifar10": made_up("cifar10", rows)}).set_index("comparison")
    assert table.loc[OVERALL, "estimate"] == table.loc["other", "estimate"] == pytest.approx(2)
    assert table["verdict"].tolist() == [YES] * 3 and table["p_holm"].nunique() == 1


def test_what_is_not_run_is_undecided():
    claims = claims_of(C1=(["a"], ["b"]), C2=(["a"], ["c"]))
    table = judge(claims, {"cifar10": made_up("cifar10", arms(a=six(60), b=six(61)))})
    assert table["verdict"].tolist() == [NO, NO, OPEN, OPEN]
    assert set(table["why"][2:]) == {"not run at this scale"}
    assert set(judge(claims, {})["verdict"]) == {OPEN}
    assert judge(claims_of(), {}).empty


# The claims of params.yaml


def judged(study, scale, folder, records=True):
    entries = study.entries(scale)
    if records:
        write_records(entries, folder)
    write_claims(study.claims[scale], entries, folder, scale)
    return read_claims(folder)


@pytest.mark.parametrize("scale", SCALES)
def test_without_records_nothing_is_decided(study, tmp_path, scale):
    table = judged(study, scale, tmp_path, records=False)
    assert statements(table)["claim"].tolist() == ["C1", "C2", "C3", "C4", "C5"]
    assert set(table.loc[table["measure"] != "images", "verdict"]) == {OPEN}
    said = {"not run at this scale", *(f"0 of {n} planned seeds" for n in (3, 5, 8, 16))}
    assert set(table["why"]) <= said
    assert all("cannot be judged: " in line for line in conclusions(table)[:5])


def test_the_quick_study_decides_nothing(study, tmp_path):
    table = judged(study, "quick", tmp_path)
    assert set(statements(table)["verdict"]) == {OPEN}
    before = [(tmp_path / name).read_bytes() for name in ("claims.csv", "sensitivity.csv")]
    judged(study, "quick", tmp_path)
    assert before == [(tmp_path / name).read_bytes() for name in ("claims.csv", "sensitivity.csv")]


@pytest.mark.slow
def test_the_whole_study_is_judged(study, tmp_path):
    """Made-up records of all planned seeds: every comparison has numbers, and readers see them."""
    table = judged(study, "paper", tmp_path)
    compared = table[(table["comparison"] != OVERALL) & (table["n"] >= table["planned"])]
    numbers = compared[compared["measure"] != "images"]
    for column in ("estimate", "low", "high", "p", "detectable"):
        assert numbers[column].notna().all(), column
    assert not numbers["why"].str.contains("seeds").any()
    shown = verdict_table(table).shown.set_index("claim")
    for row in statements(table).itertuples():
        assert shown.loc[f"{row.claim} {row.statement}", "verdict"] == row.verdict
    one = comparison_table(table, "C4").shown.set_index("comparison")
    assert one.loc[["batch", "layer", "biased adam"], "rank"].tolist() == [
        "primary", "primary", "secondary"
    ]  # fmt: skip
    assert one.loc["batch", "seeds"] == "5 of 5" and " to " in one.loc["batch", "after Holm"]
    said = conclusions(table)
    for row, line in zip(statements(table).itertuples(), said, strict=False):
        word = {YES: "is supported", NO: "is contradicted", OPEN: "undecided"}.get(row.verdict)
        assert line.startswith(f"{row.claim}, “") and (word or "neither") in line, line
        assert f"{abs(row.estimate):.1f} points [" in line
    sensitivity = sensitivity_table(read_sensitivity(tmp_path)).shown
    assert list(sensitivity.columns) == ["variation", "C1", "C2", "C3", "C4", "C5"]
    assert sensitivity.iloc[0, 1:].tolist() == statements(table)["verdict"].tolist()
    assert sensitivity.iloc[-1, 1] == "not recorded"


def test_images_are_shown_as_a_ratio():
    """In percent fewer, 5.6 times as many would read -458.9."""
    numbers = [
        (5.589, 5.333, 5.858),
        (0.5, 0.4, 1.25),
        (NAN, 0, 0.8),
        (NAN, 1.2, INF),
        (NAN, 0, INF),
    ]
    rows = pd.DataFrame(numbers, columns=["estimate", "low", "high"]).assign(
        claim="C1", comparison="one", primary=False, measure="images", metric="val_accuracy",
        level=40, experiment="cifar10", data="CIFAR-10", n=3, planned=8, verdict="", why="", p=NAN,
        holm_low=NAN, holm_high=NAN, wide_low=NAN, wide_high=NAN,
    )  # fmt: skip
    shown = comparison_table(rows, "C1").shown
    assert shown["effect"].tolist() == ["5.6 times as many", "0.50 times as many", "–", "–", "–"]
    assert shown["95 % interval"].tolist() == [
        "5.3 to 5.9", "0.40 to 1.2", "at most 0.80", "at least 1.2", "unknown"
    ]  # fmt: skip
    assert set(shown["effect on"]) == {"images to 40 % validation accuracy"}


def test_planned_seeds_are_those_of_the_plan(study):
    """docs/plan.md, the table of claims."""
    plan = Path("docs/plan.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (C\d) .*\| (\d+)[^|]*\|$", plan, re.MULTILINE))
    assert rows.keys() == {"C1", "C2", "C3", "C4", "C5"}
    for claims in study.claims.values():
        for label, claim in claims.statements.items():
            assert {one.planned for one in claim.primary.values()} == {int(rows[label])}
        versions = claims.statements["C4"].secondary
        assert [versions[name].planned for name in versions if "_" in name] == [16, 16, 16]
        assert (claims.margin, claims.first_seed) == (1.0, 10)


def test_the_plan_that_params_yaml_names_is_there(study):
    """Its commit, which results must not look up, and how often it was deviated from."""
    plan = study.claims["small"].plan
    text = Path(plan.document).read_text(encoding="utf-8")
    deviations = re.findall(r"^\d+\. ", text.split("## Deviations")[1], re.MULTILINE)
    assert len(deviations) == plan.deviations
    brought = git("log", "--format=%H", "--diff-filter=A", "--", plan.document)
    if not brought:
        pytest.skip("no history here")
    assert brought.split()[-1] == plan.commit


def test_records_behind_verdicts_were_made_after_the_plan(study):
    """By commits that come after the plan's, where this checkout has the history."""
    plan = study.claims["small"].plan.commit
    if not git("cat-file", "-t", plan):
        pytest.skip("no history here")
    for scale in ("small", "paper"):
        claims = study.claims[scale]
        names = {one.experiment for c in claims.statements.values() for one in c.primary.values()}
        made = {
            record["commit"]
            for name in names & {*study.experiments(scale)}
            for record in load_records(
                study.entries(scale), Path("results", scale), scale, name
            ).provenance
            if record["settings"]["seed"] >= claims.first_seed
        }
        for commit in made - {None}:
            assert git("merge-base", plan, commit) == plan, f"{commit} is older than the plan"


def git(*words: str) -> str:
    found = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def test_a_table_says_what_was_fixed_before(study, tmp_path):
    table = judged(study, "quick", tmp_path)
    shown = registration_table(table).shown.set_index("claim")
    plan = study.claims["quick"].plan
    assert shown.loc["C3", "fixed by commit"] == plan.commit[:7]
    assert shown.loc["C3", "records made at"] == "0123456"
    assert set(shown["deviations"]) == {str(plan.deviations)}


def test_the_claims_are_judged_anew_where_they_change(study, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    changed = {"quick": study.claims["quick"].model_copy(update={"margin": 2.0})}
    one = Workflow(study, "quick")
    other = Workflow(type(study)(study.scale, study.local, study.plans, changed), "quick")
    differ = {product for product in one.products if one.key(product) != other.key(product)}
    assert differ == {"claims", "report"}
    assert pd.Series(one.products).is_unique


def test_a_small_p_is_kept_and_nothing_is_minus_0(study, tmp_path):
    rows = arms(a=six(60, 1e-3), b=six(62, 1e-3), c=six(60, 1e-3))
    table = judge(claims_of(C1=(["b"], ["a"])), {"cifar10": made_up("cifar10", rows)})
    assert 0 < table["p"].iloc[0] < 1e-12
    judged(study, "quick", tmp_path)
    text = (tmp_path / "claims.csv").read_text()
    assert not re.search(r",-0(\.0*)?,|e-1[0-9],", text)
    assert parse_claims(tmp_path / "claims.csv")["why"].notna().all()
