"""The commands of bop2ndorder, called on a study in the current folder."""

import json
import subprocess

import pytest
from click.testing import CliRunner
from studies import cut_down, keep, write

from bop2ndorder.study.cli import main
from bop2ndorder.study.config import load_study
from bop2ndorder.study.workflow.products import Workflow

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]


def call(*arguments, fails=False):
    """What a command prints; an unexpected end shows its whole traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if (result.exit_code != 0) != fails:
        raise AssertionError(result.output) from result.exception
    return result.output


def workflow(scale="quick"):
    """The study in the current folder."""
    return Workflow(load_study(), scale)


def prepare_and_train(scale="quick"):
    """Every run of a scale through the commands that Snakemake calls; the metrics of each."""
    work = workflow(scale)
    for data in {run.data for run in work.runs.values()}:
        call("--scale", scale, "prepare", data)
    for run in work.runs:
        call("--scale", scale, "train", run)
    call("--scale", scale, "evaluate", *work.runs)
    return {run: json.loads((work.record(run) / "metrics.json").read_text()) for run in work.runs}


def commit(message):
    for command in (["init", "-q"], ["add", "results"], ["commit", "-q", "-m", message]):
        subprocess.run([*GIT, *command], check=True)


def sentence(*arguments):
    """The error of a command that must fail, which must be the one line after the progress."""
    *progress, last = call(*arguments, fails=True).splitlines()
    assert last.startswith("Error: ") and all(line.endswith(" epochs") for line in progress)
    return last


def trained_study(folder, norms):
    """Train, record and commit a run for each normalization in a folder; the folder."""
    study = keep(cut_down(), "normalization")
    study["experiments"]["normalization"]["grid"] = {"network.norm": norms}
    write(study, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare_and_train()
        commit("first")
    return folder
