"""Each process gets a GPU of its own: real processes and locks, a pretended nvidia-smi."""

import os
import signal
import subprocess
import sys
import time

import pytest
from studies import ROOT, cut_down, write

from bop2ndorder.study.config import load_study
from bop2ndorder.study.config.document import read_yaml
from bop2ndorder.study.workflow.lease import leased_gpu, visible_gpus

CARDS = ["GPU-aa11", "GPU-bb22", "GPU-bc33"]
HOLD = """
import os, signal, sys
from bop2ndorder.study.workflow.lease import leased_gpu
signal.alarm(30)  # who waits for a word of it does not wait for ever
with leased_gpu() as gpu:
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == gpu
    if os.fork() == 0:  # as a worker that loads data: it must not keep the lock
        os.closerange(0, 3)
        import time; time.sleep(60)
    print(gpu, flush=True)
    sys.stdin.read()
"""
# Marks the GPU as in use, in a way that fails if somebody else has marked it.
USE = """
import os, sys, time
from pathlib import Path
import bop2ndorder.study.workflow.lease
bop2ndorder.study.workflow.lease.INTERVAL = 0.02
for turn in range(3):
    with bop2ndorder.study.workflow.lease.leased_gpu() as gpu:
        mark = Path(gpu)
        mark.touch(exist_ok=False)
        time.sleep(0.05)
        mark.unlink()
    print(gpu)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Put a machine with GPUs in place of this one: machine(UUIDs, those that are parts of one)."""
    monkeypatch.setattr("tempfile.tempdir", None)
    for name, value in {
        "TMPDIR": tmp_path,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": ROOT / "src",
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)

    def equip(cards=CARDS, parts=()):
        lines = []
        for number, uuid in enumerate(cards):
            lines.append(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: {uuid})")
        for number, uuid in enumerate(parts):
            lines.append(f"  MIG 3g.40gb     Device  {number}: (UUID: {uuid})")
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\ncat <<END\n" + "\n".join(lines) + "\nEND\n")
        script.chmod(0o755)

    equip()
    return equip


class Holder:
    """A process that holds a GPU until it is told to end, or killed."""

    def __init__(self, **environment):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            env=environment,
            text=True,
            start_new_session=True,
            **pipes,
        )

    def gpu(self) -> str:
        """What it holds, once it does."""
        return self.process.stdout.readline().strip()

    def says(self) -> str:
        """The next line of its log."""
        return self.process.stderr.readline().strip()


@pytest.fixture
def hold():
    """Start holders; all that they started ends with the test."""
    holders = []

    def start(**environment):
        holders.append(Holder(**environment))
        return holders[-1]

    yield start
    for holder in holders:
        os.killpg(holder.process.pid, signal.SIGKILL)
        holder.process.communicate()


# Which GPUs there are


@pytest.mark.parametrize(
    ("outer", "expected"),
    [
        (None, {card: card for card in CARDS}),
        ("1", {"1": "GPU-bb22"}),
        ("2, 0", {"2": "GPU-bc33", "0": "GPU-aa11"}),
        ("GPU-bb22,0", {"GPU-bb22": "GPU-bb22", "0": "GPU-aa11"}),
        ("GPU-a", {"GPU-a": "GPU-aa11"}),
        ("GPU-b", {}),  # fits two
        ("0,-1,1", {"0": "GPU-aa11"}),  # CUDA reads up to the first that is none
        ("0,3,1", {"0": "GPU-aa11"}),
        ("", {}),
        ("-1", {}),
        ("NoDevFiles", {}),
    ],
)
def test_the_outer_variable_is_read_as_cuda_reads_it(machine, monkeypatch, outer, expected):
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    found = visible_gpus()
    assert found == expected and list(found) == list(expected)


