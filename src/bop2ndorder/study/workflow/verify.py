"""Whether the runs on this machine are those of the committed records.

What differs is excused where record and run were made with something other that may change bits:
the numerics or the precision in force, a library, the device, and between native records the
processor. It is then said whether the difference of top-1 accuracy lies within what seeds do:

    |difference| <= t(0.975, n - 1) * s * sqrt(2)

where s is the standard deviation over the n seeds of the same experiment, arm and settings in the
committed records (and sqrt(2) stands there because two runs are compared). Where there is one seed,
s and its degrees of freedom are pooled over all settings of the experiment; where that leaves no
degree of freedom, there is no rule.
"""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice, zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from scipy.special import stdtrit

from ...store import DONE, read_json
from ..config.runs import Entry
from ..config.settings import Settings
from ..run.evaluate import accuracy, judge, last_epoch, read_history
from ..run.record import Record, read_record
from .products import Workflow

RULE = (
    "what seeds do: |difference| <= t(0.975, n-1) * s * sqrt(2), s over the n seeds of the same "
    "experiment, arm and settings; for one seed pooled over the experiment"
)
NOTHING = (
    "no run of this scale is here: `snakemake` trains them, `dvc pull` fetches them; "
    "`bop2ndorder verify --retrain 5` trains five elsewhere and compares those"
)
NATIVE, PORTABLE = "native", "portable"
LIBRARIES = ("aten", "onednn", "mkl", "numpy")  # whose kernels a provenance names


class Kind(StrEnum):
    """What comes of holding a run against its record; one of them is a failure."""

    FAILED = "not reproduced"
    DIFFERS = "differs"
    ABSENT = "not here"
    UNRECORDED = "without a committed record"
    REPRODUCED = "reproduced bit for bit"


@dataclass(frozen=True)
class Outcome:
    """One run against its committed record.

    Attributes:
        run: its id.
        kind: what came of it.
        other: where that is excused, what is other: the record's and what is here.
        detail: what differs and how far.
        native: the record was made with native numerics.
        pulled: the files were not made here.
    """

    run: str
    kind: Kind
    other: str = ""
    detail: str = ""
    native: bool = False
    pulled: bool = False


@dataclass(frozen=True)
class Committed:
    """What git's HEAD holds of a scale, whatever lies in the folder now.

    Attributes:
        records: run -> its record, None where that is damaged.
        limits: run -> how far top-1 may differ by what seeds do, in points; none without a rule.
    """

    records: dict[str, Record | None]
    limits: dict[str, float]


def committed(workflow: Workflow) -> Committed:
    """The committed records of a scale; empty where none is.

    Raises:
        ValueError: git does not answer; then nothing can be compared.
    """
    records, folder = {}, workflow.record("")
    git = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True)
    if git.returncode:
        raise ValueError(
            "git does not show the committed records "
            f"({git.stderr.strip().partition(chr(10))[0]}): this takes a clone with its .git, and "
            "where its folder is another user's, `git config --global --add safe.directory "
            f"{Path.cwd()}`"
        )
    with tempfile.TemporaryDirectory() as scratch:
        git = subprocess.run(["git", "archive", "HEAD", folder.as_posix()], capture_output=True)
        if not git.returncode:
            subprocess.run(["tar", "-x", "-C", scratch], input=git.stdout, check=True)
        for run in workflow.runs:
            if (found := scratch / workflow.record(run)).exists():
                records[run] = read_record(found)
    top1 = {run: accuracy(record.metrics)[1] for run, record in records.items() if record}
    return Committed(records, seed_limits(workflow.study.entries(workflow.scale), top1))


