"""Recorded runs, drawn by chance, trained again from nothing and held against their records."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..run.progress import duration
from .failures import Failed
from .processes import CALLER, available_cores, tidy_at_sigterm
from .products import Workflow
from .verify import Kind, Outcome, committed, hold

AT_ONCE = 2  # trainings, at most
INTERVAL = 0.2  # seconds between two looks at them


def retrain(workflow: Workflow, count: int, seed: int | None = None) -> list[Outcome]:
    """Draw recorded runs, prepare their data, train them, and hold them against their records.

    All is made in a temporary folder outside the project, which is gone afterwards, also where
    Ctrl-C or SIGTERM ends it before. Each training is a process of its own, since numerics are
    pinned before torch is loaded. The draw, an estimate and the progress are shown on stderr.

    Args:
        workflow: the study's scale.
        count: how many runs; all, where fewer are recorded.
        seed: of the draw; by default the clock's.

    Raises:
        ValueError: no record is committed.
        Failed: data cannot be prepared; says why.
    """
    against = committed(workflow)
    if not against.records:
        raise ValueError(f"no record of scale {workflow.scale} is committed: nothing to compare")
    seed = int(time.time()) if seed is None else seed
    recorded = sorted(against.records)
    drawn = random.Random(seed).sample(recorded, min(count, len(recorded)))
    planned = {run: workflow.runs[run] for run in drawn}
    threads = max(run.settings.threads for run in planned.values())
    at_once = max(1, min(AT_ONCE, available_cores() // threads))
    records = [record for run in drawn if (record := against.records[run])]
    seconds = sum(record.provenance["train_seconds"] or 0 for record in records) / at_once
    _say(
        f"{len(drawn)} of {len(recorded)} recorded runs, drawn with --seed {seed}: by the times in "
        f"the records about {duration(seconds)} of training, {at_once} at a time"
    )
    command = [sys.executable, "-m", "bop2ndorder", "--params", workflow.params]
    outcomes: list[Outcome] = []
    tidy_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="bop2ndorder-") as folder, _running() as running:
        scratch = Path(folder)
        here = replace(workflow, work=scratch)
        command += ["--scale", workflow.scale, "--work", str(scratch)]
        data = dict.fromkeys(run.data for run in planned.values())
        for ended in _call([*command, "prepare"], data, 1, scratch, running):
            for name, failed in ended.items():
                if failed:
                    raise Failed(_failure(scratch, name, workflow.retrain_note(name)))
                _say(f"{name}: prepared")
        epochs = sum(run.settings.length(here.images(run))[0] for run in planned.values())
        with tqdm(total=epochs, unit="epoch", disable=not sys.stderr.isatty()) as bar:
            for ended in _call([*command, "train"], drawn, at_once, scratch, running):
                bar.update(_epochs(scratch) - bar.n)
                for run, failed in ended.items():
                    if failed:
                        why = _failure(scratch, run, workflow.retrain_note(run))
                        outcomes.append(Outcome(run, Kind.FAILED, detail=why))
                    else:
                        outcomes.append(hold(here, run, against))
                    if bar.disable:
                        _say(f"{len(outcomes)}/{len(drawn)} {run}: {outcomes[-1].kind}")
    return outcomes


def _call(
    command: list[str],
    arguments: Iterable[str],
    at_once: int,
    scratch: Path,
    running: dict[str, subprocess.Popen],
) -> Iterator[dict[str, bool]]:
    """Call a command with each argument, so many at once.

    Yields:
        now and then, those that have ended: argument -> whether it failed.
    """
    waiting = list(arguments)
    variables = {**os.environ, CALLER: str(os.getpid())}
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop(0)
            with _log(scratch, name).open("w") as log:
                running[name] = subprocess.Popen(
                    [*command, name], env=variables, stdout=log, stderr=log
                )
        time.sleep(INTERVAL)
        codes = {name: process.poll() for name, process in running.items()}
        ended = {name: code for name, code in codes.items() if code is not None}
        for name in ended:
            del running[name]
        yield {name: code != 0 for name, code in ended.items()}


def _log(scratch: Path, name: str) -> Path:
    return scratch / f"{name}.log"


def _failure(scratch: Path, name: str, kept: Path) -> str:
    """The last that a process said; the note that it may name, with the traceback, is kept."""
    lines = _log(scratch, name).read_text(encoding="utf-8").splitlines()
    said = lines[-1] if lines else f"{name}: ended without a word"
    for note in (scratch / "logs").rglob("*.txt"):
        if str(note) in said:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(note, kept)
            said = said.replace(str(note), str(kept))
    return said.replace(f"{scratch}/", "")


def _epochs(scratch: Path) -> int:
    """How many the trainings have logged; see progress.py."""
    logs = scratch.glob("*.log")
    return sum(log.read_text(encoding="utf-8").count("\nepoch ") for log in logs)


@contextmanager
def _running() -> Iterator[dict[str, subprocess.Popen]]:
    """Processes by name; those that are left at the end of the block are killed."""
    processes: dict[str, subprocess.Popen] = {}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
