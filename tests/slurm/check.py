"""The study on a real Slurm, which run.sh has started with two pretended GPUs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import Project, four_runs
from studies import write

EPOCHS = 400  # of the run that is disturbed: some ten seconds
# In a test nobody waits 40 seconds to hear of a job.
SNAKEMAKE = [
    *(sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Four runs, of which one trains for a while."""
    project = Project.of_this_project(tmp_path_factory.mktemp("slurm") / "study")
    study = four_runs()
    study["experiments"]["cifar10"]["arms"]["bop"]["set"]["epochs"] = EPOCHS
    write(study, project.folder)
    project.keep_every_epoch()
    project.commit("code")
    return project


@pytest.fixture(scope="module")
def reference(project, tmp_path_factory):
    """The same, trained without Slurm and without disturbance."""
    reference = project.copy(tmp_path_factory.mktemp("reference") / "study")
    assert reference.snakemake("train_all")["train"] == 4
    return reference


@pytest.fixture(scope="module")
def run(reference):
    """Id of the run that trains for a while."""
    (folder,) = reference.folder.glob("runs/quick/*-bop-*")
    return folder.name


def trained(project: Project) -> dict:
    """All that training leaves of a result."""
    return project.files("runs/quick/**/*")


def start(project: Project, run: str, *targets: str) -> subprocess.Popen:
    """Start Snakemake, and wait for the first checkpoint of a run."""
    workflow = project.start(*SNAKEMAKE, *targets)
    checkpoint = project.folder / "runs" / ".checkpoints" / "quick" / f"{run}.pt"
    while not checkpoint.exists():
        assert workflow.poll() is None and "Error in rule" not in said(project)
        time.sleep(0.1)
    return workflow


def said(project: Project) -> str:
    """What Snakemake has printed so far."""
    return (project.folder.parent / "study.output").read_text()


def jobs() -> list[list[str]]:
    """Number, partition, account and comment, which names the run, of the jobs at work."""
    listing = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %P %a %k"]
    return [line.split() for line in subprocess.check_output(listing, text=True).splitlines()]


def test_a_cancelled_run_goes_on_and_all_is_as_without_slurm(project, reference, run, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_ACCOUNT", "physics")
    workflow = start(project, run)
    ((number, *chosen, _),) = [job for job in jobs() if run in job[-1]]
    assert chosen == ["gpu", "physics"]
    subprocess.run(["scancel", number], check=True)
    assert workflow.wait(timeout=400) == 0, said(project)

    assert f"SLURM-job '{number}' failed, SLURM status is: 'CANCELLED'" in said(project)
    log = (project.folder / "logs" / "quick" / "train" / f"{run}.log").read_text()
    first = re.search(rf"^epoch (\d+)/{EPOCHS}", log, re.MULTILINE)
    assert int(first[1]) > 1, "taken up where it was cancelled"
    assert trained(project) == trained(reference)
    given = dict(map(str.split, Path(os.environ["GPUS_GIVEN"]).read_text().splitlines()))
    assert len(given) == 6, "one job prepares, four train, one goes on; all else is made here"
    assert set(given.values()) == {"none", "0", "1"} and list(given.values()).count("none") == 1
    assert not project.dvc("repro"), "DVC, with the local profile, finds all made"


def test_ctrl_c_cancels_the_jobs(reference, run, tmp_path):
    project = reference.copy(tmp_path / "study")
    shutil.rmtree(project.folder / "runs" / "quick" / run)
    workflow = start(project, run, "train_all")
    assert len(jobs()) == 1
    workflow.send_signal(signal.SIGINT)
    assert workflow.wait(timeout=60)
    deadline = time.monotonic() + 20
    while jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not jobs() and not project.processes()
