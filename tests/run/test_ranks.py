"""Several processes that train one run: real processes, Gloo between them, on the CPU."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from commands import call, workflow
from in_ranks import RUNS, known_gradients, watched
from studies import ROOT, cut_down, keep, write
from tiny import settings

from bop2ndorder.study.run.evaluate import TIMES
from bop2ndorder.study.run.ranks import Ranks
from bop2ndorder.study.run.train import train
from bop2ndorder.study.run.trainer import Trainer

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests/helpers'}",
    "OMP_WAIT_POLICY": "passive",  # threads that wait shall not keep the cores from others
}


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, digits, tmp_path_factory):
    """What each of 2 or 3 ranks has seen of all `RUNS`."""
    out = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).parents[1] / "helpers" / "in_ranks.py"
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={request.param}"]
    subprocess.run([sys.executable, *torchrun, program, digits.path, out],
                   env=ENVIRONMENT, check=True, timeout=300)  # fmt: skip
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


# The same bits in all ranks


@pytest.mark.parametrize("name", RUNS)
def test_ranks_are_equal_to_the_bit_after_every_step(ranks, name):
    """Weights, moments and counts of flips, of both optimizers."""
    first, *others = (rank[name]["steps"] for rank in ranks)
    assert len(first) == 2 * 5 * (1 if name == "latent" else 2)
    for other in others:
        for step, (mine, theirs) in enumerate(zip(first, other, strict=True)):
            assert all(map(torch.equal, mine, theirs)), f"step {step}"
    assert not all(map(torch.equal, first[0], first[-2])), "they have moved"


def test_gradients_are_summed_in_the_order_of_the_ranks(ranks):
    """Held against NumPy, by element and to the bit; another order would give other bits."""
    known = [known_gradients(rank) for rank in range(len(ranks))]
    assert sum(gradient.size for gradient in known[0]) % 6, "what the ranks sum is not even"
    for shape, gradients in enumerate(zip(*known, strict=True)):
        expected = in_order(gradients) / np.float32(len(ranks))
        for rank in ranks:
            assert np.array_equal(rank["mean"][shape], expected)
    if len(ranks) == 3:
        large = [gradients[1] for gradients in known]
        assert len({in_order(order).tobytes() for order in permutations(large)}) > 1


def in_order(gradients):
    total = gradients[0]
    for gradient in gradients[1:]:
        total = total + gradient
    return total


def test_the_history_is_that_of_all_ranks(ranks):
    """Loss, hits and flips are the same in each; evaluation is the first's."""
    for name in RUNS:
        first, *others = (rank[name]["history"] for rank in ranks)
        assert all(row["val_accuracy"] is not None for row in first)
        unknown = {"val_loss": None, "val_accuracy": None, TIMES: None}
        for other in others:
            assert [row | unknown for row in other] == [row | unknown for row in first]
            assert all(row["val_loss"] is None for row in other)


def test_threads_of_the_run_are_shared_out(ranks):
    expected = {2: 2, 3: 1}[len(ranks)]
    assert {rank[name]["threads"] for rank in ranks for name in RUNS} == {expected}
    assert Ranks(1, 8).threads(2) == 1


# Beside one process


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    """What one process sees of the run with layer norm."""
    return watched("layer", digits, tmp_path_factory.mktemp("alone"))


def test_with_layer_norm_gradients_are_those_of_one_process(ranks, alone, deviation):
    """Each image is seen alone, so that only the order of sums over the batch is another."""
    worst = 0.0
    for optimizer, gradients in alone["gradients"].items():
        for mine, theirs in zip(gradients, ranks[0]["layer"]["gradients"][optimizer], strict=True):
            worst = max(worst, ((mine - theirs).abs().max() / mine.abs().max()).item())
    deviation(f"gradient of {len(ranks)} ranks, layer norm", worst, 1e-5)


def test_with_layer_norm_the_first_losses_are_those_of_one_process(ranks, alone):
    """An epoch in, weights may have flipped otherwise; there are few of them yet."""
    mine, theirs = (found["history"][0] for found in (ranks[0]["layer"], alone))
    assert mine["images_seen"] == theirs["images_seen"] == 60
    assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.05)


# What is refused


def test_batches_that_cannot_be_shared_evenly_are_refused(digits):
    trainer = Trainer(settings(gpus=3), digits, "cpu", Ranks(1, 3))
    with pytest.raises(ValueError, match="batch_size is 20, gpus is 3: .* must be a multiple of 3"):
        trainer.epoch(0)


def test_one_process_does_not_pass_for_several(digits, tmp_path):
    with pytest.raises(ValueError, match="gpus is 2, and the run is trained by as many processes"):
        train(settings(gpus=2), digits, tmp_path / "run", tmp_path / "run.pt")
    assert not list(tmp_path.iterdir())


# The command


