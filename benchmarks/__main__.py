"""python -m benchmarks: all parts, or the named ones. Keep the machine otherwise idle."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from bop2ndorder.store import read_json, write_json

from . import machine, optimizers, page, training, workflow

RESULTS = Path(__file__).with_name("results.json")
PARTS: dict[str, Callable[[], Any]] = {
    "narrow": partial(training.measure, width=16, dense=128, turns=7),
    # A turn of the wide network takes half a minute.
    "wide": partial(training.measure, width=128, dense=1024, turns=5),
    "numerics": training.measure_numerics,
    "optimizers": optimizers.measure,
    "start": workflow.measure_start,
    "planning": workflow.measure_planning,
    "study": workflow.measure_study,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
def main(parts: tuple[str, ...]) -> None:
    """Measure PARTS (default: all, about an hour); write results.json and the page.

    Results of other processors stay beside those of this one.
    """
    results = read_json(RESULTS) if RESULTS.exists() else {}
    here = results.setdefault(machine.name(), {})
    for part in parts or PARTS:
        here[part] = {"on": machine.facts(), "found": PARTS[part]()}
        write_json(RESULTS, results)
    page.write(results)


main()
