"""Processes share out the GPUs of a machine: real processes and locks, a pretended nvidia-smi."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from studies import ROOT, cut_down, keep, write

from bop2ndorder.study.config import load_study
from bop2ndorder.study.config.document import read_yaml
from bop2ndorder.study.workflow import lease
from bop2ndorder.study.workflow.lease import UNLISTED, leased_gpus, places, visible_gpus

CARDS = ["GPU-aa11", "GPU-bb22", "GPU-bc33"]
HOLD = """
import os, signal, sys
from bop2ndorder.study.workflow.lease import leased_gpus
signal.alarm(30)  # who waits for a word of it does not wait for ever
with leased_gpus(*map(int, sys.argv[1:])) as gpus:
    gpu = ",".join(gpus)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == gpu
    if os.fork() == 0:  # as a worker that loads data: it must not keep the lock
        os.closerange(0, 3)
        import time; time.sleep(60)
    print(gpu, flush=True)
    sys.stdin.read()
"""
# Marks its GPUs as in use, each time it has some, and fails where more are at work than may be.
USE = """
import os, sys, time
from pathlib import Path
import bop2ndorder.study.workflow.lease as lease
lease.INTERVAL = 0.02
count, runs_per_gpu = map(int, sys.argv[1:])
for turn in range(3):
    with lease.leased_gpus(count, runs_per_gpu) as gpus:
        assert len(set(gpus)) == count
        marks = [Path(f"{gpu}-{os.getpid()}") for gpu in gpus]
        for mark in marks:
            mark.touch(exist_ok=False)
        time.sleep(0.05)
        for gpu in gpus:
            assert len(list(Path().glob(f"{gpu}-*"))) <= (1 if count > 1 else runs_per_gpu)
        for mark in marks:
            mark.unlink()
    print(*gpus)
"""
# Three processes take a place each in the same moment, a hundred times; each time their cards.
AT_ONCE = """
from multiprocessing import get_context
from bop2ndorder.study.workflow.lease import leased_gpus
fork = get_context("fork")
barrier, cards = fork.Barrier(4), fork.SimpleQueue()
def work():
    for turn in range(100):
        barrier.wait()
        with leased_gpus(1, 4) as gpus:
            cards.put(gpus[0])
            barrier.wait()
workers = [fork.Process(target=work, daemon=True) for _ in range(3)]
for worker in workers:
    worker.start()
for turn in range(100):
    barrier.wait(20)
    print(*sorted(cards.get() for _ in workers))
    barrier.wait(20)
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
    """A process that holds GPUs until it is told to end, or killed."""

    def __init__(self, *arguments, **environment):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *map(str, arguments)],
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

    def end(self):
        """Kill it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def hold():
    """Start holders; all that they started ends with the test."""
    holders = []

    def start(*arguments, **environment):
        holders.append(Holder(*arguments, **environment))
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
        "import os, sys\nfrom bop2ndorder.study.workflow.lease import leased_gpus\n"
        "with leased_gpus(2, 3) as gpus: assert gpus == []\n"
        "assert 'CUDA_VISIBLE_DEVICES' not in os.environ\n"
        "assert not {'torch', 'numpy', 'filelock'} & set(sys.modules)"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))  # no nvidia-smi
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no driver is loaded\nexit 9\n")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize(
    ("lists", "device", "outer", "said"),
    [
        (None, True, None, True),
        ([], True, None, True),
        (None, True, "0", True),
        (None, False, None, False),
        (None, True, "", False),  # none is to be used
        (None, True, "-1", False),
        (CARDS, True, None, False),
    ],
)
def test_a_gpu_that_nvidia_smi_does_not_list_is_spoken_of(
    machine, monkeypatch, tmp_path, capfd, lists, device, outer, said
):
    machine(lists or [])
    if lists is None:
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    if device:
        (tmp_path / "nvidia1").touch()
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    monkeypatch.setattr(lease, "DEVICES", str(tmp_path / "nvidia[0-9]*"))
    assert list(visible_gpus()) == (lists or [])
    assert capfd.readouterr().err == (f"{UNLISTED}\n" if said else "")


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
    first.end()
    assert third.gpu() == gpu and third.says() == f"on GPU {gpu}"


def test_the_lock_is_that_of_the_card_whatever_it_is_called(machine, hold):
    """And a process keeps to the cards that it was given, though another is free."""
    assert hold(CUDA_VISIBLE_DEVICES="1").gpu() == "1"
    assert hold(CUDA_VISIBLE_DEVICES="GPU-bb,0").gpu() == "0"
    waiting = hold(CUDA_VISIBLE_DEVICES="1,GPU-aa11")
    assert waiting.says().startswith("waiting for a GPU, held are 1 by process ")
    assert hold().gpu() == "GPU-bc33"


@pytest.mark.parametrize(
    ("counts", "runs_per_gpu"), [([1] * 8, 1), ([1] * 12, 2), ([1, 2, 1, 2, 1, 2, 3, 1], 2)]
)
def test_all_get_their_gpus_and_no_more_share_one_than_may(machine, tmp_path, counts, runs_per_gpu):
    """Who takes several has them to itself, and two that do never wait for each other."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USE, str(count), str(runs_per_gpu)], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for count in counts
    ]  # fmt: skip
    outputs = [process.communicate(timeout=60) for process in processes]
    assert not any(process.returncode for process in processes), outputs
    used = [gpu for output, _ in outputs for gpu in output.split()]
    assert len(used) == 3 * sum(counts) and set(used) == set(CARDS)


