"""Processes share out the GPUs of a machine: real processes and locks, a pretended nvidia-smi."""

import os
import subprocess
import sys
import time

import pytest
from cards import CARDS

from bop2ndorder.study.workflow import lease
from bop2ndorder.study.workflow.lease import UNLISTED, leased_gpus, visible_gpus

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
