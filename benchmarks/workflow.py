"""The workflow: how long a run takes to start, and what Snakemake and DVC cost.

Everything runs in a clone of the last commit, with the tools of this environment.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from ruamel.yaml import YAML

from bop2ndorder.study.config import load_study
from bop2ndorder.study.workflow.processes import available_cores
from bop2ndorder.study.workflow.products import Workflow

from .contestant import HERE

ROOT = HERE.parent
TURNS = 7
# `bop2ndorder train`, ended by the first training step.
FIRST_STEP = """
import os, sys
from bop2ndorder.study.cli import main
from bop2ndorder.study.run.trainer import Trainer

step = Trainer.step
Trainer.step = lambda *arguments: (step(*arguments), os._exit(0))
main(["train", sys.argv[1]])
"""


MAKE_AN_OPTIMIZER = "import torch; torch.optim.SGD([torch.zeros(1)], lr=1.0)"


class Clone:
    """A clone of the last commit and its quick study."""

    def __init__(self, folder: Path):
        self.folder = folder
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        self.study = load_study(folder / "params.yaml", scale="quick")

    def seconds(self, *command: str) -> float:
        """Wall time of a command, which must succeed."""
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.folder / "src"),
            },
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
        return time.perf_counter() - started

    def medians(self, **commands: tuple[str, ...]) -> dict[str, float]:
        """Median seconds of commands that take turns."""
        found: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(TURNS):
            for name, command in commands.items():
                found[name].append(self.seconds(*command))
        return {name: statistics.median(seconds) for name, seconds in found.items()}


@contextmanager
def clone() -> Iterator[Clone]:
    with TemporaryDirectory() as folder:
        yield Clone(Path(folder) / "clone")


def measure_start() -> dict[str, float]:
    """Seconds from the start of a training process to the end of its first step."""
    with clone() as project:
        run = next(
            name for name, run in project.study.runs("quick").items()
            if run.settings.network.name == "binarynet"
        )  # fmt: skip
        project.seconds("snakemake", "prepare_all")
        found = project.medians(
            import_torch=(sys.executable, "-c", "import torch"),
            make_an_optimizer=(sys.executable, "-c", MAKE_AN_OPTIMIZER),
            first_step=(sys.executable, "-c", FIRST_STEP, run),
        )
    click.echo(" ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
    return found


def measure_planning() -> dict[str, float]:
    """Seconds that `snakemake -n` takes for a study of 5,000 runs, of which none is made."""
    with clone() as project:
        yaml = YAML()
        path = project.folder / "params.yaml"
        params = yaml.load(path)
        arms = len(params["experiments"]["cifar10"]["arms"])
        params["scales"]["quick"]["experiments"]["cifar10"]["seeds"] = list(range(5000 // arms))
        yaml.dump(params, path)
        runs = len(load_study(path, scale="quick").runs("quick"))
        found = {"runs": runs, "seconds": project.medians(n=("snakemake", "-n", "-q"))["n"]}
    click.echo(f"snakemake -n, {runs} runs: {found['seconds']:.1f} s")
    return found


def measure_study() -> dict[str, Any]:
    """The quick study from a fresh clone, and what the tools take when nothing is to be done."""
    with clone() as project:
        wall = project.seconds("snakemake")
        project.seconds("dvc", "repro")
        work = Workflow(project.study, "quick")
        jobs = [project.folder / work.log(run).with_suffix(".tsv") for run in work.runs]
        cores = available_cores()
        trained = sum(float(path.read_text().splitlines()[1].split("\t")[0]) for path in jobs)
        found = {
            "runs": len(jobs),
            "cores": cores,
            "snakemake_seconds": wall,
            "train_jobs_seconds": trained,
            "times_train_jobs_over_cores": wall / (trained / cores),
            "no_op_seconds": project.medians(snakemake=("snakemake",), dvc_repro=("dvc", "repro")),
        }
    click.echo(f"quick study: {wall:.0f} s, {found['times_train_jobs_over_cores']:.2f} times "
               f"its train jobs over {cores} cores; no-op {found['no_op_seconds']}")  # fmt: skip
    return found
