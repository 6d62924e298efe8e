"""Whatever is killed: the next call goes on, the result is the same, nothing is left running.

`make stress` kills thirty times at random moments, `make test` at chosen ones.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from project import Project
from studies import ROOT, cut_down, keep, write

from bop2ndorder.study.workflow.processes import CALLER

EPOCHS = 40
LIFE = 8.0  # seconds, about those of a training from start to end
PROCESSES = ROOT / "src/bop2ndorder/study/workflow/processes.py"
OUTLIVED = []  # seconds that processes went on after the command had ended
TERM, KILL = signal.SIGTERM, signal.SIGKILL
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project with one run of some seconds, its data prepared."""
    project = Project.of_this_project(tmp_path_factory.mktemp("survive") / "a study")
    study = keep(cut_down(), "normalization")
    study["experiments"]["normalization"]["grid"] = {"network.norm": ["batch"]}
    sizes = study["scales"]["quick"]["experiments"]["normalization"]["set"]
    sizes["epochs"] = EPOCHS
    sizes["network"] = {"width": 48, "dense": 256}  # so that a checkpoint takes a moment to write
    write(study, project.folder)
    project.keep_every_epoch()
    project.commit("code")
    project.snakemake("prepare_all")
    return project


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    """What the run leaves when nothing disturbs it."""
    project = prepared.copy(tmp_path_factory.mktemp("undisturbed") / "a study")
    project.snakemake("train_all")
    return result(project)


@pytest.fixture
def project(prepared, tmp_path):
    return prepared.copy(tmp_path / "a study")


def result(project):
    """All files of the one run; None if not finished."""
    found = {path.name: path for path in project.folder.glob("runs/quick/*/*")}
    if "done.json" not in found:
        return None
    return {name: path.read_bytes() for name, path in found.items()}