def seed_limits(entries: Iterable[Entry], top1: dict[str, float]) -> dict[str, float]:
    """How far two runs may differ by what seeds do; see the head of this file.

    Args:
        entries: the scale's. A run that stands in several groups counts in the largest.
        top1: run -> its accuracy in percent.

    Returns:
        run -> the limit in points; runs without a rule are left out.
    """
    seeds: dict[tuple, dict[str, float]] = defaultdict(dict)
    for entry in entries:
        if (run := entry.run.id) in top1:
            alike = entry.run.settings.model_dump_json(exclude={"seed"})
            seeds[entry.experiment, entry.arm, entry.axis, alike][run] = top1[run]
    found: dict[str, tuple[int, int, float]] = {}
    for (experiment, *_), group in seeds.items():
        whole = [other for (name, *_), other in seeds.items() if name == experiment]
        for own, groups in ((1, [group]), (0, whole)):
            deviations = [v - np.mean([*g.values()]) for g in groups for v in g.values()]
            freedom = len(deviations) - len(groups)
            if freedom:
                spread = np.sqrt(np.square(deviations).sum() / freedom)
                limit = float(stdtrit(freedom, 0.975) * spread * np.sqrt(2))
                for run in group:
                    found[run] = max(found.get(run, (0, 0, 0.0)), (own, freedom, limit))
    return {run: limit for run, (_, _, limit) in found.items()}


def verify(workflow: Workflow) -> list[Outcome]:
    """Judge every run of the scale anew and hold it against its record in git's HEAD."""
    against = committed(workflow)
    return [hold(workflow, run, against) for run in workflow.runs]


def hold(workflow: Workflow, run: str, against: Committed) -> Outcome:
    """Judge a run's files anew and hold them against its record."""
    folder = workflow.run(run)
    if not (folder / DONE).exists():
        return Outcome(run, Kind.ABSENT)
    if run not in against.records:
        return Outcome(run, Kind.UNRECORDED)
    record = against.records[run]
    if record is None:
        return Outcome(run, Kind.FAILED, detail="its committed record is damaged")
    try:
        metrics, history = judge(folder)
        here = read_json(folder / "run.json")
    except (ValueError, OSError, SafetensorError) as error:
        return Outcome(run, Kind.FAILED, detail=str(error))
    theirs, ours = record.provenance, _made_here(workflow.origin(run), metrics["weights_sha256"])
    known = {"native": _numerics(theirs) == NATIVE, "pulled": ours is None}
    faults = [*_faults(record, workflow.runs[run].settings, here, metrics)]
    numbers = [*_numbers(record, metrics, history)]
    if not faults and not numbers:
        return Outcome(run, Kind.REPRODUCED, **known)
    difference = accuracy(metrics)[1] - accuracy(record.metrics)[1]
    top1 = f"top-1 {difference:+.2f} points"
    if ours is None:
        faults.append("pulled, not made here")
    elif _lacks_pins(theirs, ours):
        faults.append("native here, though this machine can hold portable numerics")
    other = ", ".join(_excuses(theirs, ours)) if not faults else ""
    if not other:
        differs = ", ".join(dict.fromkeys(faults + numbers))
        return Outcome(run, Kind.FAILED, detail=f"{top1}; {differs}", **known)
    detail = f"{top1}, {_within(difference, against.limits.get(run))}"
    return Outcome(run, Kind.DIFFERS, other, detail, **known)


def _within(difference: float, limit: float | None) -> str:
    if limit is None:
        return "no rule for what seeds do"
    return f"{'within' if abs(difference) <= limit else 'beyond'} what seeds do ({limit:.2f})"


def _faults(
    record: Record, planned: Settings, here: dict[str, Any], metrics: dict[str, Any]
) -> Iterator[str]:
    """What differs though no machine can change it: settings, data, parameters, counts."""
    theirs = record.provenance
    try:  # settings that are newer than the record have their defaults
        settings = Settings.model_validate(theirs["settings"]).model_dump()
    except ValidationError:
        settings = theirs["settings"]
    yield from _differing("settings", settings, planned.model_dump())
    # The same images may have come another way.
    yield from _differing("data", *({**f["data"], "origin": None} for f in (theirs, here)))
    yield from _differing("parameters", theirs["parameters"], here["parameters"])
    counts = ({k: v for k, v in m.items() if type(v) is int} for m in (record.metrics, metrics))
    yield from _differing("metrics", *counts)
    last = record.metrics | last_epoch(read_history(record.history))
    if last != record.metrics:
        yield "the record's metrics are not those of its own history"


