"""A verdict for each claim, computed from the records by the rules of params.yaml."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from ...config.claims import Claim, Claims, Comparison
from ...config.runs import Entry
from ..exhibits import Table, signed, signed_interval
from ..records import SPLITS, Records, load_records
from ..statistics import WITHIN
from .contrasts import UNITS, contrast, described, times_as_many

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
WITHDRAWN = "withdrawn"
OVERALL = "overall"  # the row of a claim itself
COLUMNS = (
    "claim", "comparison", "verdict", "effect", "low", "high", "unit", "n", "over", "margin",
    "experiment", "data", "measure", "metric", "level", "of", "against", "paired_by", "part",
    "note", "withdrawn", "statement", "criterion", "runs", "against_runs",
)  # fmt: skip
FILE = "claims.csv"
RULE = (
    "Effects above 0 speak for the claim; of images, where the effect is how many times as many it "
    "takes, those below 1 do. A comparison is supported where the 95 % interval of its effect lies "
    "wholly on that side; not supported where it lies wholly on the other, or wholly within the "
    "margin, which counts as no difference; undecided otherwise, and where runs are missing or too "
    "few. Comparisons of the same part are alternatives: a claim is supported where every part has "
    "a supported comparison, not supported where in some part all comparisons are not supported, "
    "and undecided otherwise. Withdrawn comparisons count for nothing; a claim that has no others "
    "is withdrawn."
)


def write_claims(claims: Claims, entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write the verdicts of `judge` to results/claims.csv."""
    table = judge(claims, list(entries), Path(results), scale)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    Path(results).mkdir(parents=True, exist_ok=True)
    (Path(results) / FILE).write_text(text, encoding="utf-8")


def judge(claims: Claims, entries: list[Entry], results: Path, scale: str) -> pd.DataFrame:
    """The verdicts, as claims.csv has them.

    Args:
        claims: the claims and what decides them.
        entries, results, scale: as `load_records` takes them, of all experiments.

    Returns:
        one row a claim (its comparison is called `overall`) and one a comparison and level. effect,
        low and high are in `unit`, positive (images: below 1) where they speak for the claim; n
        counts what `over` says; data says which images; withdrawn says why a comparison is, and in
        the claim's row why any of its comparisons are; runs and against_runs are the ids behind the
        effect.
    """
    names = dict.fromkeys(entry.experiment for entry in entries)
    records = {name: load_records(entries, results, scale, name) for name in names}
    rows = []
    for label, claim in claims.statements.items():
        own = [*_rows(label, claim, claims, records)]
        verdict = overall([(row["part"], row["verdict"]) for row in own])
        reasons = " ".join(dict.fromkeys(row["withdrawn"] for row in own if row["withdrawn"]))
        if reasons and verdict != WITHDRAWN:
            gone, of = ({row["comparison"] for row in rows} for rows in (
                [row for row in own if row["withdrawn"]], own
            ))  # fmt: skip
            reasons = f"{len(gone)} of {len(of)} comparisons: {reasons}"
        about = {"claim": label, "comparison": OVERALL, "verdict": verdict, "withdrawn": reasons}
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
        if one != WITHDRAWN:
            best[part] = max(best.get(part, 0), order.index(one))
    return order[min(best.values())] if best else WITHDRAWN


def _rows(
    label: str, claim: Claim, claims: Claims, records: dict[str, Records]
) -> Iterator[dict[str, object]]:
    for name, comparison in claim.comparisons.items():
        margin = getattr(claims.margins, comparison.measure)
        part = comparison.part or name
        withdrawn = claim.withdrawn or comparison.withdrawn
        common = {"claim": label, "comparison": name, "criterion": claim.criterion}
        for level in claims.levels if comparison.measure == "images" else [None]:
            row = {
                **common,
                **_measured(comparison, records.get(comparison.experiment), level, margin),
                "part": part if level is None else f"{part} {level:g}",
                "withdrawn": withdrawn,
            }
            yield row | {"verdict": WITHDRAWN} if withdrawn else row


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
    ratio = comparison.measure == "images"
    judged = verdict(found.estimate.low, found.estimate.high, np.log(margin) if ratio else margin)
    effect, low, high, n = times_as_many(found.estimate) if ratio else found.estimate
    return {
        "verdict": judged if found.complete else UNDECIDED,
        "effect": effect,
        "low": low,
        "high": high,
        "n": n,
        "over": found.over,
        **asked,
        "data": records.images,
        "metric": found.metric,
        "note": "; ".join(filter(None, [*found.notes, comparison.remark])),
        "runs": found.runs,
        "against_runs": found.against_runs,
    }


