"""Verdicts: the comparisons by hand, and the claims of params.yaml as a whole."""

import math
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from claims import both, claims_of, six
from synthetic import arms, made_up, write_records

from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.verdicts.claims import (
    comparison_table,
    parse_claims,
    read_claims,
    read_sensitivity,
    registration_table,
    sensitivity_table,
    statements,
    write_claims,
)
from bop2ndorder.study.analysis.verdicts.conclusions import conclusions
from bop2ndorder.study.analysis.verdicts.judging import OVERALL, judge, vary
from bop2ndorder.study.config import SCALES, load_study
from bop2ndorder.study.workflow.products import Workflow

YES, NO, SAME, OPEN = "supported", "contradicted", "equivalent", "undecided"
INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module")
def study():
    return load_study("params.yaml")


# All claims together


def test_claims_by_hand():
    rows = arms(a=six(60), b=six(62)[::-1], c=six(62.1)[::-1], d=six(66)[3:])
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
    assert rows.loc["C1", "setup"] == "BinaryNet of width 12, 2 epochs"
    varied = vary(claims, records).set_index(["variation", "claim"])["verdict"]
    assert varied["as planned"].tolist() == rows["verdict"].tolist()
    assert varied["margin 0.5", "C3"] == OPEN and varied["margin 0.5", "C1"] == YES
    ways = {"seeds unpaired", "Welch's test", "one value a seed", "margin 2"}
    assert set(varied.index.get_level_values(0)) >= ways
    few = claims.model_copy(deep=True)
    primary = few.statements["C4"].primary
    primary["it"] = primary["it"].model_copy(update={"planned": 3})
    assert statements(judge(few, records))["why"].iloc[-1] == "fewer than 5 seeds"


def test_an_arm_that_varies_more_widens_all_but_welch():
    """docs/plan.md: one variance for all arms of an experiment; Welch's test pools nothing."""
    rows = arms(a=six(60), b=six(62)[::-1], d=six(66, 5)[3:])
    varied = vary(claims_of(C1=(["b"], ["a"])), {"cifar10": made_up("cifar10", rows)})
    verdicts = varied.set_index("variation")["verdict"]
    assert (verdicts["as planned"], verdicts["Welch's test"]) == (OPEN, YES)


def test_the_row_of_a_claim_has_the_numbers_of_the_larger_p():
    table = both(a=six(60), b=six(64)[::-1], c=six(62)[::-1])
    assert table.loc[OVERALL, "estimate"] == table.loc["other", "estimate"] == pytest.approx(2)
    assert table["verdict"].tolist() == [YES] * 3 and table["p_holm"].nunique() == 1


def test_what_is_not_run_is_undecided():
    claims = claims_of(C1=(["a"], ["b"]), C2=(["a"], ["c"]))
    table = judge(claims, {"cifar10": made_up("cifar10", arms(a=six(60), b=six(61)))})
    assert table["verdict"].tolist() == [NO, NO, OPEN, OPEN]
    assert set(table["why"][2:]) == {"not run yet at this scale"}
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
    said = {"not run yet at this scale", *(f"0 of {n} planned seeds" for n in (3, 5, 8, 16))}
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
    if not git("cat-file", "-t", plan.commit):
        pytest.skip("no history here")
    brought = git("log", "--format=%H", "--diff-filter=A", "--", plan.document)
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
    """Records of smaller seeds than the first, as all of quick are, are not behind a verdict."""
    plan = study.claims["small"].plan
    quick = registration_table(judged(study, "quick", tmp_path / "quick"), plan.document).shown
    assert set(quick["records made at"]) == {"no records yet"}
    table = judged(study, "small", tmp_path / "small")
    shown = registration_table(table, "docs/a.md")
    assert shown.caption.startswith("The commit that brought docs/a.md, and those whose code")
    assert "come after" not in shown.caption, "a shallow clone, which shows the same, cannot tell"
    shown = shown.shown.set_index("claim")
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