def test_of_a_card_that_is_split_the_parts_are_used(machine, monkeypatch):
    machine(["GPU-aa11", "GPU-bb22"], parts=["MIG-1", "MIG-2"])
    assert list(visible_gpus()) == ["GPU-aa11", "MIG-1", "MIG-2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    assert visible_gpus() == {"MIG-2": "MIG-2"}


def test_without_a_gpu_nothing_happens_and_nothing_is_loaded(machine, tmp_path, monkeypatch):
    code = (
        "import os, sys\nfrom bop2ndorder.study.workflow.lease import leased_gpu\n"
        "with leased_gpu() as gpu: assert gpu is None\n"
        "assert 'CUDA_VISIBLE_DEVICES' not in os.environ\n"
        "assert not {'torch', 'numpy', 'filelock'} & set(sys.modules)"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))  # no nvidia-smi
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no driver is loaded\nexit 9\n")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


# Who gets which


def test_a_killed_holder_frees_its_gpu_for_the_one_that_waits(machine, hold):
    machine(CARDS[:2])
    first, second = hold(), hold()
    assert {first.gpu(), second.gpu()} == set(CARDS[:2])
    gpu = first.says().removeprefix("on GPU ")
    third = hold()
    said = third.says()
    assert said.startswith("waiting for a GPU, held are GPU-aa11 by process ")
    assert {str(first.process.pid), str(second.process.pid)} <= set(said.replace(",", "").split())
    time.sleep(0.7)
    assert third.process.poll() is None
    first.process.send_signal(signal.SIGKILL)
    assert third.gpu() == gpu and third.says() == f"on GPU {gpu}"


def test_the_lock_is_that_of_the_card_whatever_it_is_called(machine, hold):
    """And a process keeps to the cards that it was given, though another is free."""
    assert hold(CUDA_VISIBLE_DEVICES="1").gpu() == "1"
    assert hold(CUDA_VISIBLE_DEVICES="GPU-bb,0").gpu() == "0"
    waiting = hold(CUDA_VISIBLE_DEVICES="1,GPU-aa11")
    assert waiting.says().startswith("waiting for a GPU, held are 1 by process ")
    assert hold().gpu() == "GPU-bc33"


def test_two_never_hold_the_same_gpu_and_all_get_one(machine, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USE], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=60) for process in processes]
    assert not any(process.returncode for process in processes), outputs
    used = [gpu for output, _ in outputs for gpu in output.split()]
    assert len(used) == 24 and set(used) == set(CARDS)
    assert any("waiting" in log for _, log in outputs)


@pytest.mark.parametrize("outer", [None, "0,1"])
def test_under_slurm_nothing_is_touched(machine, monkeypatch, tmp_path, outer):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    if outer:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    with leased_gpu() as gpu:
        assert gpu is None and os.environ.get("CUDA_VISIBLE_DEVICES") == outer
    assert not list(tmp_path.glob("bop2ndorder*"))


@pytest.mark.parametrize("outer", [None, "2,0"])
def test_afterwards_all_is_as_before_also_after_an_error(machine, monkeypatch, outer):
    if outer:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), leased_gpu() as gpu:
            assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == ("2" if outer else CARDS[0])
            raise ZeroDivisionError
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == outer


# The workflow


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


@pytest.mark.slow
@pytest.mark.parametrize(("cards", "at_once"), [(0, 3), (1, 1), (2, 2)])
def test_snakemake_starts_as_many_runs_as_there_are_gpus(machine, tmp_path, cards, at_once):
    """Without a GPU, as many as cores allow."""
    machine(CARDS[:cards])
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    profile = ROOT / "profiles" / "default"
    command = ["-m", "snakemake", "--workflow-profile", profile, "--cores", "3"]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)
    times = [
        [float((tmp_path / f"{i}.{what}").read_text()) for what in ("started", "ended")]
        for i in range(3)
    ]
    running = [sum(start <= at < end for start, end in times) for at, _ in times]
    assert max(running) == at_once


def test_the_slurm_profile_repeats_what_the_local_one_says():
    """It takes its place; cores and GPUs are Slurm's affair."""
    local, slurm = (
        read_yaml(ROOT / "profiles" / name / "config.yaml") for name in ("default", "slurm")
    )
    local = {key: value for key, value in local.items() if not key.startswith("__")}
    del local["cores"], local["resources"]
    assert local.items() <= slurm.items()