def read_claims(results: Path) -> pd.DataFrame | None:
    """The verdicts that `write_claims` wrote; None where it has not been called yet."""
    path = Path(results) / FILE
    return parse_claims(path) if path.is_file() else None


def parse_claims(file: Path | IO[str]) -> pd.DataFrame:
    """The table of a claims.csv; texts that are not there are empty."""
    texts = ("data", "note", "withdrawn")
    table = pd.read_csv(file, dtype=dict.fromkeys(texts, str))
    return table.fillna(dict.fromkeys(texts, ""))


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the claims themselves: claim, statement, criterion, verdict, withdrawn."""
    return table[table["comparison"] == OVERALL]


def verdict_table(table: pd.DataFrame) -> Table:
    """One row a claim."""
    rows = statements(table)
    compared = table[table["comparison"] != OVERALL].groupby("claim")["verdict"].value_counts()
    verdicts = (SUPPORTED, NOT_SUPPORTED, UNDECIDED, WITHDRAWN)
    counts = [
        ", ".join(f"{one} {compared[claim, one]}" for one in verdicts
                  if (claim, one) in compared.index)
        for claim in rows["claim"]
    ]  # fmt: skip
    shown = {
        "claim": rows["claim"] + " " + rows["statement"],
        "verdict": rows["verdict"],
        "its comparisons": counts,
    }
    if rows["withdrawn"].any():
        shown["withdrawn, and why"] = rows["withdrawn"]
    return Table("claims", "Verdicts", RULE, rows, pd.DataFrame(shown))


def comparison_table(table: pd.DataFrame, claim: str) -> Table:
    """The comparisons of one claim."""
    rows = table[(table["claim"] == claim) & (table["comparison"] != OVERALL)]
    shown = {
        "comparison": rows["comparison"].str.replace("_", " "),
        "experiment": rows["experiment"],
        "data": rows["data"],
        "effect on": [_what(row) for row in rows.itertuples()],
        "effect": [_effect(row) for row in rows.itertuples()],
        "95 % interval": [_interval(row) for row in rows.itertuples()],
        "margin": rows["margin"].map("{:g}".format),
        "n": [_counted(row.n, row.over) for row in rows.itertuples()],
        "verdict": rows["verdict"],
        "remark": rows["note"],
    }
    if not shown["remark"].any():
        del shown["remark"]
    return Table(claim, claim, "", rows, pd.DataFrame(shown))


def _what(row) -> str:
    if row.measure == "images":
        return f"images to {row.level:g} % {SPLITS.get(row.metric, '')} accuracy"
    if row.measure == "spread":
        return "spread over the grid (points)"
    if row.measure == "share":
        return f"within {WITHIN:g} points of best (% of settings)"
    return f"{SPLITS.get(row.metric, '')} accuracy (points)"


def _effect(row) -> str:
    if row.measure == "images" and not pd.isna(row.effect):
        return f"{_times(row.effect)} times as many"
    return signed(row.effect)


def _interval(row) -> str:
    if row.measure != "images" or pd.isna(row.low):
        return signed_interval(row.low, row.high)
    if np.isinf(row.high):
        return f"at least {_times(row.low)}" if row.low else "unknown"
    return f"{_times(row.low)} to {_times(row.high)}" if row.low else f"at most {_times(row.high)}"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _counted(n: float, over: str) -> str:
    if pd.isna(n) or not n:
        return "–"
    counted = f"{int(n)} {over.removesuffix('s') if n == 1 else over}"
    return f"{counted} (bootstrap)" if over == "cells" else counted
