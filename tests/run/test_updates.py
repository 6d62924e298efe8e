"""What a step does to the weights: the form for devices beside that for the CPU, on the CPU."""

import pytest
import torch
import torch.nn.functional as F
from optimizers import NoReading
from tiny import EPOCHS, OPTIMIZERS, STEPS, Stopped, history, settings, stop_after
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bop2ndorder.binary import binary_layers
from bop2ndorder.study.run import trainer as trainer_module
from bop2ndorder.study.run.adam import step_size
from bop2ndorder.study.run.train import train
from bop2ndorder.study.run.trainer import Trainer
from bop2ndorder.study.run.updates import DeviceUpdates, HostUpdates, make_schedule

SCHEDULED = {
    "lr": {"kind": "exponential", "start": 0.08, "rate": 0.5, "every": 0.66},  # two steps
    "optimizer": {
        "name": "bop2ndorder", "eps": 1e-10, "bias_correction": "constant",
        "gamma": {"kind": "polynomial", "start": 0.9, "end": 0.1, "power": 1.0, "until": 1.0},
        "sigma": {"kind": "exponential", "start": 0.5, "rate": 0.5, "every": 1.0},
        "threshold": {"kind": "noise_floor", "times": 2.0},
    },
}  # fmt: skip
RUNS = {name: {"optimizer": optimizer} for name, optimizer in OPTIMIZERS.items()}
RUNS |= {"scheduled": SCHEDULED, "layer": {"network": {"name": "binarynet", "width": 4,
                                                       "dense": 16, "norm": "layer"}}}  # fmt: skip
every_run = pytest.mark.parametrize("name", RUNS)


@pytest.fixture
def device_form(monkeypatch):
    monkeypatch.setattr(trainer_module, "HostUpdates", DeviceUpdates)


def run_of(name):
    return {**settings(), **RUNS[name]}


def batches(trainer):
    """(step, images, labels) of all epochs."""
    step = 0
    for epoch in range(EPOCHS):
        for images, labels in trainer.batches(epoch):
            yield step, images, labels
            step += 1


def test_a_schedule_ends_at_the_nearest_step():
    """0.6 of three epochs of 25 steps is 44.99... in floating point."""
    value = {"kind": "polynomial", "start": 1.0, "end": 0.0, "power": 1.0, "until": 0.6}
    schedule = make_schedule(value, 25, 3)
    assert schedule(44) > 0 == schedule(45)


@every_run
def test_both_forms_do_the_same_with_the_same_gradients(digits, name, deviation):
    """Every flip and moment of binary weights to the bit; real weights but for Adam's rounding."""
    torch.manual_seed(0)
    host = Trainer(run_of(name), digits, "cpu")
    torch.manual_seed(0)
    network = Trainer(run_of(name), digits, "cpu").network
    device = DeviceUpdates(network, run_of(name), STEPS)
    real = {n: p for n, p in network.named_parameters() if host.updates.flipper is None or
            not any(p is layer.weight for layer in binary_layers(network).values())}  # fmt: skip
    largest = 0.0
    for step, images, labels in batches(host):
        for updates in (host.updates, device):
            updates.prepare(step)
        F.cross_entropy(host.network(images), labels).backward()
        for name_, p in network.named_parameters():
            p.grad = host.network.get_parameter(name_).grad.clone()
        for updates in (host.updates, device):
            updates.step()
        host.network.zero_grad()
        for name_, p in network.named_parameters():
            theirs = host.network.get_parameter(name_)
            if name_ in real:
                away = (p - theirs).detach().abs().max() / theirs.detach().abs().max()
                largest = max(largest, float(away))
            else:
                assert torch.equal(p, theirs), name_
    assert host.updates.flips() == device.flips() and sum(device.flips().values()) > 0
    deviation(f"device's form, real weights, {name}", largest, 1e-6)


@every_run
def test_whole_trainings_agree_nearly(digits, name, tmp_path, monkeypatch, deviation):
    """As far as sign activations let float32 agree: losses of the first epoch."""
    rows = []
    for form in (HostUpdates, DeviceUpdates):
        monkeypatch.setattr(trainer_module, "HostUpdates", form)
        paths = tmp_path / form.__name__, tmp_path / f"{form.__name__}.pt"
        train(run_of(name), digits, *paths)
        rows.append(history(tmp_path / form.__name__))
    for column in ("gamma", "sigma", "threshold", "lr", "step", "images_seen"):
        assert [row[column] for row in rows[0]] == [row[column] for row in rows[1]], column
    losses = [float(row[0]["train_loss"]) for row in rows]
    deviation(f"device's form, first epoch's loss, {name}", abs(losses[1] / losses[0] - 1), 1e-4)


def test_each_step_has_its_row_of_the_schedules(digits, tmp_path, device_form):
    """In float64, so exactly; over epochs, which each write the table anew."""
    used = []

    def note(optimizer, args, kwargs):
        used.append({n: float(v) for g in optimizer.param_groups for n, v in g.items()
                     if isinstance(v, torch.Tensor)})  # fmt: skip

    handle = register_optimizer_step_pre_hook(note)
    try:
        train(run_of("scheduled"), digits, tmp_path / "run", tmp_path / "run.pt")
    finally:
        handle.remove()
    updates = Trainer(run_of("scheduled"), digits, "cpu").updates
    steps = range(EPOCHS * STEPS)
    expected = [{n: updates.value(n, s) for n in ("gamma", "sigma", "threshold")} for s in steps]
    assert used[0::2] == expected and len({e["gamma"] for e in expected}) == len(expected)
    sizes = [step_size(updates.value("lr", step), step) for step in steps]
    assert [values["step_size"] for values in used[1::2]] == sizes


def test_steps_out_of_turn_have_their_values_too(digits, device_form):
    trainer = Trainer(run_of("scheduled"), digits, "cpu")
    for step in (0, 1, 7, 8, 9, 9, 2):
        trainer.updates.prepare(step)
        trainer.updates.step()
        (group,) = trainer.updates.flipper.param_groups
        assert float(group["gamma"]) == trainer.updates.value("gamma", step)


@every_run
def test_within_an_epoch_nothing_is_read_back(digits, name, device_form):
    trainer = Trainer(run_of(name), digits, "cpu")
    first, *others = batches(trainer)
    trainer.step(first[1], first[2], first[0])
    with NoReading():
        for step, images, labels in others:
            trainer.step(images, labels, step)
        with pytest.raises(AssertionError, match="read back"):  # control
            trainer.loss_sum.item()


@every_run
@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_a_stopped_run_ends_the_same(digits, name, tmp_path, device_form, epoch):
    train(run_of(name), digits, tmp_path / "through", tmp_path / "through.pt")
    paths = tmp_path / "run", tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(run_of(name), digits, *paths, on_epoch=stop_after(epoch))
    train(run_of(name), digits, *paths)
    for path in (tmp_path / "through").iterdir():
        assert path.read_bytes() == (tmp_path / "run" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("forms", [(HostUpdates, DeviceUpdates), (DeviceUpdates, HostUpdates)])
def test_a_checkpoint_of_the_other_form_is_a_sentence(digits, tmp_path, monkeypatch, forms):
    monkeypatch.setattr(trainer_module, "HostUpdates", forms[0])
    with pytest.raises(Stopped):
        train(settings(), digits, tmp_path / "run", tmp_path / "run.pt", on_epoch=stop_after(1))
    monkeypatch.setattr(trainer_module, "HostUpdates", forms[1])
    with pytest.raises(ValueError, match="on the other kind of device, CPU or GPU"):
        train(settings(), digits, tmp_path / "run", tmp_path / "run.pt")
