"""What fails is said and shown, with run and file, and stops nothing else."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from commands import call, sentence, workflow
from project import Project, four_runs
from studies import write

import bop2ndorder
from bop2ndorder.study.run.record import read_record
from bop2ndorder.study.workflow import failures
from bop2ndorder.study.workflow.failures import Failed, missing_runs, noted
from bop2ndorder.study.workflow.products import Workflow

LARGEST_FILE = 4000  # KiB: for all but the checkpoint of the large network


# A study in which all goes wrong that can


def failing_study():
    """Three runs that work and four that fail, in two experiments; one is in both."""
    study = four_runs()
    cifar10 = study["experiments"]["cifar10"]
    cifar10["arms"]["bop"]["seeds"] = [0, 1]
    cifar10["arms"]["adam"]["set"]["lr"] = 1.0e38
    cifar10["arms"]["large"] = {"set": {"network": {"width": 128, "dense": 1024}}, "seeds": [0]}
    cifar10["arms"]["unreadable"] = {"set": {"lr": 0.011}, "seeds": [0]}
    arms = study["scales"]["quick"]["experiments"]["cifar10"].setdefault("arms", {})
    arms["unreadable"] = {"set": {"data": "digits64"}}
    return study


@pytest.mark.slow
def test_runs_that_fail_are_named_and_stop_nothing_else(tmp_path):
    project = Project.of_this_project(tmp_path / "a study")
    project.keep_every_epoch()
    study = failing_study()
    write(study, project.folder)
    project.snakemake("prepare_all")
    (images,) = project.folder.glob("data/quick/digits64-*/train_images.npy")
    images.unlink()
    images.symlink_to(images.name)  # unreadable for the superuser, too
    planned = json.loads(project.call("python", "-c", RUNS))
    failing = {
        "adam": "the training loss of epoch 1 is nan: the run has diverged",
        "large": ".pt cannot be written, is the disk full?",
        "unreadable": "train_images.npy is missing or damaged",
    }
    reasons = {run: failing[arm] for run, arm in planned.items() if arm in failing}
    damaged = next(run for run, arm in planned.items() if arm == "bop" and "seed1" in run)
    reasons[damaged] = f"{damaged}.pt is damaged"
    checkpoint = project.folder / "runs" / ".checkpoints" / "quick" / f"{damaged}.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"half a checkpoint")
    assert (len(planned), len(reasons)) == (7, 4)

    text = project.call("bash", "-c", f"ulimit -f {LARGEST_FILE}; exec snakemake", fails=True)
    assert "Traceback" not in text
    assert f"{len(reasons)} of {len(planned)} runs are missing" in text
    for run in planned:
        record = project.folder / "results" / "quick" / "runs" / run / "metrics.json"
        assert record.exists() == (run not in reasons), run
    page = (project.folder / "results" / "quick" / "report.html").read_text()
    section = page[page.index('<h2 id="missing">') : page.index('<h2 id="provenance">')]
    for run, reason in reasons.items():
        (line,) = (line for line in text.splitlines() if f"Error: train {run}: " in line)
        assert line.endswith(f" (traceback in logs/quick/failed/{run}.txt)"), "Snakemake shows it"
        (row,) = (row for row in section.split("<tr>") if f">{run}<" in row)
        assert reason in row and reason in text
    assert section.count("<tr>") == 1 + len(reasons)
    assert page.count(">notebook</a>") == 2
    shown = (project.folder / "results" / "quick" / "cifar10" / "table.md").read_text()
    assert "| 1 of 2 |" in shown and "| 0 of 1 |" in shown and "4 of 6 runs missing" in shown
    metrics = json.loads((project.folder / "results" / "quick" / "metrics.json").read_text())
    assert metrics["study"]["records"] == len(planned) - len(reasons)

    # Mended: two by what the sentences say, two by other settings.
    checkpoint.unlink()
    for arm in ("adam", "unreadable"):
        study["experiments"]["cifar10"]["arms"].pop(arm)
    del study["scales"]["quick"]["experiments"]["cifar10"]["arms"]
    write(study, project.folder)
    made = project.snakemake()
    assert (made["train"], made["analyse"], made["notebook"], made["page"]) == (2, 1, 1, 1)
    assert not project.snakemake("-n")
    page = (project.folder / "results" / "quick" / "report.html").read_text()
    assert 'id="missing"' not in page and "runs missing" not in page


RUNS = """
import json
from bop2ndorder.study.config import load_study
print(json.dumps({entry.run.id: entry.arm for entry in load_study().entries("quick")}))
"""


# A mistake in the code


def test_who_breaks_a_network_sees_a_sentence_and_in_the_log_the_traceback(here, tmp_path):
    """A hidden layer a unit too narrow, in a copy of the package, by the real command."""
    source = Path(bop2ndorder.__file__).parent
    shutil.copytree(source, tmp_path / "src" / "bop2ndorder")
    network = tmp_path / "src" / "bop2ndorder" / "networks" / "binarynet.py"
    text = network.read_text()
    broken = text.replace("BinaryLinear(dense, dense,", "BinaryLinear(dense + 1, dense,")
    assert broken != text
    network.write_text(broken)
    # Other code, other ids.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    python = partial(subprocess.run, env=environment, capture_output=True, text=True)
    run = json.loads(python([sys.executable, "-c", RUNS]).stdout).popitem()[0]
    done = python([sys.executable, "-m", "bop2ndorder", "train", run])
    assert run != here and done.returncode == 1
    note = workflow().note(run)
    *progress, sentence = done.stderr.splitlines()
    assert sentence.startswith(f"Error: train {run}: mat1 and mat2 shapes cannot be multiplied")
    assert sentence.endswith(f" (traceback in {note})")
    assert len(progress) == 1 and progress[0].endswith(" epochs")
    first, _, *lines = note.read_text().splitlines()
    assert f"{first} (" in sentence and lines[0] == "Traceback (most recent call last):"
    (line,) = (i for i, t in enumerate(broken.splitlines(), 1) if "self.dense2(" in t)
    assert any(text.strip().startswith(f'File "{network}", line {line}, ') for text in lines)


@pytest.mark.parametrize("command", [["plan"], ["analyse", "normalization"], ["metrics"]])
def test_every_command_says_what_failed_and_where_the_traceback_is(here, monkeypatch, command):
    def fail(*_, **__):
        raise TypeError("a bug\nof two lines\n")

    monkeypatch.setattr(Workflow, "runs", property(fail))
    text = sentence(*command)
    log = Path("logs", "failed", f"{'-'.join(command)}.txt")
    said = f"Error: {' '.join(command)}: TypeError: a bug ... of two lines"
    assert text == f"{said} (traceback in {log})"
    assert f'File "{__file__}"' in log.read_text() and "in fail" in log.read_text()


# Why a run is missing


def test_what_is_a_sentence_already_is_said_as_it_is():
    """As by a rank that lacks a package: its message passes here twice."""
    assert failures.sentence(Failed("--tensorboard needs a package more"), None) == (
        "--tensorboard needs a package more"
    )
    assert failures.sentence(KeyError("a bug"), None) == "KeyError: 'a bug'"


def test_the_reason_is_the_last_that_is_known(here):
    work, run = workflow(), here
    assert missing_runs(work) == []
    (work.record(run) / "history.csv").unlink()

    def reason():
        ((found),) = missing_runs(work)
        assert (found["run"], found["experiment"], found["seed"]) == (run, "normalization", "0")
        return found["reason"]

    assert reason().startswith(f"a file in {work.record(run)} is damaged")
    shutil.rmtree(work.record(run))
    assert reason() == "trained, but not evaluated yet"
    (work.run(run) / "done.json").unlink()
    work.log(run).parent.mkdir(parents=True)
    work.log(run).touch()
    assert reason() == "not trained yet", "a training that ended, whose run was removed"
    work.origin(run).unlink()
    assert "is at work, or was stopped" in reason() and reason().endswith(f"see {work.log(run)}")
    work.log(run).unlink()
    assert reason() == "not trained yet"
    data = work.runs[run].data
    for name, expected in ((data, f"its data set {data}: a reason"), (run, "a reason")):
        with pytest.raises(Failed), noted(work.note(name), work.data(data)):
            raise ValueError("a reason")
        assert reason() == expected
    with pytest.raises(Failed), noted(work.note(run), work.run(run)):
        raise KeyError("a bug")
    assert reason() == "KeyError: 'a bug'"
    work.note(run).write_text("")  # a kill between opening and writing
    assert reason() == f"its data set {data}: a reason"
    with noted(work.note(run), work.run(run)):
        pass
    assert reason() == f"its data set {data}: a reason", "an attempt that works ends the note"


# Records


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "provenance.json"])
@pytest.mark.parametrize("damage", [None, "", "<<<<<<< HEAD\n{}\n", "half"])
def test_a_damaged_record_is_no_record_and_is_made_again(here, name, damage):
    path = workflow().record(here) / name
    content = path.read_text()
    path.unlink()
    if damage is not None:
        path.write_text(content[: len(content) // 2] if damage == "half" else damage)
    assert read_record(path.parent) is None and not workflow().recorded(here)
    assert workflow().unrecorded(here) or name == "metrics.json" and damage is None
    call("evaluate", here)
    assert read_record(path.parent) is not None and not workflow().unrecorded(here)
    assert path.read_text() == content or name != "metrics.json"
