"""Whether the runs on this machine are those of the committed records."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError

from .evaluate import accuracy, judge, read_history
from .workflow import Workflow


@dataclass(frozen=True)
class Outcome:
    """One run against its committed record.

    Attributes:
        run: its id.
        reproduced: weights, answers and history are equal bit for bit.
        difference: accuracy here minus the record's in percentage points; None where there
            is nothing to compare.
        reason: why there is nothing to compare.
    """

    run: str
    reproduced: bool
    difference: float | None = None
    reason: str = ""


def verify(workflow: Workflow) -> list[Outcome]:
    """Judge every run of the scale anew and hold it against its record in git's HEAD."""
    return list(_outcomes(workflow))


def _outcomes(workflow: Workflow) -> Iterator[Outcome]:
    for run in workflow.runs:
        committed = _committed(workflow, run)
        if committed is None:
            yield Outcome(run, False, reason="no record is committed")
            continue
        try:
            metrics, history = judge(workflow.run(run))
        except (ValueError, SafetensorError) as error:
            yield Outcome(run, False, reason=str(error))
            continue
        record, record_history = committed
        difference = accuracy(metrics)[1] - accuracy(record)[1]
        same = metrics == record and history == record_history
        yield Outcome(run, same, difference)


def describe(outcomes: list[Outcome]) -> str:
    """How many are reproduced, and how far the others are."""
    lines = []
    for outcome in outcomes:
        if outcome.reason:
            lines.append(f"{outcome.run}: {outcome.reason}")
        elif not outcome.reproduced:
            lines.append(
                f"{outcome.run}: differs, top-1 {outcome.difference:+.2f} percentage points"
            )
    count = sum(outcome.reproduced for outcome in outcomes)
    lines.append(f"{count} of {len(outcomes)} records reproduced bit for bit (times apart)")
    apart = [abs(o.difference) for o in outcomes if o.difference is not None and not o.reproduced]
    if apart:
        lines.append(
            f"{len(apart)} differ: mean {sum(apart) / len(apart):.2f}, at most {max(apart):.2f} "
            "percentage points of top-1"
        )
    return "\n".join(lines)


def _committed(workflow: Workflow, run: str) -> tuple[dict[str, Any], list[dict]] | None:
    folder = workflow.record(run).as_posix()
    try:
        texts = [_head(f"{folder}/{name}") for name in ("metrics.json", "history.csv")]
    except (OSError, subprocess.CalledProcessError):
        return None
    return json.loads(texts[0]), read_history(texts[1])


def _head(path: str) -> str:
    command = ["git", "show", f"HEAD:./{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
