"""Every number in README and report comes from records: ten drawn at random are followed there.

README -> report -> table.csv (which names the runs behind each number) -> results/SCALE/runs/ID.
"""

import csv
import json
import math
import random
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


def written(results: Path) -> list[tuple]:
    """Every number in every table's CSV: (file, row, column)."""
    found = []
    for path in tables(results):
        for place, row in enumerate(rows(path)):
            known = Trace(results).row(path.stem, row)
            found += [(path, place, column) for column in row if column in known and row[column]]
    return found


def shown(results: Path) -> list[tuple]:
    """Every number in the report: (file of its table, row, number of rows, column, cell)."""
    contents = {results / "claims.csv": []}
    for path in sorted(results.glob("*/exhibits.json")):
        for exhibit in json.loads(path.read_text(encoding="utf-8"))["exhibits"]:
            if exhibit["kind"] == "table":
                contents[path.parent / f"{exhibit['name']}.csv"] = [exhibit]
    claims = read_claims(results)
    contents[results / "claims.csv"] = [
        comparison_table(claims, claim).content() for claim in statements(claims)["claim"]
    ]
    return [
        (path, place, len(table["rows"]), column, cell)
        for path, several in contents.items()
        for table in several
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
def test_every_column_of_numbers_is_a_setting_or_can_be_followed(results):
    for path in tables(results):
        known = {c for row in rows(path) for c in Trace(results).row(path.stem, row)}
        for column in rows(path)[0]:
            cells = [row[column] for row in rows(path) if row[column]]
            numbers = cells and all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) for cell in cells)
            assert not numbers or column in known | SETTINGS, (path, column)


@pytest.mark.parametrize("results", SCALES, ids=lambda path: path.name)
def test_ten_numbers_at_random_are_followed_to_their_records(results):
    for path, place, column in random.sample(written(results), 10):
        row = rows(path)[place]
        again = Trace(results).row(path.stem, row)[column]
        assert math.isclose(float(row[column]), again, rel_tol=2e-5, abs_tol=1e-5), (
            f"{path}, row {place + 1}, {column}: {row[column]}, by the records {again}"
        )


@pytest.mark.parametrize("results", SCALES, ids=lambda path: path.name)
def test_ten_numbers_of_the_report_at_random_are_followed_to_their_records(results):
    page = (results / "report.html").read_text(encoding="utf-8")
    for path, place, count, column, cell in random.sample(shown(results), 10):
        assert f">{escape(cell, quote=False)}</td>" in page, cell
        behind = rows(path)
        # A table that is turned, or split, for readers has other rows than its file.
        behind = [behind[place]] if len(behind) == count else behind
        known = [v for row in behind for v in Trace(results).row(path.stem, row).values()]
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
