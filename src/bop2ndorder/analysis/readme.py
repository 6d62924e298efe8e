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
    old = block_of(whole)
    new = block(results.as_posix(), lambda name: (results / name).read_text(encoding="utf-8"))
    readme.write_text(whole.replace(old, new), encoding="utf-8")


def block_of(readme: str) -> str:
    """The block in the text of a README, comments included."""
    found = re.findall(f"{re.escape(BEGIN)}.*?{re.escape(END)}", readme, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"README.md must hold the lines `{BEGIN}` and `{END}` once, in this order")
    return found[0]


def block(folder: str, read: Callable[[str], str]) -> str:
    """The block as it should be.

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
    return "\n\n".join([BEGIN, *parts, END])