def _numbers(
    record: Record, metrics: dict[str, Any], history: list[dict[str, float | None]]
) -> Iterator[str]:
    """What differs and may do so from machine to machine: metrics, history."""
    yield from _differing("metrics", record.metrics, metrics)
    for epoch, (one, other) in enumerate(zip_longest(read_history(record.history), history), 1):
        if one != other:
            yield f"history from epoch {epoch} on"
            return


def _differing(what: str, one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    return (f"{what}.{key}" for key in one | other if one.get(key) != other.get(key))


def _made_here(origin: Path, weights: str) -> dict[str, Any] | None:
    """What a training on this machine noted; None where these are not its weights."""
    try:
        noted = read_json(origin)
        return noted if noted["weights_sha256"] == weights else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _numerics(made: dict[str, Any]) -> str | None:
    return (made.get("numerics") or {}).get("in_force")


def _lacks_pins(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether only the record is portable, though the run here could have been so, too."""
    holds = (
        ours["device"] == "cpu"
        and {"avx2", "fma"} <= {*ours["processor"]["extensions"]}
        and all(ours["numerics"].values())  # a library that is not there cannot be pinned
    )
    return (_numerics(theirs), _numerics(ours)) == (PORTABLE, NATIVE) and holds


def _excuses(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """What may have changed bits and is other, where both are known: the record's, and here."""
    (one, one_native), (other, other_native) = map(_machine, (theirs, ours))
    yield from _other(one, other)
    if _numerics(theirs) == _numerics(ours) == NATIVE:
        yield from islice(_other(one_native, other_native), 1)  # the first explains the others


def _machine(made: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may change bits beside settings, data and code; and what may do so without pins."""
    processor, numerics = made.get("processor") or {}, made.get("numerics") or {}
    always = {name: made.get(name) for name in ("device", "precision")}
    always["numerics"] = _numerics(made)
    native = {
        "processor": processor.get("model"),
        "extensions": " ".join(processor.get("extensions") or ["not recorded"]),
        **{f"{library}'s kernels": numerics.get(library) for library in LIBRARIES},
    }
    return always | (made.get("versions") or {}), native


def _other(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for name, value in one.items():
        if None not in (value, here := other.get(name)) and value != here:
            yield f"{name} ({value}, here {here})"


def describe(outcomes: list[Outcome]) -> str:
    """What is not reproduced, by kind and cause, and last how many runs are of each kind."""
    found: dict[Kind, list[Outcome]] = {kind: [] for kind in Kind}
    for outcome in outcomes:
        found[outcome.kind].append(outcome)
    reproduced = found.pop(Kind.REPRODUCED)
    lines = []
    for kind, group in found.items():
        for other, alike in groupby(sorted(group, key=attrgetter("other")), attrgetter("other")):
            lines.append(f"{kind}, made with other {other}" if other else kind)
            lines += [f"  {o.run}: {o.detail}" if o.detail else f"  {o.run}" for o in alike]
    if found[Kind.DIFFERS]:
        lines.append(RULE)
    if native := sum(outcome.native for outcome in outcomes):
        lines.append(
            f"{native} records were made natively: only the same processor kind need agree"
        )
    if pulled := sum(outcome.pulled for outcome in outcomes):
        lines.append(f"pulled, not made here: {pulled} of the runs")
    others = [f"{len(group)} {kind}" for kind, group in found.items() if group]
    count = f"{len(reproduced)} of {len(outcomes)} records {Kind.REPRODUCED}"
    return "\n".join([*lines, ", ".join([count, *others])])
