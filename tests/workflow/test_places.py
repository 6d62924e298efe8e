"""As many trainings at once as the machine has places: a card for each, or several to a card."""

import os
import re
import subprocess
import sys

import pytest
from cards import CARDS
from studies import ROOT, cut_down, keep, write

from bop2ndorder.study.config import load_study
from bop2ndorder.study.config.document import read_yaml
from bop2ndorder.study.workflow.lease import places


def test_the_train_command_takes_its_gpu_before_torch_is_loaded(machine, hold, tmp_path):
    """A pretended torch shows what CUDA would see, and ends the command."""
    assert hold().gpu() == CARDS[0]
    torch = "import os, sys\nsys.exit('CUDA sees ' + os.environ['CUDA_VISIBLE_DEVICES'])\n"
    (tmp_path / "torch.py").write_text(torch)
    write(cut_down(), tmp_path)
    run = next(iter(load_study(tmp_path / "params.yaml").runs("quick")))
    done = subprocess.run(
        [sys.executable, "-c", "from bop2ndorder.study.cli import main; main()", "train", run],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"},
        cwd=tmp_path, text=True, capture_output=True,
    )  # fmt: skip
    assert done.stderr == f"on GPU {CARDS[1]}\nCUDA sees {CARDS[1]}\n"


SNAKEFILE = """
rule all:
    input: [f"{i}.ended" for i in range(3)]
rule train:
    output: "{i}.ended"
    resources: gpu=1
    shell: "date +%s.%N > {wildcards.i}.started; sleep 1; date +%s.%N > {output}"
"""


def profile_of(tmp_path, **changes):
    """The project's profile, in a folder of its own, with other numbers of these names."""
    text = (ROOT / "profiles" / "default" / "config.yaml").read_text()
    for name, number in changes.items():
        text, count = re.subn(rf"(\b{name}: )\d+", rf"\g<1>{number}", text)
        assert count == 1
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(text)
    return tmp_path / "profile"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cards", "runs_per_gpu", "at_once"), [(0, 1, 3), (1, 1, 1), (2, 1, 2), (1, 2, 2)]
)
def test_snakemake_starts_as_many_runs_as_gpus_have_places(
    machine, tmp_path, cards, runs_per_gpu, at_once
):
    """Without a GPU, as many as cores allow."""
    machine(CARDS[:cards])
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    profile = profile_of(tmp_path, runs_per_gpu=runs_per_gpu)
    command = ["-m", "snakemake", "--workflow-profile", profile, "--cores", "3"]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)
    times = [
        [float((tmp_path / f"{i}.{what}").read_text()) for what in ("started", "ended")]
        for i in range(3)
    ]
    running = [sum(start <= at < end for start, end in times) for at, _ in times]
    assert max(running) == at_once


def test_a_run_of_several_cards_takes_all_their_places():
    assert [places(1, 1), places(1, 4), places(2, 1), places(3, 4)] == [1, 1, 2, 12]


def planned(tmp_path, *options, **settings):
    """What Snakemake plans for the trainings of a study whose runs have two threads."""
    study = keep(cut_down(), "normalization")
    study["scales"]["quick"]["defaults"] |= {"threads": 2, **settings}
    write(study, tmp_path)
    command = ["-m", "snakemake", "-s", ROOT / "Snakefile", "-n", "-p", "--cores", "3", *options]
    text = subprocess.check_output([sys.executable, *command], cwd=tmp_path, text=True)
    jobs = re.split(r"^(?:local)?rule (?=\w+:$)", text, flags=re.M)
    found = [job for job in jobs if job.startswith("train:")]
    assert len(found) == len(load_study(tmp_path / "params.yaml").runs("quick"))
    return found


@pytest.mark.slow
def test_the_profile_says_how_trainings_use_the_machine(machine, tmp_path):
    profile = profile_of(tmp_path, runs_per_gpu=4, checkpoint_seconds=90)
    for job in planned(tmp_path, "--workflow-profile", profile):
        assert " --checkpoint-every 90 --runs-per-gpu 4 " in job
        assert "gpu=1," in job and "threads:" not in job, "a core for each"
    for job in planned(tmp_path, "--workflow-profile", profile, gpus=2):
        assert "gpu=8," in job and "threads: 2" in job, "four places on each of two cards"
    machine([])
    for job in planned(tmp_path, "--workflow-profile", profile):
        assert "gpu=0," in job and "threads: 2" in job


@pytest.mark.slow
def test_a_profile_that_says_nothing_will_do(machine, tmp_path):
    for job in planned(tmp_path, "--workflow-profile", "none"):
        assert " --checkpoint-every 0 --runs-per-gpu 1 " in job
        assert "gpu=1" in job and "threads: 2" in job


def test_the_slurm_profile_repeats_what_the_local_one_says():
    """It takes its place; cores and GPUs are Slurm's affair."""
    local, slurm = (
        read_yaml(ROOT / "profiles" / name / "config.yaml") for name in ("default", "slurm")
    )
    local = {key: value for key, value in local.items() if not key.startswith("__")}
    del local["cores"], local["resources"]
    assert local.items() <= slurm.items()
