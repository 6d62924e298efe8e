"""Codes that were shown to do the same count as one: a run keeps its name where they are equal.

A run's id holds a hash of the code that trains, a data set's one of the code that prepares. The
hash is of the syntax, so any edit changes it. codes.json lists classes of codes that were shown to
give the same bits (`bop2ndorder same`); ids use the hash of the class's first. Code that nobody has
shown to be equal to another stands for itself.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from ...store import read_json
from .keys import PACKAGE, code_key

TABLE = Path(__file__).with_name("codes.json")
# What decides a run's record are the modules that train and judge it.
MODULES = {
    "training": ["study.run.train", "study.run.evaluate"],
    "preparing": ["study.data.preparation"],
}

Classes = list[list[dict[str, Any]]]


def code_at_hand() -> dict[str, Any]:
    """part -> {hash, modules} of the code that is running; the parts are those of `MODULES`."""
    return {part: {"hash": code_key(*names), "modules": names} for part, names in MODULES.items()}


def hash_of(entry: dict[str, Any], part: str, package: Path = PACKAGE) -> str:
    """The hash that an entry's modules have in a package."""
    return code_key(*entry[part]["modules"], package=package)


def read_classes() -> Classes:
    """The table: classes of entries {commit, date, training, preparing, and how it was shown}.

    The first entry's commit holds its code; the others' is the one on which they were noted.
    """
    return read_json(TABLE)


def write_classes(classes: Classes) -> None:
    TABLE.write_text(json.dumps(classes, indent=1) + "\n", encoding="utf-8")


def find_class(classes: Classes, code: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The class that holds a code as a whole; None where it is not known."""
    hashes = {part: code[part]["hash"] for part in MODULES}
    for entries in classes:
        if any({part: entry[part]["hash"] for part in MODULES} == hashes for entry in entries):
            return entries
    return None


@cache
def code_name(part: str) -> str:
    """The hash that ids hold for the code at hand: that of the first code that does the same."""
    here = code_key(*MODULES[part])
    for entries in read_classes():
        if here in (entry[part]["hash"] for entry in entries):
            return entries[0][part]["hash"]
    return here


def unknown_code() -> str | None:
    """A sentence for the user where the code at hand was not shown to equal any other."""
    if find_class(read_classes(), code_at_hand()):
        return None
    return (
        "The code that prepares, trains or judges was edited, so runs have new names: if the edit "
        "should make no difference, `bop2ndorder same` can show it, and they keep the old ones."
    )
