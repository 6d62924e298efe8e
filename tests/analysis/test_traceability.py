"""Every number in README and report comes from records, and is followed there.

README -> report -> table.csv (which names the runs behind each number) -> results/SCALE/runs/ID.
"""

import csv
import json
import math
import re
from functools import cache
from html import escape
from pathlib import Path

import pytest
from retrace import SETTINGS, Trace

from bop2ndorder.study.analysis.pages.readme import block_of
from bop2ndorder.study.analysis.verdicts.claims import comparison_table, read_claims, statements

SCALES = [path.parent for path in sorted(Path("results").glob("*/claims.csv"))]
# Columns of the shown tables that say what was set, not what was found.
SET = {
    "gamma", "sigma", "threshold", "threshold / noise floor", "learning rate", "batch size", "seed",
    "width", "seeds", "n", "margin", "settings", "published at full scale (%)", "because", "rank",
    "held as found before (%)", "threshold (steps of m)", "cells", "epochs",
}  # fmt: skip
NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?(?:e-?\d+)?[kM]?")


@cache
def rows(path: Path) -> list[dict]:
    return [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def tables(results: Path) -> list[Path]:
    """All but those of dvc's charts, which repeat numbers of the tables."""
    found = [path for path in sorted(results.glob("*/*.csv")) if path.parent.name != "plots"]
    return [*found, results / "claims.csv"]


@cache
def trace(results: Path) -> Trace:
    return Trace(results)


def shown(results: Path) -> list[tuple]:
    """Every number in the report: (file of its table, the rows behind it, column, cell)."""
    found = []
    for path in sorted(results.glob("*/exhibits.json")):
        for exhibit in json.loads(path.read_text(encoding="utf-8"))["exhibits"]:
            if exhibit["kind"] == "table":
                file = path.parent / f"{exhibit['name']}.csv"
                found.append((file, rows(file), exhibit))
    claims, file = read_claims(results), results / "claims.csv"
    for claim in statements(claims)["claim"]:
        compared = [r for r in rows(file) if r["claim"] == claim and r["comparison"] != "overall"]
        found.append((file, compared, comparison_table(claims, claim).content()))
    return [
        # A table that is turned, or split, for readers has other rows than its file.
        (file, [behind[place]] if len(behind) == len(table["rows"]) else behind, column, cell)
        for file, behind, table in found
        for place, row in enumerate(table["rows"])
        for column, cell in zip(table["columns"], row, strict=True)
        if column not in SET and re.match(r"[+−]?\d", cell)
    ]


def value_of(text: str) -> tuple[float, float]:
    """A number as shown, and how far the true one may be from it."""
    factor = {"k": 1e3, "M": 1e6}.get(text[-1], 1)
    digits = text.rstrip("kM").replace("−", "-")
    mantissa, _, exponent = digits.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return float(digits) * factor, 0.501 * unit * factor


@pytest.mark.parametrize("results", SCALES, ids=lambda path: path.name)
def test_every_number_of_a_table_is_a_setting_or_comes_from_records(results):
    for path in tables(results):
        known = [trace(results).row(path.stem, row) for row in rows(path)]
        for column in rows(path)[0]:
            cells = [row[column] for row in rows(path) if row[column]]
            numbers = cells and all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) for cell in cells)
            assert not numbers or column in {*SETTINGS}.union(*known), (path, column)
        for place, (row, again) in enumerate(zip(rows(path), known, strict=True), 1):
            for column in again.keys() & {column for column in row if row[column]}:
                assert math.isclose(
                    float(row[column]), again[column], rel_tol=2e-5, abs_tol=1e-5
                ), f"{path}, row {place}, {column}: {row[column]}, by records {again[column]}"


@pytest.mark.parametrize("results", SCALES, ids=lambda path: path.name)
def test_every_number_of_the_report_comes_from_records(results):
    page = (results / "report.html").read_text(encoding="utf-8")
    for path, behind, column, cell in shown(results):
        assert f">{escape(cell, quote=False)}</td>" in page, cell
        known = [v for row in behind for v in trace(results).row(path.stem, row).values()]
        if column == "95 % interval" and cell[0].isdigit():  # a percentage's ends at 0 and 100
            known += [min(max(v, 0.0), 100.0) for v in known]
        for text in NUMBER.findall(cell):
            value, near = value_of(text)
            close = [v for v in known if abs(v - value) <= near]
            assert close, f"{path}, {column}: {text} of {cell!r} is in no record"


def test_the_tables_of_the_readme_are_those_of_the_report():
    block = block_of(Path("README.md").read_text(encoding="utf-8"))
    [scale] = set(re.findall(r"\(results/(\w+)/", block))
    page = (Path("results") / scale / "report.html").read_text(encoding="utf-8")
    cells = [cell.strip() for line in block.splitlines() if line.startswith("| ")
             for cell in line.strip("| ").split("|")]  # fmt: skip
    followed = [cell for cell in cells if re.fullmatch(r"[\d.]+( (±|to) [\d.]+)?", cell)]
    assert followed and all(f">{escape(cell, quote=False)}</td>" in page for cell in followed)