def test_the_emptiest_card_is_shared_first(machine, hold):
    machine(CARDS[:2])
    holders = [hold(1, 2) for _ in range(4)]
    cards = [holder.gpu() for holder in holders]
    assert sorted(cards) == ["GPU-aa11", "GPU-aa11", "GPU-bb22", "GPU-bb22"]
    waiting = hold(1, 2)
    said = waiting.says()
    for holder, card in zip(holders, cards, strict=True):
        assert f"{card} by process {holder.process.pid}" in said
    # One place is free on the first card, and taken; then two on the second, and one on the first.
    ended = cards.index("GPU-aa11")
    holders[ended].end()
    assert waiting.gpu() == "GPU-aa11"
    waiting.end()
    for holder, card in zip(holders, cards, strict=True):
        if card == "GPU-bb22":
            holder.end()
    assert hold(1, 2).gpu() == "GPU-bb22"


def test_they_spread_before_they_share_also_at_the_same_moment(machine):
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True)
    turns = [line.split() for line in done.stdout.splitlines()]
    assert turns == [sorted(CARDS)] * 100, done.stderr
    assert "waiting" not in done.stderr


def test_a_run_of_several_cards_takes_whole_ones_or_holds_none(machine, hold):
    one = hold(1, 2)
    assert one.gpu() == "GPU-aa11"
    two = hold(2, 2)
    assert two.gpu() == "GPU-bb22,GPU-bc33" and two.says() == "on GPU GPU-bb22, GPU-bc33"
    assert hold(1, 2).gpu() == "GPU-aa11", "of which the other place is free"
    waiting = hold(3, 2)
    said = waiting.says()
    assert said.startswith("waiting for 3 GPUs, held are GPU-aa11 by process ")
    assert said.count(f" by process {two.process.pid}") == 4, "two places of two cards"
    two.end()
    time.sleep(0.7)
    assert waiting.process.poll() is None
    assert hold(1, 2).gpu() == "GPU-bb22", "the one that waits has not kept it"


def test_more_cards_than_there_are_is_a_sentence(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    sentence = (
        r"the run takes 3 GPUs and 2 can be used here \(2, 0\): lower its `gpus` in params.yaml"
    )
    with pytest.raises(ValueError, match=sentence), leased_gpus(3):
        pass
    with leased_gpus(2) as gpus:
        assert gpus == ["2", "0"] and os.environ["CUDA_VISIBLE_DEVICES"] == "2,0"


@pytest.mark.parametrize("outer", [None, "0,1"])
def test_under_slurm_nothing_is_touched(machine, monkeypatch, tmp_path, outer):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    if outer:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    with leased_gpus(2) as gpus:
        assert gpus == [] and os.environ.get("CUDA_VISIBLE_DEVICES") == outer
    assert not list(tmp_path.glob("bop2ndorder*"))


@pytest.mark.parametrize("outer", [None, "2,0"])
def test_afterwards_all_is_as_before_also_after_an_error(machine, monkeypatch, outer):
    if outer:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), leased_gpus() as gpus:
            assert gpus == [os.environ["CUDA_VISIBLE_DEVICES"]] == ["2" if outer else CARDS[0]]
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
