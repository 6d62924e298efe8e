"""The study on a real Slurm, which run.sh has started with two pretended GPUs."""

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from project import Project, four_runs
from studies import write

CLUSTER = Path(os.environ["SLURM_TEST"])
# In a test nobody waits 40 seconds to hear of a job.
SNAKEMAKE = [
    *(sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]


def study() -> dict:
    """Four runs, of which one trains long enough to be cancelled."""
    found = four_runs()
    found["experiments"]["cifar10"]["arms"]["bop"]["set"]["epochs"] = 400
    return found


def job_of(run: str) -> list[str]:
    """Number, partition and account of the Slurm job that trains a run."""
    listing = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %P %a %k"]
    jobs = subprocess.check_output(listing, text=True).splitlines()
    (found,) = [job.split()[:3] for job in jobs if run in job]
    return found


def trained(project: Project) -> dict:
    """What does not depend on the time in the files of all runs."""
    tensors = project.files("runs/quick/*/*.safetensors")
    histories = {}
    for path, content in project.files("runs/quick/*/history.csv").items():
        rows = csv.DictReader(content.decode().splitlines())
        histories[path] = [{**row, "images_per_second": None} for row in rows]
    return tensors | histories


def test_a_cancelled_run_goes_on_and_all_is_as_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_ACCOUNT", "physics")
    project = Project.of_this_project(tmp_path / "study")
    write(study(), project.folder)
    project.commit("code")
    reference = project.copy(tmp_path / "reference")
    assert reference.snakemake("train_all")["train"] == 4
    expected = trained(reference)
    (run,) = (path.split("/")[2] for path in expected if "bop-g" in path and "history" in path)

    log = tmp_path / "snakemake.log"
    with log.open("w") as file:
        workflow = subprocess.Popen(
            SNAKEMAKE, cwd=project.folder, env=project._env(), stdout=file, stderr=file
        )
    try:
        checkpoint = project.folder / "runs" / ".checkpoints" / "quick" / f"{run}.pt"
        while not checkpoint.exists():
            assert workflow.poll() is None and "Error in rule" not in log.read_text()
            time.sleep(0.1)
        number, *chosen = job_of(run)
        assert chosen == ["gpu", "physics"]
        subprocess.run(["scancel", number], check=True)
        workflow.wait(timeout=400)
    finally:
        workflow.terminate()
    text = log.read_text()
    assert workflow.returncode == 0, text

    assert re.search(rf"SLURM-job '{number}' failed, SLURM status is: 'CANCELLED'", text)
    epochs = (project.folder / "runs" / "quick" / run / "train.log").read_text()
    first = re.search(r"^epoch (\d+)/400", epochs, re.MULTILINE)
    assert 1 < int(first[1]) <= 400, "taken up where it was cancelled"
    assert trained(project) == expected
    given = dict(line.split() for line in (CLUSTER / "gpus").read_text().splitlines())
    assert len(given) == 6, "one job prepares, four train, one goes on; all else is made here"
    assert set(given.values()) == {"none", "0", "1"} and list(given.values()).count("none") == 1
    assert project.is_current(), "for the local profile, too"