def wait(condition, seconds=60.0, step=0.005):
    """Wait until a condition holds; what it says at last."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(step)
    return found


def training(project, command):
    """The process that trains; None if the command ends without one."""

    def search():
        found = [p for p in project.processes() if "train" in p.cmdline()]
        return found or (command.poll() is not None and [None])

    return wait(search, step=0.05)[0]


# Moments of a training, as functions of the project that say whether it has come.


def before_the_first_checkpoint(project):
    begun = any(log.stat().st_size for log in project.folder.glob("logs/quick/train/*.log"))
    return begun and not any(project.folder.glob("runs/.checkpoints/quick/*"))


def after_a_checkpoint(project):
    return any(project.folder.glob("runs/.checkpoints/quick/*.pt"))


def while_a_checkpoint_is_written(project):
    return any(project.folder.glob("runs/.checkpoints/quick/*.partial"))


def when_all_is_written(project):
    """Before Snakemake has noticed."""
    return any(project.folder.glob("runs/quick/*/done.json"))


def at(seconds):
    """The moment so long after it was asked for first."""
    end = []
    return lambda _: (end or end.append(time.monotonic() + seconds)) and time.monotonic() > end[0]


def interrupt(project, moment, target, number, call=("snakemake", "train_all")):
    """Start a command, send a signal at a moment of the training, see that nothing remains.

    Args:
        project: where.
        moment: one of the functions above.
        target: "training" (its process alone), "command" (that alone) or "group" (all processes).
        number: the signal.
        call: the command.

    Returns:
        whether the moment came before the training had ended.
    """
    command = project.start(*call)
    process = training(project, command)
    while process and process.is_running() and not moment(project):
        time.sleep(0.0002)
    with suppress(psutil.NoSuchProcess):
        if target == "training":
            process and process.send_signal(number)
        elif target == "command":
            command.send_signal(number)
        else:
            os.killpg(command.pid, number)
    status = command.wait(timeout=100)  # when a training is killed, the report is made
    ended = time.monotonic()
    assert wait(lambda: not project.processes(), seconds=10), "nothing is left running"
    OUTLIVED.append(time.monotonic() - ended)
    return status != 0


# Resuming


KILLS = [
    (before_the_first_checkpoint, "group", KILL),
    (after_a_checkpoint, "training", TERM),
    (while_a_checkpoint_is_written, "group", TERM),
    (when_all_is_written, "group", KILL),
]


def test_a_run_killed_four_times_ends_as_if_nothing_had_happened(project, uninterrupted):
    for moment, target, number in KILLS:
        assert interrupt(project, moment, target, number), moment
    (log,) = project.folder.glob("logs/quick/train/*.log")
    assert "epoch 1/" not in log.read_text(), "it went on from a checkpoint"
    assert f"epoch {EPOCHS}/{EPOCHS}" in log.read_text()
    assert not project.snakemake("train_all"), "what is written is done"
    assert result(project) == uninterrupted


@pytest.mark.stress
def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_happened(project, uninterrupted):
    seed = int(os.environ.get("SEED", time.time()))
    print(f"\nSEED={seed}")
    chance, counts = random.Random(seed), Counter()
    while counts["kills"] < 30:
        moment = chance.choice([while_a_checkpoint_is_written, at(chance.uniform(0, LIFE))])
        target, number = chance.choice(["training", "group"]), chance.choice([TERM, KILL])
        stopped = interrupt(project, moment, target, number)
        partial = while_a_checkpoint_is_written(project)
        taken_up = after_a_checkpoint(project)
        counts.update(
            {
                "kills": stopped,
                f"{number.name} to the {target}": stopped,
                "within the writing of a checkpoint": stopped and partial,
                "before the first checkpoint": stopped and not taken_up,
            }
        )
        if found := result(project):
            assert found == uninterrupted
            counts["finished in between, and begun anew"] += 1
            shutil.rmtree(project.folder / "runs" / "quick")
    project.snakemake("train_all")
    assert result(project) == uninterrupted
    print(*(f"{count:3} {what}" for what, count in counts.items()), sep="\n")
    print(f"{max(OUTLIVED):.1f} s at most until nothing ran after the command had ended")


# Nothing is left running, no lock stays


def test_commands_that_are_killed_leave_no_process_and_no_lock(project, uninterrupted):
    """Each call finds what the killed one before it has left."""
    snakemake, dvc = ("snakemake", "train_all"), ("dvc", "repro", "train")
    for call, target, number in (
        (snakemake, "command", TERM),
        (snakemake, "command", KILL),
        (dvc, "command", TERM),
        (dvc, "command", KILL),
        (dvc, "group", signal.SIGINT),
    ):
        assert interrupt(project, after_a_checkpoint, target, number, call), (call, number)
        assert result(project) is None, "nobody waited for the training to end"
    project.dvc("repro", "train")
    assert result(project) == uninterrupted


def test_of_two_makes_one_works_and_the_other_says_so(project):
    environment = project.folder / ".venv"  # as if set up
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.executable).parent)
    (environment / ".ready").touch()
    first = project.start("make")
    process = training(project, first)
    sentence, *end = project.call("make", fails=True).splitlines()
    assert re.fullmatch(
        rf"Another make is at work in {project.folder}, process (\d+): "
        r"wait until it has ended, or end it with `kill \1`\.",
        sentence,
    )
    assert len(end) == 1 and end[0].startswith("make: ***")
    *_, sentence = project.call("snakemake", fails=True).splitlines()
    assert f"Another snakemake is at work in {project.folder}, process " in sentence
    assert process.is_running()
    first.terminate()
    assert first.wait(timeout=60)
    assert wait(lambda: not project.processes(), seconds=10), "nothing is left running"
    project.call(sys.executable, str(PROCESSES), "true")  # what make calls: it is given up


def ends(caller):
    """How a process ends that was told of a caller and would run for three looks at it."""
    code = "import time; from bop2ndorder.study.workflow import processes as p; "
    code += "p.end_with_caller(); time.sleep(3 * p.INTERVAL)"
    environment = {**os.environ, CALLER: str(caller), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "-c", code], env=environment).returncode


def test_a_process_lives_as_long_as_its_caller():
    caller = subprocess.Popen(["true"])
    caller.wait()
    assert ends(caller.pid) == -TERM, "it had ended before the process looked"
    assert ends(os.getpid()) == 0
