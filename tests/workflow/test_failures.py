"""What fails is said and shown, with run and file, and stops nothing else."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from commands import call, sentence, workflow
from project import Project, four_runs
from studies import cut_down, keep, write
from synthetic import write_records

import bop2ndorder
from bop2ndorder.study.run.record import read_record
from bop2ndorder.study.workflow.failures import Failed, missing_runs, noted
from bop2ndorder.study.workflow.failures import sentence as sentence_of
from bop2ndorder.study.workflow.make import salvage
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


# A full disk, file by file


@pytest.mark.parametrize("name", ["history.csv", "run.json", "done.json"])
def test_a_full_disk_is_a_sentence_with_run_and_folder(here, name):
    work, run = workflow(), here
    path = work.run(run) / name
    path.unlink()
    path.symlink_to("/dev/full")
    *_, sentence = call("train", run, fails=True).splitlines()
    assert sentence.startswith(f"Error: train {run}: a file in {work.run(run)} cannot be written")
    assert "No space left on device" in sentence
    assert reason_in(work.note(run)) in sentence
    path.unlink()
    call("train", run)
    assert not work.note(run).exists()
    call("evaluate", run)


def test_a_disk_too_small_for_the_weights(here):
    """A real one, where this user may mount it: checkpoints lie elsewhere and fit."""
    work, run = workflow(), here
    mount = f"mount -t tmpfs -o size=16k none {work.run(run)}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no right to mount")
    train = f"{mount} && exec {Path(sys.executable).with_name('bop2ndorder')} train {run}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", train], capture_output=True, text=True)
    *_, sentence = done.stderr.splitlines()
    assert sentence.startswith(f"Error: train {run}: a file in {work.run(run)} cannot be written")
    assert "No space left on device" in sentence
    assert done.returncode and reason_in(work.note(run)) in sentence


def reason_in(note):
    """The first line."""
    return note.read_text().partition("\n")[0]


def test_a_full_disk_has_no_room_for_a_note_either(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    note = tmp_path / "notes" / "run.txt"
    try:
        with pytest.raises(Failed, match="a file in folder cannot be written.*File too large"):
            with noted(note, Path("folder")):
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
                (tmp_path / "file").write_text("text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not note.exists()


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@pytest.mark.parametrize("number", [*FULL, errno.ENOMEM, errno.EPIPE, errno.EAGAIN])
def test_only_what_a_disk_says_is_taken_for_a_full_one(number):
    text = sentence_of(OSError(number, os.strerror(number)), Path("folder"))
    assert os.strerror(number) in text
    assert ("cannot be written, is the disk full?" in text) == (number in FULL)


# Why a run is missing


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


# What is there is shown


@pytest.fixture
def incomplete(tmp_path, monkeypatch):
    """Results made of all records of four runs, of which one was lost since; its id."""
    monkeypatch.chdir(tmp_path)
    study = keep(cut_down(), "normalization")
    write(study, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "normalization.ipynb").write_text(NOTEBOOK)
    work = workflow()
    write_records(work.study.entries("quick"), work.results)
    call("analyse", "normalization")
    call("notebook", "normalization")
    call("metrics")
    call("claims")
    call("report")
    assert all(map(workflow().is_current, work.products))
    lost = next(iter(work.runs))
    shutil.rmtree(work.record(lost))
    return lost


NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]},
            {"cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]}, "outputs": [],
             "execution_count": None, "source": ["scale, results = '', ''"]},
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)  # fmt: skip


@pytest.mark.slow
def test_what_is_salvaged_counts_as_not_made(incomplete):
    work = workflow()
    lines = list(salvage(work))
    assert lines[0] == f"missing: {incomplete}: not trained yet"
    assert lines[1:] == [f"1 of 4 runs are missing; what is there is in {work.shown('report')}"]
    assert not any(work.key_file(product).exists() for product in work.products)
    page = work.shown("report").read_text()
    assert f">{incomplete}<" in page and "notebook.html" in page
    missing = json.loads(work.shown("analysis-normalization").read_text())["missing"]
    assert missing == [incomplete]
    assert not any(map(work.outdated, work.products)), "not there, rather than outdated"


@pytest.mark.slow
def test_one_reason_is_said_once(incomplete):
    work = workflow()
    work.notebook("normalization").unlink()
    shutil.rmtree(work.results)
    *_, line, count = salvage(work)
    assert line == f"missing: {incomplete} and 3 more: not trained yet"
    assert count.startswith("4 of 4 runs are missing") and work.shown("report").exists()


@pytest.mark.slow
def test_nothing_is_shown_of_what_cannot_be_made(incomplete):
    """A notebook and an analysis that fail, after they once worked."""
    work = workflow()
    source = work.notebook("normalization")
    source.write_text(source.read_text().replace("scale, results", "1 / 0; scale, results"))
    figure = work.results / "normalization" / "convergence.png"
    figure.unlink()
    figure.mkdir()
    lines = list(salvage(work))
    assert lines[0].startswith(f"{work.shown('analysis-normalization')} cannot be made: ")
    assert lines[1].startswith(f"{work.shown('notebook-normalization')} cannot be made: ")
    assert "ZeroDivisionError: division by zero (traceback in " in lines[1] and len(lines) == 4
    assert "1 / 0;" in work.note("notebook-normalization").read_text(), "the cell"
    page = work.shown("report").read_text()
    assert f">{incomplete}<" in page and "Not analysed yet" in page and "notebook.html" not in page


def test_where_all_is_current_nothing_is_made(incomplete):
    work = workflow()
    write_records(work.study.entries("quick"), work.results)
    before = {path: path.stat().st_mtime_ns for path in work.results.rglob("*")}
    assert list(salvage(workflow())) == [
        f"0 of 4 runs are missing; what is there is in {work.shown('report')}"
    ]
    assert {path: path.stat().st_mtime_ns for path in work.results.rglob("*")} == before
