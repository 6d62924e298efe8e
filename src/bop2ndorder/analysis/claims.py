"""A verdict for each claim, computed from the records by the rules of params.yaml."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Entry
from ..config.claims import Claim, Claims, Comparison
from .contrasts import UNITS, contrast, described
from .exhibits import Table, signed
from .records import Records, load_records
from .statistics import WITHIN

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
OVERALL = "overall"  # the row of a claim itself
COLUMNS = (
    "claim", "comparison", "verdict", "effect", "low", "high", "unit", "n", "over", "margin",
    "experiment", "measure", "metric", "level", "of", "against", "paired_by", "part", "note",
    "statement", "criterion", "runs", "against_runs",
)  # fmt: skip
SPLITS = {
    "test_top1_percent": "test",
    "val_top1_percent": "validation",
    "val_accuracy": "validation",
    "train_accuracy": "training",
}
FILE = "claims.csv"
RULE = (
    "Positive effects speak for the claim. A comparison is supported where the 95 % interval of "
    "its effect lies wholly above 0; not supported where it lies wholly below 0, or wholly within "
    "the margin, which counts as no difference; undecided otherwise, and where runs are missing or "
    "too few. Comparisons of the same part are alternatives: a claim is supported where every part "
    "has a supported comparison, not supported where in some part all comparisons are not "
    "supported, and undecided otherwise."
)


def write_claims(claims: Claims, entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write results/claims.csv.

    Args:
        claims: the claims and what decides them.
        entries: the entries of the study.
        results: the folder results/SCALE, which holds the records in runs/ID.
        scale: quick, small or paper.
    """
    table = judge(claims, list(entries), Path(results), scale)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    Path(results).mkdir(parents=True, exist_ok=True)
    (Path(results) / FILE).write_text(text, encoding="utf-8")


def judge(claims: Claims, entries: list[Entry], results: Path, scale: str) -> pd.DataFrame:
    """The verdicts, as claims.csv has them.

    Returns:
        one row a claim (its comparison is called `overall`) and one a comparison and level. effect,
        low and high are in `unit`, positive where they speak for the claim; n counts what `over`
        says; runs and against_runs are the ids behind the effect.
    """
    names = dict.fromkeys(entry.experiment for entry in entries)
    records = {name: load_records(entries, results, scale, name) for name in names}
    rows = []
    for label, claim in claims.statements.items():
        own = [*_rows(label, claim, claims, records)]
        verdict = overall([(row["part"], row["verdict"]) for row in own])
        about = {"claim": label, "comparison": OVERALL, "verdict": verdict}
        rows += [{**about, "statement": claim.claim, "criterion": claim.criterion}, *own]
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval says; see `RULE`. Empty limits are undecided."""
    if -margin <= low and high <= margin or high < 0:
        return NOT_SUPPORTED
    return SUPPORTED if low > 0 else UNDECIDED


def overall(found: Sequence[tuple[str, str]]) -> str:
    """The verdict of a claim from (part, verdict) of its comparisons; see `RULE`."""
    order = [NOT_SUPPORTED, UNDECIDED, SUPPORTED]
    best: dict[str, int] = {}
    for part, one in found:
        best[part] = max(best.get(part, 0), order.index(one))
    return order[min(best.values())]


def _rows(
    label: str, claim: Claim, claims: Claims, records: dict[str, Records]
) -> Iterator[dict[str, object]]:
    for name, comparison in claim.comparisons.items():
        margin = getattr(claims.margins, comparison.measure)
        part = comparison.part or name
        common = {"claim": label, "comparison": name, "criterion": claim.criterion}
        for level in claims.levels if comparison.measure == "images" else [None]:
            yield {
                **common,
                **_measured(comparison, records.get(comparison.experiment), level, margin),
                "part": part if level is None else f"{part} {level:g}",
            }


def _measured(
    comparison: Comparison, records: Records | None, level: float | None, margin: float
) -> dict[str, object]:
    asked = {
        "unit": UNITS[comparison.measure],
        "margin": margin,
        "experiment": comparison.experiment,
        "measure": comparison.measure,
        "level": level,
        "of": described(comparison.of),
        "against": described(comparison.against),
        "paired_by": " ".join(comparison.paired_by),
    }
    if records is None:
        return {"verdict": UNDECIDED, **asked, "note": "no such experiment at this scale"}
    found = contrast(comparison, records, level)
    effect, low, high, n = found.estimate
    return {
        "verdict": verdict(low, high, margin) if found.complete else UNDECIDED,
        "effect": effect,
        "low": low,
        "high": high,
        "n": n,
        "over": found.over,
        **asked,
        "metric": found.metric,
        "note": "; ".join(found.notes),
        "runs": found.runs,
        "against_runs": found.against_runs,
    }


def read_claims(results: Path) -> pd.DataFrame | None:
    """The verdicts that `write_claims` wrote; None where it has not been called yet."""
    path = Path(results) / FILE
    # Without a note the column would be one of numbers.
    return pd.read_csv(path, dtype={"note": str}) if path.is_file() else None


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the claims themselves: claim, statement, criterion, verdict."""
    return table[table["comparison"] == OVERALL]


def verdict_table(table: pd.DataFrame) -> Table:
    """One row a claim."""
    rows = statements(table)
    compared = table[table["comparison"] != OVERALL].groupby("claim")["verdict"].value_counts()
    counts = [
        ", ".join(f"{one} {compared[claim, one]}" for one in (SUPPORTED, NOT_SUPPORTED, UNDECIDED)
                  if (claim, one) in compared.index)
        for claim in rows["claim"]
    ]  # fmt: skip
    shown = pd.DataFrame(
        {
            "claim": rows["claim"] + " " + rows["statement"],
            "verdict": rows["verdict"],
            "its comparisons": counts,
        }
    )
    return Table("claims", "Verdicts", RULE, rows, shown)


def comparison_table(table: pd.DataFrame, claim: str) -> Table:
    """The comparisons of one claim."""
    rows = table[(table["claim"] == claim) & (table["comparison"] != OVERALL)]
    shown = pd.DataFrame(
        {
            "comparison": rows["comparison"].str.replace("_", " "),
            "experiment": rows["experiment"],
            "effect on": [_what(row) for row in rows.itertuples()],
            "effect": rows["effect"].map(signed),
            "95 % interval": [_interval(row.low, row.high) for row in rows.itertuples()],
            "margin": rows["margin"].map("{:g}".format),
            "n": [_counted(row.n, row.over) for row in rows.itertuples()],
            "verdict": rows["verdict"],
            "remark": rows["note"].fillna(""),
        }
    )
    if not shown["remark"].any():
        del shown["remark"]
    return Table(claim, claim, "", rows, shown)


def _what(row) -> str:
    if row.measure == "images":
        return f"images to {row.level:g} % {SPLITS.get(row.metric, '')} accuracy (%)"
    if row.measure == "spread":
        return "spread over the grid (points)"
    if row.measure == "share":
        return f"within {WITHIN:g} points of best (% of settings)"
    return f"{SPLITS.get(row.metric, '')} accuracy (points)"


def _interval(low: float, high: float) -> str:
    if pd.isna(low):
        return "–"
    if np.isinf(low):
        return "unknown" if high >= 100 else f"below {signed(high)}"
    return f"{signed(low)} to {signed(high)}"


def _counted(n: float, over: str) -> str:
    if pd.isna(n) or not n:
        return "–"
    counted = f"{int(n)} {over.removesuffix('s') if n == 1 else over}"
    return f"{counted} (bootstrap)" if over == "cells" else counted
