"""Records of runs; tables, figures, notebooks and report, of all of them or of those there are."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...store import DONE
from ..run.evaluate import evaluate
from .failures import Failed, missing_runs, noted
from .products import Workflow


def write_record(workflow: Workflow, run: str) -> dict[str, Any]:
    """Write the record of a finished run and give its metrics; see `evaluate`."""
    folder = workflow.record(run)
    with noted(workflow.note(run), folder):
        if not workflow.recorded(run):
            shutil.rmtree(folder, ignore_errors=True)  # or what is damaged might be left as it is
        return evaluate(workflow.run(run), folder, workflow.origin(run))


def make(workflow: Workflow, product: str) -> None:
    """Make a product of the records that are there, by its name."""
    from .. import analysis

    made, experiment = workflow.products[product], workflow.products[product].experiment
    study, scale, results = workflow.study, workflow.scale, workflow.results
    entries = study.entries(scale, experiment)
    with noted(workflow.note(product), results):
        match made.kind:
            case "analysis":
                analysis.analyse(experiment, entries, results, scale)
            case "notebook":
                parameters = {"scale": scale, "experiment": experiment}
                parameters["results"] = results.as_posix()
                if workflow.params != Workflow.params:  # else the notebook's default
                    parameters["params"] = workflow.params
                output = results / experiment / "notebook.ipynb"
                analysis.run_notebook(workflow.notebook(experiment), output, parameters)
            case "metrics":
                analysis.summarise(entries, results, scale)
            case "claims":
                analysis.write_claims(study.claims[scale], entries, results, scale)
            case "report":
                analysis.write_report(study, scale, results, missing_runs(workflow))


def salvage(workflow: Workflow) -> Iterator[str]:
    """After a failure, bring tables, figures and report in line with what is there.

    What is made so counts as not made: the next `snakemake` makes it again.

    Yields:
        lines for the user: what else fails, and which runs are missing, with the reason.
    """
    for run in workflow.runs:
        finished = (workflow.run(run) / DONE).exists()
        if finished and (workflow.unrecorded(run) or not workflow.recorded(run)):
            with suppress(Failed):
                write_record(workflow, run)
    workflow = replace(workflow)  # it keeps what it has seen
    for product in workflow.products:
        if workflow.is_current(product):
            continue
        workflow.key_file(product).unlink(missing_ok=True)
        shown = workflow.shown(product)
        shown.unlink(missing_ok=True)
        try:
            make(workflow, product)
        except Failed as failed:
            yield f"{shown} cannot be made: {failed}"
    missing = missing_runs(workflow)
    reasons: dict[str, list[str]] = {}
    for run in missing:
        reasons.setdefault(run["reason"], []).append(run["run"])
    for reason, (run, *others) in reasons.items():
        yield f"missing: {run}{f' and {len(others)} more' if others else ''}: {reason}"
    yield (
        f"{len(missing)} of {len(workflow.runs)} runs are missing; what is there is in "
        f"{workflow.shown('report')}"
    )
