"""What a scale of the study has done and has left to do, and how long that may take."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

import torch

from ...store import DONE
from ..config.codes import unknown_code
from ..config.runs import Run
from ..run.evaluate import TIMES
from ..run.operations import (
    CPU_RATE,
    DECODING_RATE,
    GPU_RATES,
    operations_per_image,
    training_speed,
)
from ..run.progress import duration
from ..run.record import Record, read_record
from .products import Workflow

Records = dict[str, Record | None]  # run -> its record, None where it has none
# What a step takes a GPU at least, however few its operations are: 300 kernels of 3 microseconds.
GPU_STEP = 1e-3
# The settings by which trainings on the same data differ in speed.
SPEED = ("network", "batch_size", "threads", "precision", "gpus")


def describe(workflow: Workflow, every: bool = False) -> str:
    """The plan as text: runs done and left for each experiment, and an estimate of the time.

    Args:
        workflow: the study's scale.
        every: a line for each run, too.
    """
    states = {run: state(workflow, run) for run in workflow.runs}
    records = {run: read_record(workflow.record(run)) for run in workflow.runs}
    known, guesses = recorded_speeds(workflow, records), {}
    counts = known_images(workflow, records)
    gpu = workflow.scale == "paper" or torch.cuda.is_available()
    seconds = {}
    for name, run in workflow.runs.items():
        if kind(run) not in known and kind(run) not in guesses:
            guesses[kind(run)] = guessed_speed(run, gpu)
        published = run.settings.data.images(run.settings.train_on)
        _, images = run.settings.length(counts.get(images_kind(run), published))
        seconds[name] = images / (known | guesses)[kind(run)]
    lines = [f"{states[r]:8}  {duration(seconds[r]):>8}  {r}" for r in states if every]
    for experiment in workflow.experiments:
        runs = {entry.run.id for entry in workflow.study.entries(workflow.scale, experiment)}
        missing = sum(seconds[run] for run in runs if states[run] == "to train")
        time = f", {duration(missing)}" if missing else ""
        lines.append(f"{experiment}: {len(runs)} runs: {_counted(states[r] for r in runs)}{time}")
    numbers = _counted(states.values())
    left, again = (
        sum(seconds[run] for run in states if states[run] == name)
        for name in ("to train", "recorded")
    )
    # `snakemake report` needs no more than the records, `snakemake` has the weights made, too.
    weights = f", for the weights of those recorded {duration(again)}" if again else ""
    runs = workflow.runs.values()
    basis = _basis([run for run in runs if kind(run) in guesses], gpu)
    uncounted = {run.settings.data_name for run in runs if images_kind(run) not in counts}
    if uncounted:
        basis += f"; with as many images of {', '.join(sorted(uncounted))} as are published"
    lines += [
        f"scale {workflow.scale}: {len(states)} runs, those shared counted once: {numbers}",
        f"left to train: {duration(left)}{weights} (all runs: "
        f"{duration(sum(seconds.values()))}), one run at a time; {basis}",
        *([sentence] if (sentence := unknown_code()) else []),
    ]
    return "\n".join(lines)


def _counted(states: Iterable[str]) -> str:
    counts = Counter(states)
    return ", ".join(f"{counts[name]} {name}" for name in ("trained", "recorded", "to train"))


def state(workflow: Workflow, run: str) -> str:
    """trained: its files are here; recorded: only its record is; to train: neither is."""
    if (workflow.run(run) / DONE).exists() and not workflow.damaged(run):
        return "trained"
    return "recorded" if workflow.recorded(run) else "to train"


def kind(run: Run) -> tuple:
    """Runs of one kind train at about the same speed."""
    return run.data, *(getattr(run.settings, name) for name in SPEED)


def recorded_speeds(workflow: Workflow, records: Records) -> dict[tuple, float]:
    """Kind of run -> median images per second in the scale's records."""
    speeds: dict[tuple, list[float]] = {}
    for name, run in workflow.runs.items():
        record = records[name]
        if record is not None and record.provenance[TIMES]:
            speeds.setdefault(kind(run), []).extend(record.provenance[TIMES])
    return {found: median(values) for found, values in speeds.items()}


def images_kind(run: Run) -> tuple[str, str]:
    """Runs of which this is equal have equally many images in an epoch."""
    return run.data, run.settings.train_on


def known_images(workflow: Workflow, records: Records) -> dict[tuple[str, str], int]:
    """What `images_kind` gives -> training images of an epoch, by prepared data or by a record.

    A local folder may hold other numbers than the published data set. A record counts whole batches
    only, and one of a run that `stop_after` ended tells nothing.
    """
    counts: dict[tuple[str, str], int] = {}
    for name, run in workflow.runs.items():
        if (found := images_kind(run)) in counts:
            continue
        record = records[name]
        if images := workflow.images(run):
            counts[found] = images
        elif record is not None and run.settings.stop_after is None:
            counts[found] = record.metrics["images_seen"] // record.metrics["epochs"]
    return counts


def guessed_speed(run: Run, gpu: bool) -> float:
    """Training images per second, by operations: on one CPU core, or on the GPUs of the run.

    GPUs take their time for a step that is small, and may have to wait for their images, which
    `threads` cores decode.
    """
    settings, data = run.settings.model_dump(), run.settings.data
    operations = operations_per_image(settings["network"], data.classes(), data.image_size)
    if not gpu:
        return training_speed(operations, CPU_RATE)
    speed = settings["gpus"] * training_speed(operations, GPU_RATES[settings["precision"]])
    speed = min(speed, settings["batch_size"] / GPU_STEP)
    return min(speed, DECODING_RATE * settings["threads"]) if data.source == "imagenet" else speed


def _basis(guessed: list[Run], gpu: bool) -> str:
    """What the estimate rests on.

    Args:
        guessed: the runs of whose kind no record tells the speed.
        gpu: whether they are taken to be trained on GPUs.
    """
    if not guessed:
        return "by the speed in the records"
    if not gpu:
        where = f"{CPU_RATE:.0e} sustained float32 operations per second of a CPU core"
    else:
        precisions = dict.fromkeys(run.settings.precision for run in guessed)
        rates = " and ".join(f"{GPU_RATES[name]:.1e} ({name})" for name in precisions)
        where = (
            f"{rates} sustained operations per second of an H100, at least {GPU_STEP:g} s a step"
        )
        if any(run.settings.data.source == "imagenet" for run in guessed):
            where += f", and {DECODING_RATE} image files decoded per second and CPU thread"
    return f"estimated, not measured: assuming {where}"
