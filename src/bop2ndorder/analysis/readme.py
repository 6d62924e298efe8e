"""What README.md shows of the results: a block between two comments, made of committed files."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from .exhibits import markdown

BEGIN, END = "<!-- results: written by `bop2ndorder readme` -->", "<!-- end of results -->"
FIGURE = ("cifar10", "convergence")
TABLES = ("cifar10", "imagenet")
# A README has room for these; the report has all.
LEFT_OUT = {"gamma", "sigma", "threshold", "training accuracy (%)", "test top-5 (%)"}


def write_readme(readme: Path, results: Path) -> None:
    """Bring the block in README.md up to date.

    Args:
        readme: the file.
        results: the folder results/SCALE with the tables and figures of `analyse`.

    Raises:
        ValueError: the file has no place for the block.
        FileNotFoundError: a table is not there yet.
    """
    whole = readme.read_text(encoding="utf-8")
    new = block(results.as_posix(), lambda name: (results / name).read_text(encoding="utf-8"))
    readme.write_text(replace_block(whole, BEGIN, END, new), encoding="utf-8")


def replace_block(page: str, begin: str, end: str, new: str) -> str:
    """The page with what stands between its two comments replaced."""
    return page.replace(block_of(page, begin, end), new)


def block_of(page: str, begin: str = BEGIN, end: str = END) -> str:
    """What stands between two comments of a page; `ValueError` unless they are there once."""
    found = re.findall(f"{re.escape(begin)}\n\n(.*?)\n\n{re.escape(end)}", page, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"the page must hold the lines `{begin}` and `{end}` once, in this order")
    return found[0]


def block(folder: str, read: Callable[[str], str]) -> str:
    """What should stand between the comments.

    Args:
        folder: results/SCALE, for links.
        read: the text of a file by its name within that folder.
    """
    exhibits = {
        (experiment, exhibit["name"]): exhibit
        for experiment in TABLES
        for exhibit in json.loads(read(f"{experiment}/exhibits.json"))["exhibits"]
    }
    figure = exhibits[FIGURE]
    parts = [f"![{figure['title']}]({folder}/{'/'.join(FIGURE)}.png)", f"*{figure['caption']}*"]
    for experiment in TABLES:
        table = exhibits[experiment, "table"]
        frame = pd.DataFrame(table["rows"], columns=table["columns"])
        shown = frame[[name for name in frame.columns if name not in LEFT_OUT]]
        parts += [markdown(shown).rstrip(), f"*{table['caption']}*"]
    return "\n\n".join(parts)
