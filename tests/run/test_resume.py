"""Training again, and training that was stopped: the same bytes, or a sentence."""

import resource
from types import SimpleNamespace

import pytest
import torch
from tiny import (
    BATCH,
    EPOCHS,
    OPTIMIZERS,
    STEPS,
    Stopped,
    history,
    settings,
    stop_after,
)

from bop2ndorder.store import damaged_file
from bop2ndorder.study.run import train as train_module
from bop2ndorder.study.run.checkpoint import load_checkpoint
from bop2ndorder.study.run.provenance import origin
from bop2ndorder.study.run.train import train
from bop2ndorder.study.run.trainer import Trainer
from bop2ndorder.study.workflow import training
from bop2ndorder.study.workflow.training import train_run

FILES = ("weights.safetensors", "predictions.safetensors")


@pytest.fixture(scope="module", params=OPTIMIZERS)
def optimizer(request):
    return request.param


@pytest.fixture(scope="module")
def uninterrupted(digits, optimizer, tmp_path_factory):
    """What training leaves when nothing disturbs it."""
    return result(digits, optimizer, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture
def slow_epochs(monkeypatch):
    """Epochs of twenty seconds, by a clock that stands still otherwise."""
    clock, epoch = [1000.0], Trainer.epoch

    def slow(*args):
        clock[0] += 20
        return epoch(*args)

    monkeypatch.setattr(Trainer, "epoch", slow)
    monkeypatch.setattr(train_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))


def result(data, optimizer, tmp_path, **changes):
    """Bytes of weights and predictions, and the history without times, of a run in `tmp_path`."""
    folder, checkpoint = tmp_path / "run", tmp_path / "run.pt"
    train(settings(optimizer, **changes), data, folder, checkpoint)
    assert [path.name for path in tmp_path.glob("run.pt*")] == ["run.pt"], "a whole checkpoint"
    return [(folder / name).read_bytes() for name in FILES], history(folder)


def fail_at(failing_call, function):
    """Let the n-th call of a function stop the training; those before it work."""
    calls = iter(range(failing_call + 1))

    def stopping(*args, **kwargs):
        if next(calls) == failing_call:
            raise Stopped
        return function(*args, **kwargs)

    return stopping


# Determinism and resuming


def test_the_same_seed_gives_the_same_bytes(digits, optimizer, uninterrupted, tmp_path):
    torch.rand(7)  # what was drawn before does not matter
    assert result(digits, optimizer, tmp_path) == uninterrupted


def test_another_seed_gives_another_run(digits, optimizer, uninterrupted, tmp_path):
    (weights, _), rows = result(digits, optimizer, tmp_path, seed=1)
    assert weights != uninterrupted[0][0] and rows[0] != uninterrupted[1][0]


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_run_stopped_after_an_epoch_ends_the_same(
    digits, optimizer, uninterrupted, tmp_path, epoch
):
    seen = []

    def stop(row):
        seen.append(row["epoch"])
        if row["epoch"] == epoch:
            raise Stopped

    with pytest.raises(Stopped):
        train(settings(optimizer), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=stop)
    assert seen == list(range(1, epoch + 1)) and (tmp_path / "run.pt").exists()
    torch.rand(7)
    assert result(digits, optimizer, tmp_path) == uninterrupted


@pytest.mark.parametrize(
    ("every", "written"),
    [(0, [1, 2, 3, 4, 5, 6, 7]), (20, [1, 2, 3, 4, 5, 6, 7]), (60, [3, 6]), (61, [4]), (200, [])],
)
def test_a_checkpoint_is_written_once_the_last_is_old_enough(
    digits, tmp_path, monkeypatch, slow_epochs, every, written
):
    saved, save = [], Trainer.save
    monkeypatch.setattr(
        Trainer, "save", lambda self, path, rows: (saved.append(len(rows)), save(self, path, rows))
    )
    paths = tmp_path / "run", tmp_path / "run.pt"
    train(settings(epochs=7), digits, *paths, checkpoint_every=every)
    assert saved == written and paths[1].exists() == bool(written)


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_run_stopped_between_two_checkpoints_ends_the_same(
    digits, optimizer, uninterrupted, tmp_path, slow_epochs, epoch
):
    """Of three epochs the second writes one: the run goes on from there, or from the start."""

    paths = tmp_path / "run", tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(settings(optimizer), digits, *paths, on_epoch=stop_after(epoch), checkpoint_every=30)
    assert paths[1].exists() == (epoch > 1)
    if epoch > 1:
        assert len(load_checkpoint(paths[1], "cpu")["history"]) == 2
    assert result(digits, optimizer, tmp_path) == uninterrupted


