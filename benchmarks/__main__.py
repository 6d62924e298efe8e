"""python -m benchmarks: all parts, or the named ones. Keep the machine otherwise idle."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from . import loader, machine, optimizers, page, results, training, workflow

PARTS: dict[str, Callable[[], Any]] = {
    "narrow": partial(training.measure, width=16, dense=128, turns=7),
    # A turn of the wide network takes half a minute.
    "wide": partial(training.measure, width=128, dense=1024, turns=5),
    "numerics": training.measure_numerics,
    "optimizers": optimizers.measure,
    "loader": loader.measure,
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
    for part in parts or PARTS:
        results.note(machine.name(), part, machine.facts(), PARTS[part]())
    page.write(results.read())


main()
