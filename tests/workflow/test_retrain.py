"""Recorded runs trained again elsewhere by `verify --retrain`, and work that goes elsewhere."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from commands import call, commit, workflow
from studies import read, write
from verified import ALL_SAME, change, record, verified

from bop2ndorder.study.workflow.failures import missing_runs


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made, here and in processes."""
    folder = tmp_path / "temporary folders"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def files():
    return {path: path.stat().st_mtime_ns for path in Path().rglob("*") if ".git" not in path.parts}


@pytest.mark.slow
def test_recorded_runs_trained_again_elsewhere_are_the_same_until_a_digit_is_altered(runs, scratch):
    for folder in ("data", "runs"):
        shutil.rmtree(folder)
    before = files()
    text = verified("--retrain", 2, "--seed", 7)
    assert "2 of 2 recorded runs, drawn with --seed 7: by the times in the records about" in text
    assert sum(f"/2 {run}: reproduced bit for bit" in text for run in runs) == 2
    assert text.endswith(f"{ALL_SAME}\n")
    change(record(runs[0], "metrics.json"), val_loss=1.0)
    commit("another loss")
    after = files()
    assert after.keys() == before.keys(), "nothing is left in the project"
    text = verified("--retrain", 9, "--seed", 7, code=1)
    assert f"not reproduced\n  {runs[0]}: top-1 +0.00 points; metrics.val_loss\n" in text
    assert "1 of 2 records reproduced bit for bit, 1 not reproduced" in text
    assert not [*scratch.iterdir()] and files() == after


@pytest.mark.slow
def test_the_same_seed_draws_the_same_run(runs, scratch):
    def drawn(*arguments):
        return re.search(r"--seed (\d+)(?:.*\n)+1/1 (\S+):", verified("--retrain", 1, *arguments))

    seed, run = drawn().groups()
    assert abs(int(seed) - time.time()) < 600
    assert drawn("--seed", seed).groups() == (seed, run)


@pytest.mark.slow
def test_a_training_that_fails_is_named_with_its_reason(runs, scratch):
    """A run that diverges, of which somebody has committed a record."""
    study = read(Path())
    study["experiments"]["normalization"]["grid"] = {"network.norm": ["batch"]}
    study["experiments"]["normalization"]["set"]["lr"] = 1e38
    write(study, Path())
    [run] = workflow().runs
    shutil.copytree(record(runs[0], ""), record(run, ""))
    change(record(run), run=run)
    commit("too good to be true")
    text = verified("--retrain", 1, code=1)
    assert f"  {run}: Error: train {run}: the training loss of epoch 1 is nan" in text
    note = workflow().retrain_note(run)
    assert f" (traceback in {note})" in text and "Traceback" in note.read_text()
    assert [path for path in Path("logs").rglob("*") if path.is_file()] == [note]
    shutil.rmtree(record(run, ""))
    [missing] = missing_runs(workflow())
    assert missing["reason"] == "not trained yet", "here it was not tried"


@pytest.mark.slow
def test_data_that_cannot_be_prepared_elsewhere_are_no_failure_of_runs_here(runs, scratch):
    """A data set whose folder is gone, of runs that have their records."""
    study = read(Path())
    quick = study["scales"]["quick"]["experiments"]["normalization"]
    study["data"]["mine"] = {"source": "cifar10", "image_size": 16, "validation": 2}
    study["local"] = {"cifar10": "gone"}
    quick["set"] |= {"data": "mine"}
    write(study, Path())
    planned = workflow().runs
    for old, new in zip(runs, planned, strict=True):
        shutil.copytree(record(old, ""), record(new, ""))
        change(record(new), run=new)
    commit("before the folder was gone")
    [data] = {run.data for run in planned.values()}
    note = workflow().retrain_note(data)
    assert f" (traceback in {note})" in verified("--retrain", 1, code=1)
    assert "Traceback" in note.read_text()
    shutil.rmtree(workflow().record(""))
    assert {run["reason"] for run in missing_runs(workflow())} == {"not trained yet"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["data/quick", "runs/.checkpoints/quick"])
def test_interrupted_it_leaves_no_folder_and_no_process(runs, scratch, number, moment):
    """The moment is known by a folder that stays, once it is made."""
    command = [sys.executable, "-m", "bop2ndorder", "verify", "--retrain", "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not (found := [*scratch.glob(f"*/{moment}")]) and process.poll() is None:
        time.sleep(0.01)
    assert found
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(10) != 0
    assert not [*scratch.iterdir()]
    assert not psutil.wait_procs(children, 5)[1]


def test_work_says_where_data_runs_and_logs_go(runs, tmp_path):
    before = files()
    work = Path("..", "elsewhere")
    for command in (["prepare", workflow().runs[runs[0]].data], ["train", runs[0]]):
        call("--work", work, *command)
    assert files().keys() == before.keys()
    assert {path.name for path in work.iterdir()} == {"data", "runs"}
    weights = workflow().run(runs[0]) / "weights.safetensors"
    assert (work / weights).read_bytes() == weights.read_bytes()
    (work / "runs" / "quick" / "unnamed").mkdir()
    assert len(call("--work", work, "shelve").splitlines()) == 1
    assert (work / ".stale" / "runs" / "quick" / "unnamed").is_dir()
    assert files().keys() == before.keys()