@pytest.mark.parametrize("step", [0, 2, 4, 7])
def test_a_run_stopped_within_an_epoch_ends_the_same(
    digits, optimizer, uninterrupted, tmp_path, monkeypatch, step
):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at(step, Trainer.step))
        with pytest.raises(Stopped):
            result(digits, optimizer, tmp_path)
    assert (tmp_path / "run.pt").exists() == (step >= STEPS)
    assert result(digits, optimizer, tmp_path) == uninterrupted


def test_epochs_done_are_not_trained_again(digits, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        train(settings(), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=stop_after(2))
    seen = []
    train(settings(), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=seen.append)
    assert [row["epoch"] for row in seen] == [3]


def test_times_of_before_a_stop_are_kept(digits, tmp_path):
    seen = []

    def stop(row):
        seen.append(row)
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(settings(), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=stop)
    _, rows = train(settings(), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=seen.append)
    assert rows == seen and len(rows) == EPOCHS
    noted = origin(tmp_path / "run", settings(), rows, "cpu", {})
    speeds = [row["images_per_second"] for row in seen]
    assert noted["images_per_second"] == [round(speed, 1) for speed in speeds]
    assert noted["train_seconds"] == round(sum(STEPS * BATCH / speed for speed in speeds), 3)


@pytest.mark.parametrize("failing", ["run_facts", "origin", "write_done"])
def test_what_fails_after_the_last_epoch_costs_no_epoch(digits, tmp_path, monkeypatch, failing):
    """Such as a kill, or a driver that does not answer."""
    places = tmp_path / "run", tmp_path / "run.pt", tmp_path / "origin.json"
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(training, failing, fail_at(0, getattr(training, failing)))
        with pytest.raises(Stopped):
            train_run("run", settings(), digits, *places, on_epoch=seen.append)
    assert len(seen) == EPOCHS and not (tmp_path / "run" / "done.json").exists()
    train_run("run", settings(), digits, *places, on_epoch=seen.append)
    assert len(seen) == EPOCHS and damaged_file(tmp_path / "run", hashes=True) is None
    assert not places[1].exists(), "all is written"
    train_run("run", settings(), digits, *(tmp_path / "other" / path.name for path in places))
    for name in (*FILES, "history.csv"):
        assert (places[0] / name).read_bytes() == (tmp_path / "other/run" / name).read_bytes(), name


# Checkpoints that go wrong


def test_a_checkpoint_stopped_while_written_leaves_the_last_one(
    digits, optimizer, uninterrupted, tmp_path, monkeypatch
):
    save, last = torch.save, []

    def half(state, path):
        if len(state["history"]) == 2:
            last.append((tmp_path / "run.pt").read_bytes())
            save(state, path)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise Stopped
        save(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(Stopped):
            result(digits, optimizer, tmp_path)
    assert [(tmp_path / "run.pt").read_bytes()] == last
    assert result(digits, optimizer, tmp_path) == uninterrupted


def test_a_full_disk_is_a_sentence_and_leaves_no_half_checkpoint(digits, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"run\.pt cannot be written, is the disk full\?"):
            train(settings(), digits, tmp_path / "run", tmp_path / "run.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def one_byte(content: bytes) -> bytes:
    """Another byte within the largest tensor, where only a checksum can see it."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"not a checkpoint", one_byte],
    ids=["truncated", "empty", "other", "one byte"],
)
def test_a_damaged_checkpoint_is_named(digits, tmp_path, damage):
    def stop(row):
        raise Stopped

    path = tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(settings(), digits, tmp_path / "run", path, on_epoch=stop)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"checkpoint .*run\.pt is damaged .*: remove it to train"):
        train(settings(), digits, tmp_path / "run", path)


def test_a_checkpoint_executes_nothing(digits, tmp_path):
    class Malice:
        def __reduce__(self):
            return (tmp_path / "executed").touch, ()

    torch.save({"history": Malice()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="is damaged"):
        train(settings(), digits, tmp_path / "run", tmp_path / "run.pt")
    assert not (tmp_path / "executed").exists()
