"""What a scale of the study has done and has left to do, and how long that may take."""

from collections import Counter
from statistics import median

import torch

from ...store import DONE
from ..config import Run
from ..config.codes import unknown_code
from ..run.evaluate import TIMES
from ..run.operations import CPU_RATE, GPU_RATE, operations_per_image, training_speed
from ..run.progress import duration
from ..run.record import read_record
from .products import Workflow


def describe(workflow: Workflow, every: bool = False) -> str:
    """The plan as text: runs done and left for each experiment, and an estimate of the time.

    Args:
        workflow: the study's scale.
        every: a line for each run, too.
    """
    states = {run: state(workflow, run) for run in workflow.runs}
    known, guesses = recorded_speeds(workflow), {}
    seconds = {}
    for name, run in workflow.runs.items():
        if kind(run) not in known and kind(run) not in guesses:
            guesses[kind(run)] = guessed_speed(run, _rate(workflow))
        settings = run.settings
        images = settings.data.images(settings.train_on) * settings.epochs
        seconds[name] = images / (known | guesses)[kind(run)]
    lines = [f"{states[r]:8}  {duration(seconds[r]):>8}  {r}" for r in states if every]
    for experiment in workflow.experiments:
        runs = {entry.run.id for entry in workflow.study.entries(workflow.scale, experiment)}
        trained = sum(states[run] == "trained" for run in runs)
        lines.append(f"{experiment}: {trained} of {len(runs)} runs trained")
    counts = Counter(states.values())
    numbers = ", ".join(f"{counts[name]} {name}" for name in ("trained", "recorded", "to train"))
    left, again = (
        sum(seconds[run] for run in states if states[run] == name)
        for name in ("to train", "recorded")
    )
    # `snakemake report` needs no more than the records, `snakemake` has the weights made, too.
    weights = f", for the weights of those recorded {duration(again)}" if again else ""
    lines += [
        f"scale {workflow.scale}: {len(states)} runs, those shared counted once: {numbers}",
        f"left to train: {duration(left)}{weights} (all runs: "
        f"{duration(sum(seconds.values()))}), one run at a time; {_basis(workflow, guesses)}",
        *([sentence] if (sentence := unknown_code()) else []),
    ]
    return "\n".join(lines)


def state(workflow: Workflow, run: str) -> str:
    """trained: its files are here; recorded: only its record is; to train: neither is."""
    if (workflow.run(run) / DONE).exists() and not workflow.damaged(run):
        return "trained"
    return "recorded" if workflow.recorded(run) else "to train"


def kind(run: Run) -> tuple:
    """Runs of one kind train at about the same speed."""
    return run.settings.network, run.data, run.settings.threads


def recorded_speeds(workflow: Workflow) -> dict[tuple, float]:
    """Kind of run -> median images per second in the scale's records."""
    speeds: dict[tuple, list[float]] = {}
    for name, run in workflow.runs.items():
        record = read_record(workflow.record(name))
        if record is not None and record.provenance[TIMES]:
            speeds.setdefault(kind(run), []).extend(record.provenance[TIMES])
    return {found: median(values) for found, values in speeds.items()}


def guessed_speed(run: Run, rate: float) -> float:
    """Training images per second on hardware that sustains `rate` operations per second."""
    network, data = run.settings.network.model_dump(), run.settings.data
    return training_speed(operations_per_image(network, data.classes(), data.image_size), rate)


def _rate(workflow: Workflow) -> float:
    return GPU_RATE if workflow.scale == "paper" or torch.cuda.is_available() else CPU_RATE


def _basis(workflow: Workflow, guesses: dict) -> str:
    if not guesses:
        return "by the speed in the records"
    where = "GPU" if _rate(workflow) == GPU_RATE else "CPU core"
    return f"assuming {_rate(workflow):.0e} sustained float32 operations per second of a {where}"