EPOCHS = 120


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A study of one run on two GPUs, its data prepared."""
    folder = tmp_path_factory.mktemp("a study")
    study = keep(cut_down(60, 12), "normalization")
    study["experiments"]["normalization"]["grid"] = {"network.norm": ["batch"]}
    sizes = study["scales"]["quick"]["experiments"]["normalization"]["set"]
    sizes |= {"epochs": EPOCHS, "gpus": 2}
    write(study, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (planned,) = workflow().runs.values()
        call("prepare", planned.data)
        # The ranks have to read what the command was told to.
        (folder / "params.yaml").rename(folder / "another.yaml")
        sizes["epochs"] = 1
        write(study, folder)
    return folder, planned.id


class Command:
    """`bop2ndorder train` of the study's run, and what it leaves."""

    def __init__(self, prepared, tmp_path):
        source, self.run = prepared
        self.folder = Path(shutil.copytree(source, tmp_path / "a study"))
        self.log = self.folder.parent / "stderr"

    def call(self):
        """The process."""
        command = [sys.executable, "-m", "bop2ndorder", "--params", "another.yaml"]
        command += ["train", self.run]
        with self.log.open("w") as log:
            return psutil.Popen(command, cwd=self.folder, env=ENVIRONMENT, stderr=log)

    def start(self):
        """The process, and its ranks, once they have trained an epoch."""
        process = self.call()
        end = time.monotonic() + 120
        while "\nepoch " not in self.log.read_text():
            assert process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        ranks = process.children()
        assert len(ranks) == 2
        return process, ranks

    def said(self):
        """All on stderr but the lines of epochs, of which it gives the first's number."""
        lines = self.log.read_text().splitlines()
        epochs = [int(found[1]) for line in lines if (found := re.match(r"epoch (\d+)/", line))]
        return [line for line in lines if not line.startswith("epoch ")], epochs[0]

    def left(self):
        """The files of the run, none before it is done, and whether there is a checkpoint."""
        files = {path.name: path.read_bytes() for path in self.folder.glob("runs/quick/*/*")}
        return files, any(self.folder.glob("runs/.checkpoints/quick/*.pt"))


HEAD = ["gpus: 2 processes on the CPU, since there is no GPU"]


@pytest.mark.slow
def test_a_run_whose_ranks_and_command_are_killed_ends_as_if_nothing_had_happened(
    prepared, tmp_path
):
    """No process is left, the checkpoint is whole, and the terminal shows one sentence."""
    undisturbed = Command(prepared, tmp_path / "undisturbed")
    process, _ = undisturbed.start()
    assert process.wait(timeout=200) == 0
    head, _ = undisturbed.said()
    assert head == [f"{undisturbed.run}: {EPOCHS} epochs", *HEAD], "no warning"
    expected, checkpoint = undisturbed.left()
    assert len(expected) == 5 and not checkpoint

    command, begun = Command(prepared, tmp_path / "disturbed"), []
    for victim, number, code in (
        ("rank 1", signal.SIGKILL, 1),
        ("rank 0", signal.SIGKILL, 1),
        ("command", signal.SIGTERM, 128 + signal.SIGTERM),
        ("command", signal.SIGINT, 1),
        ("command", signal.SIGKILL, -signal.SIGKILL),
    ):
        process, ranks = command.start()
        target = ranks[int(victim[-1])] if victim.startswith("rank") else process
        since = time.monotonic()
        if victim == "rank 1":  # noticed late: the other must not be taken for the cause meanwhile
            process.suspend()
            target.send_signal(number)
            time.sleep(4)
            process.resume()
        else:
            target.send_signal(number)
        assert process.wait(timeout=20) == code
        _, alive = psutil.wait_procs(ranks, timeout=20)
        assert not alive and time.monotonic() - since < 20, (victim, number)
        said, first = command.said()
        begun.append(first)
        last = said[2:]
        if victim.startswith("rank"):
            (sentence,) = last
            assert sentence.startswith(f"Error: train {command.run}: {victim} of the run's 2 was "
                                       "ended by SIGKILL, so the others were ended")  # fmt: skip
            note = command.folder / re.search(r"traceback in (.*)\)$", sentence)[1]
            assert "Signal 9 (SIGKILL)" in note.read_text()
        else:
            assert last == (["", "Aborted!"] if number == signal.SIGINT else [])
        files, checkpoint = command.left()
        assert checkpoint and not files
    process, _ = command.start()
    assert process.wait(timeout=200) == 0
    begun.append(command.said()[1])
    assert begun[0] == 1 and begun == sorted(begun) and len(set(begun)) == len(begun)
    assert command.left() == (expected, False)


@pytest.mark.slow
def test_what_a_rank_fails_of_is_said_once(prepared, tmp_path):
    command = Command(prepared, tmp_path)
    checkpoint = command.folder / "runs" / ".checkpoints" / "quick" / f"{command.run}.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("not a checkpoint")
    process = command.call()
    assert process.wait(timeout=120) == 1
    *head, sentence = command.log.read_text().splitlines()
    assert head == [f"{command.run}: {EPOCHS} epochs", *HEAD]
    said = r"the checkpoint .*\.pt is damaged .*: remove it to train from the start"
    found = re.fullmatch(rf"Error: train {command.run}: {said} \(traceback in (.*)\)", sentence)
    assert "load_checkpoint" in (command.folder / found[1]).read_text(), "the rank's traceback"
