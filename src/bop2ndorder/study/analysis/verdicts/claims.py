"""A verdict for each claim, written, read, and shown to readers."""

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from ...config.claims import Claims
from ...config.runs import Entry
from ..exhibits import Table, signed, signed_interval, times, times_interval
from ..records import SPLITS, load_records
from .judging import OVERALL, judge, vary

FILE, SENSITIVITY = "claims.csv", "sensitivity.csv"
POINTS = (
    "estimate", "low", "high", "holm_low", "holm_high", "wide_low", "wide_high", "detectable",
    "detectable_holm",
)  # fmt: skip
RULE = (
    "What decides a claim is its primary comparison, fixed beforehand; of several all must hold, "
    "and p is the largest. Supported or contradicted, by the sign of the effect: p of no effect, "
    "two-sided and after Holm's correction over all claims, is below 0.05. Else equivalent: that "
    "the effect is as large as the margin is rejected by two one-sided tests, after Holm's "
    "correction, too. Else undecided, with the smallest effect that would have been found with "
    "a probability of 80 %. Undecided, too, until all planned seeds are there. Secondary "
    "comparisons are judged alike without correction, and decide nothing."
)
EXPLAINED = (
    "One linear model of all runs of an experiment, with one residual variance and, where "
    "settings share seeds, the seed as a block. Intervals of 95 %; after Holm: at the level of "
    "his procedure; with images: test images counted as drawn, too, with the most that they can "
    "add. Above 0 speaks for the claim. Seeds that a setting has beyond those planned for a "
    "comparison are left out of it. Where one side has a single seed the interval is by the "
    "spread of the other settings."
)


def write_claims(claims: Claims, entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write the verdicts of `judge` to results/claims.csv, those of `vary` to sensitivity.csv.

    Args:
        claims: the claims and what decides them.
        entries, results, scale: as `load_records` takes them, of all experiments.
    """
    entries, results = list(entries), Path(results)
    names = dict.fromkeys(entry.experiment for entry in entries)
    records = {name: load_records(entries, results, scale, name) for name in names}
    results.mkdir(parents=True, exist_ok=True)
    for name, table in ((FILE, judge(claims, records)), (SENSITIVITY, vary(claims, records))):
        # No -0, nor 1e-16 instead of 0; a p may be that small.
        numbers = table[[name for name in POINTS if name in table]].astype(float).round(9) + 0.0
        text = table.assign(**numbers).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        (results / name).write_text(text, encoding="utf-8")


def read_claims(results: Path) -> pd.DataFrame | None:
    """The verdicts that `write_claims` wrote; None where it has not been called yet."""
    path = Path(results) / FILE
    return parse_claims(path) if path.is_file() else None


def parse_claims(file: Path | IO[str]) -> pd.DataFrame:
    """The table of a claims.csv; texts that are not there are empty."""
    texts = ("data", "why", "verdict", "setup", "runs", "against_runs", "model_runs", "commits")
    table = pd.read_csv(file, dtype=dict.fromkeys(texts, str))
    return table.fillna(dict.fromkeys(set(texts) & set(table), ""))


def read_sensitivity(results: Path) -> pd.DataFrame | None:
    """The table of `vary` that `write_claims` wrote; None where it has not been called yet."""
    path = Path(results) / SENSITIVITY
    return parse_sensitivity(path) if path.is_file() else None


def parse_sensitivity(file: Path | IO[str]) -> pd.DataFrame:
    """The table of a sensitivity.csv; texts that are not there are empty."""
    return pd.read_csv(file, dtype=str).fillna("")


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the claims themselves: claim, statement, criterion, verdict, why, numbers."""
    return table[table["comparison"] == OVERALL]


def comparison_table(table: pd.DataFrame, claim: str) -> Table:
    """The comparisons of one claim."""
    rows = table[(table["claim"] == claim) & (table["comparison"] != OVERALL)]
    shown = {
        "comparison": rows["comparison"].str.replace("_", " "),
        "rank": np.where(rows["primary"], "primary", "secondary"),
        "experiment": rows["experiment"],
        "data": rows["data"],
        "effect on": [
            effect_on(row) + ("" if row.measure == "images" else " (points)")
            for row in rows.itertuples()
        ],
        "effect": [_effect(row) for row in rows.itertuples()],
        "95 % interval": [_interval(row) for row in rows.itertuples()],
        "after Holm": [signed_interval(row.holm_low, row.holm_high) for row in rows.itertuples()],
        "with images": [signed_interval(row.wide_low, row.wide_high) for row in rows.itertuples()],
        "p": rows["p"].map(p_cell),
        "seeds": [f"{row.n} of {row.planned}" for row in rows.itertuples()],
        "verdict": rows["verdict"].replace("", "–"),
        "because": rows["why"],
    }
    return Table(claim, claim, EXPLAINED, rows, pd.DataFrame(shown))


def sensitivity_table(varied: pd.DataFrame) -> Table:
    """Variations down, claims across."""
    shown = varied.pivot(index="variation", columns="claim", values="verdict")
    shown = shown.loc[varied["variation"].unique()].rename_axis(columns=None).reset_index()
    return Table(
        "sensitivity",
        "How each verdict depends on how it is reached",
        "Everything else as planned. Batch norm's statistics: a run's answers are kept with one "
        "kind of averages only, so that the other cannot be judged by records.",
        varied,
        shown,
    )


def registration_table(table: pd.DataFrame, plan: str) -> Table:
    """What was fixed by which commit, and at which the records were made.

    Which of them came first is not looked up: results are the same in every clone, also in one
    without the history.

    Args:
        table: of `read_claims`.
        plan: path of the document that fixed it.
    """
    rows = statements(table)
    shown = {
        "claim": rows["claim"],
        "rule": rows["criterion"],
        "fixed by commit": rows["plan"].str[:7],
        "records made at": [
            ", ".join(commit[:7] for commit in text.split()) or "no records yet"
            for text in rows["commits"]
        ],
        "deviations": rows["deviations"].astype(int).astype(str),
    }
    return Table(
        "registration",
        "What was fixed, and by which commit",
        f"The commit that brought {plan}, and those whose code made the records behind each claim. "
        "That the former came first is not checked here: where the history is, `git merge-base "
        "--is-ancestor` tells. Deviations: of the whole plan, listed at its end.",
        rows,
        pd.DataFrame(shown),
    )


def p_cell(p: float) -> str:
    """A cell of a table: a p with two digits; a dash where there is none."""
    if pd.isna(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def effect_on(row) -> str:
    """What the effect of a comparison is on, such as test accuracy."""
    accuracy = f"{SPLITS.get(row.metric, '')} accuracy".strip()
    match row.measure:
        case "images":
            return f"images to {row.level:g} % {accuracy}"
        case "spread":
            return f"spread of {accuracy} over the grid"
        case "mean_validation_accuracy":
            return "validation accuracy, mean over epochs"
    return accuracy


def _effect(row) -> str:
    if row.measure == "images" and not pd.isna(row.estimate):
        return f"{times(row.estimate)} times as many"
    return signed(row.estimate)


def _interval(row) -> str:
    if row.measure != "images" or pd.isna(row.low):
        return signed_interval(row.low, row.high)
    return times_interval(row.low, row.high)
