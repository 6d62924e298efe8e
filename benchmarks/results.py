"""results.json: by machine and part, what was measured, and on what."""

from pathlib import Path
from typing import Any

from bop2ndorder.store import read_json, write_json

FILE = Path(__file__).with_name("results.json")


def read() -> dict[str, dict[str, Any]]:
    """All that was measured, on any machine."""
    return read_json(FILE) if FILE.exists() else {}


def note(machine: str, part: str, on: dict[str, Any], found: Any) -> None:
    """Put a part's measurements in the place of earlier ones on that machine.

    Args:
        machine: name of the processor or the card.
        part: what was measured.
        on: facts of the machine.
        found: the measurements.
    """
    results = read()
    results.setdefault(machine, {})[part] = {"on": on, "found": found}
    write_json(FILE, results)
