"""What is shown of an experiment: tables and pictures, each with title and caption."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import style
from .page import render


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its files, without suffix.
        title: a few words.
        caption: how to read it.
        seen: what is to be seen, a sentence for those who cannot see it (its alternative text).
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    seen: str
    figure: Figure = field(repr=False)

    def write(self, folder: Path) -> dict:
        """Write PNG and SVG; returns what the report needs to show the figure."""
        style.save(self.figure, folder / self.name)
        return {
            "kind": "figure",
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "seen": self.seen,
        }

    def _repr_html_(self) -> str:
        data = base64.b64encode(style.png(self.figure)).decode()
        return (
            f'<figure><img alt="{escape(self.seen)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


@dataclass(frozen=True)
class Table:
    """A table, as numbers for programs and as text for readers.

    Attributes:
        name: of its files, without suffix.
        title: a few words.
        caption: see `Picture`.
        numbers: what table.csv holds: plain columns, one row a setting.
        shown: what a reader sees: columns with names and units, cells of text.
    """

    name: str
    title: str
    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame

    def write(self, folder: Path) -> dict:
        """Write CSV and Markdown; returns what the report needs to show the table."""
        csv = self.numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        (folder / f"{self.name}.csv").write_text(csv, encoding="utf-8")
        (folder / f"{self.name}.md").write_text(
            f"**{self.title}.** {self.caption}\n\n{markdown(self.shown)}", encoding="utf-8"
        )
        return self.content()

    def content(self) -> dict:
        """What the report needs to show the table."""
        return {
            "kind": "table",
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "columns": list(self.shown.columns),
            "words": words(self.shown),
            "rows": self.shown.to_numpy().tolist(),
        }

    def _repr_html_(self) -> str:
        table = render("table.html.j2", exhibit={**self.content(), "links": {}})
        return f"<figure>{table}<figcaption>{escape(self.caption)}</figcaption></figure>"


# What a section returns, in order; None stands for what had nothing to show.
Exhibits = list[Table | Picture | None]


def markdown(table: pd.DataFrame) -> str:
    """A frame of text as a Markdown table; columns of numbers are right-aligned."""
    rule = ["---" if of_words else "--:" for of_words in words(table)]
    lines = [list(table.columns), rule, *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def words(table: pd.DataFrame) -> list[bool]:
    """Which columns hold words, and so are left-aligned; the others hold numbers."""
    return [any(str(cell)[:1].isalpha() for cell in table[name]) for name in table.columns]


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def interval(low: float, high: float, digits: int = 1) -> str:
    """A cell of a table: the 95 % interval of a percentage; a dash for too few values."""
    if pd.isna(low):
        return "–"
    return f"{max(low, 0):.{digits}f} to {min(high, 100):.{digits}f}"


def times_interval(low: float, high: float) -> str:
    """An interval of how many times as many: 1.2 to 3.4, at least 2.0, at most 5.0, unknown."""
    if pd.isna(low) or (not low and np.isinf(high)):
        return "unknown"
    if np.isinf(high):
        return f"at least {times(low)}"
    return f"{times(low)} to {times(high)}" if low else f"at most {times(high)}"


def short(value: float, sign: str = "") -> str:
    """A number with one decimal; with two where one would leave 0.0, and hide on which side it is.

    Args:
        value: the number; what is below 0.005 is 0.
        sign: "+" to give positive ones theirs, too.
    """
    digits = 1 if round(value, 1) or not round(value, 2) else 2
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")  # + 0.0: no -0.0


def signed(value: float) -> str:
    """A cell of a table: a difference with its sign; a dash where there is none."""
    return "–" if pd.isna(value) else short(value, "+")


def signed_interval(low: float, high: float) -> str:
    """A cell of a table: the 95 % interval of a difference; a dash for too few values."""
    return "–" if pd.isna(low) else f"{signed(low)} to {signed(high)}"


def times(ratio: float) -> str:
    """How many times as much: 3.9, 0.50, 0.024; never 0."""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def mean_cell(mean: float, std: float = nan, digits: int = 1) -> str:
    """A cell of a table: 91.3 ± 0.4; the mean alone without a spread, a dash for none."""
    if pd.isna(mean):
        return "–"
    if pd.isna(std):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def accuracy_cell(row: Any, digits: int = 1) -> str:
    """A cell of a table: mean and spread of a row of `over_seeds`, and what of it is missing."""
    some = 0 < row.n < row.planned
    missing = f" ({row.n} of {row.planned} seeds)" if some else ""
    return mean_cell(row.mean, row.std, digits) + missing
