"""Due, held, off and wait, the threshold in steps of m, and rules beside a run's own."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import BATCH, OPTIMIZERS, STEPS, Stopped, history, settings, stop_after
from torch import nn

from bop2ndorder.binary import binary_layers
from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.study.run import audit as audit_module
from bop2ndorder.study.run.audit import COLUMNS, OF_A_LAYER, Audit
from bop2ndorder.study.run.train import train
from bop2ndorder.study.run.trainer import Trainer

BOP = OPTIMIZERS["bop"]
SECOND = OPTIMIZERS["adam"]
SHADOWS = {
    "sign": {**BOP, "threshold": 0.0},
    "itself": BOP,
    "second": SECOND,
}
FILES = ("weights.safetensors", "predictions.safetensors")


def every(monkeypatch, steps):
    monkeypatch.setattr(audit_module, "EVERY", steps)


def result(data, folder, **changes):
    """Bytes of weights and predictions, and the rows of the history."""
    train(settings(**changes), data, folder, folder.with_suffix(".pt"))
    return [(folder / name).read_bytes() for name in FILES], history(folder)


def audited(flipper, weights, shadows=None):
    """An audit of optimizers without a run."""
    layers = {name: SimpleNamespace(weight=weight) for name, weight in weights.items()}
    return Audit(SimpleNamespace(layers=layers, flipper=flipper, shadows=shadows or {}))


def step(audit, gradients):
    for weight, gradient in zip(audit.weights, gradients, strict=True):
        weight.grad = torch.tensor(gradient)
    audit.before()
    audit.updates.flipper.step()
    audit.after()


def by_hand():
    weights = {"a": nn.Parameter(torch.tensor([1.0, 1, -1, 1])),
               "b": nn.Parameter(torch.tensor([1.0, -1]))}  # fmt: skip
    flipper = Bop(weights.values(), gamma=0.5, threshold=0.25)
    return audited(flipper, weights)


def test_two_layers_by_hand():
    """m: .5 flips, .2 is held, 0 is not due, -.5 is against; .25 equals the threshold, 1 flips."""
    audit = by_hand()
    step(audit, [[1.0, 0.4, 0.0, -1.0], [0.5, -2.0]])
    assert audit.weights[0].tolist() == [-1, 1, -1, 1] and audit.weights[1].tolist() == [1, 1]
    row = audit.row()
    assert row["due"] == 4 / 6 and row["held"] == 2 / 4 and row["off"] == 2 / 6
    assert row["wait"] == 1
    assert (row["held/a"], row["off/a"]) == (1 / 2, 1 / 4)
    assert (row["held/b"], row["off/b"]) == (1 / 2, 1 / 2)
    rms = {"gradient_rms/a": 2.16 / 4, "gradient_rms/b": 4.25 / 2, "gradient_rms": 6.41 / 6}
    for name, square in rms.items():
        assert row[name] == pytest.approx(square**0.5, rel=1e-6)
        steps = name.replace("gradient_rms", "threshold_steps")
        assert row[steps] == pytest.approx(0.5 / square**0.5, rel=1e-6)


def test_second_moments_of_layers_count_by_their_weights():
    """v is half of g squared after one step, and so it is on average over all weights."""
    weights = {"a": nn.Parameter(torch.ones(4)), "b": nn.Parameter(torch.ones(2))}
    flipper = Bop2ndOrder(weights.values(), gamma=0.5, sigma=0.5, threshold=0.25, eps=0.0)
    audit = audited(flipper, weights)
    step(audit, [[1.0, 0.4, 0.0, -1.0], [0.5, -2.0]])
    row = audit.row()
    for name in ("threshold_steps", "threshold_steps/a", "threshold_steps/b"):
        assert row[name] == pytest.approx(0.25 / 0.5 * 0.5**0.5, rel=1e-6)


def test_counts_of_several_steps_are_summed_before_they_are_divided():
    audit = by_hand()
    step(audit, [[1.0, 0.4, 0.0, -1.0], [0.5, -2.0]])
    # m: .25, .2, 0, -.25; .125, -.5: of weights -1, 1, -1, 1; 1, 1 these are due and held.
    step(audit, [[0.0, 0.2, 0.0, 0.0], [0.0, 0.0]])
    row = audit.row()
    assert row["due"] == (4 + 2) / 12 and row["held"] == (2 + 2) / 6
    assert row["off"] == 4 / 12 and row["wait"] == 4 / 2
    audit.begin()
    assert set(audit.row().values()) == {None}


def test_where_nothing_is_due_nothing_is_said_and_no_flip_is_no_wait():
    audit = by_hand()
    step(audit, [[-1.0, -1.0, 1.0, 0.0], [-1.0, 1.0]])
    row = audit.row()
    assert all(row[name] is None for name in ("due", "held", "off", "wait", "held/a", "off/b"))
    assert row["gradient_rms"] > 0 and row["threshold_steps"] > 0
    audit.begin()
    step(audit, [[0.7, -1.0, 1.0, 0.0], [-1.0, 1.0]])  # m .1: due, and held
    row = audit.row()
    assert (row["due"], row["held"], row["wait"]) == (1 / 6, 1, None)


# Each threshold comes to about two steps of m.
SECOND_ORDER = {"gamma": 0.02, "sigma": 0.1, "eps": 0.05}
RULES = {
    "bop": lambda w, lr: Bop([w], gamma=0.02, threshold=0.1237 * lr, lr=lr),
    "none": lambda w, lr: Bop2ndOrder([w], threshold=0.046 * lr, lr=lr, **SECOND_ORDER),
    "constant": lambda w, lr: Bop2ndOrder(
        [w], threshold=0.75, bias_correction="constant", lr=lr, **SECOND_ORDER
    ),
    "adam": lambda w, lr: Bop2ndOrder(
        [w], threshold=0.18, bias_correction="adam", lr=lr, **SECOND_ORDER
    ),
}


@pytest.mark.parametrize("lr", [1.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_weights_beyond_the_threshold_in_steps_of_m_are_those_that_flip(rule, lr):
    """Gradients of one size, so that v is everywhere the same; only the last step is audited."""

    def signs():
        return 2.0 * torch.randint(0, 2, (2000,), generator=random) - 1

    random = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.ones(2000))
    flipper = RULES[rule](weight, lr)
    audit = audited(flipper, {"w": weight})
    for number in range(12):
        weight.grad = 3 * signs()
        before = signs()
        weight.data.copy_(before)
        if number == 11:
            audit.before()
        flipper.step()
    audit.after()
    row = audit.row()
    assert row["gradient_rms"] == pytest.approx(3)
    bound = row["threshold_steps"] * 0.02 * lr * row["gradient_rms"]
    ratio = before * flipper.state[weight]["m"] / bound
    flipped = before != weight
    assert torch.equal(flipped, ratio > 1) and 0.1 < flipped.float().mean() < 0.4
    assert ((ratio - 1).abs() > 1e-4).all(), "none of them is too near to tell"


# In a run


@pytest.mark.parametrize("optimizer", ["bop", "adam"])
def test_what_is_due_has_the_sign_of_m_before_it_flips(digits, tmp_path, monkeypatch, optimizer):
    """Step 10 of 12 is the one that counts, in the last of four epochs; counted by NumPy."""
    seen, own = {}, Trainer.step

    def signs(trainer):
        layers = binary_layers(trainer.network).items()
        return {name: layer.weight.detach().numpy().copy() for name, layer in layers}

    def watched(trainer, images, labels, number):
        before = signs(trainer)
        outcome = own(trainer, images, labels, number)
        if number == 9:
            state = trainer.updates.flipper.state
            for name, layer in binary_layers(trainer.network).items():
                m, g = state[layer.weight]["m"].numpy(), layer.weight.grad.numpy()
                due = before[name] * m > 0
                flipped = before[name] != layer.weight.detach().numpy()
                seen[name] = due, flipped, g.astype(float)
        return outcome

    monkeypatch.setattr(Trainer, "step", watched)
    _, rows = result(digits, tmp_path / "run", optimizer=optimizer, epochs=4)
    for row in rows[:3]:
        assert {row[name] for name in COLUMNS} == {""}
    due, flipped, gradients = (
        np.concatenate([part[place].ravel() for part in seen.values()]) for place in range(3)
    )
    last = {name: float(value) for name, value in rows[3].items() if value}
    kept = due & ~flipped
    assert 0 < flipped.sum() <= due.sum() and not (flipped & ~due).any()
    assert last["due"] == due.mean() and last["off"] == kept.mean()
    assert last["held"] == kept.sum() / due.sum()
    assert last["wait"] == kept.sum() / flipped.sum()
    assert last["gradient_rms"] == pytest.approx((gradients**2).mean() ** 0.5, rel=1e-5)
    for name, (due, flipped, gradient) in seen.items():
        if due.any():
            assert last[f"held/{name}"] == (due & ~flipped).sum() / due.sum()
            assert last[f"off/{name}"] == (due & ~flipped).mean()
        expected = (gradient**2).mean() ** 0.5
        assert last.get(f"gradient_rms/{name}", 0) == pytest.approx(expected, rel=1e-5)


def test_of_latent_weights_the_columns_are_there_and_empty(digits, tmp_path, monkeypatch):
    every(monkeypatch, 1)
    _, rows = result(digits, tmp_path / "run", optimizer="latent")
    names = [*COLUMNS, *(f"{name}/conv2" for name in OF_A_LAYER)]
    assert {row[name] for row in rows for name in names} == {""}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_neither_counting_nor_shadows_change_the_training(digits, tmp_path, monkeypatch, optimizer):
    every(monkeypatch, 10**6)
    plain, rows = result(digits, tmp_path / "plain", optimizer=optimizer)
    every(monkeypatch, 1)
    shadows = {} if optimizer == "latent" else SHADOWS
    files, watched = result(digits, tmp_path / "watched", optimizer=optimizer, shadows=shadows)
    assert files == plain
    for row, other in zip(rows, watched, strict=True):
        known = {name for name, value in row.items() if value}
        assert {name: other[name] for name in known} == {name: row[name] for name in known}


def test_disagreement_with_rules_that_are_known(digits, tmp_path, monkeypatch):
    """The run's own rule agrees; without a threshold what is held would flip, and nothing else."""
    every(monkeypatch, 2)
    held_more = {**BOP, "threshold": 1e-5}
    _, rows = result(
        digits, tmp_path / "run", optimizer="bop", epochs=4,
        shadows={**SHADOWS, "never": {**BOP, "threshold": 1e9}},
    )  # fmt: skip
    for row in rows:
        assert float(row["disagree/itself"]) == 0
        assert row["disagree/sign"] == row["held"]
        assert float(row["disagree/never"]) == 1
        assert 0 < float(row["disagree/second"]) < 1
    chosen = {**settings(epochs=4, shadows=SHADOWS), "optimizer": held_more}
    train(chosen, digits, tmp_path / "held", tmp_path / "held.pt")
    rows = history(tmp_path / "held")
    assert all(row["disagree/sign"] == row["held"] for row in rows)
    assert 0 < float(rows[-1]["held"]) < 1


@pytest.mark.parametrize("optimizer", ["bop", "adam"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_with_shadows_that_is_stopped_ends_the_same(
    digits, tmp_path, monkeypatch, optimizer, epoch
):
    """Eleven steps, three an epoch; every second counts, so that epochs count differently."""
    every(monkeypatch, 2)
    changes = {"optimizer": optimizer, "epochs": 5, "stop_after": 11, "shadows": SHADOWS}
    expected = result(digits, tmp_path / "through", **changes)
    assert all(row["held"] and row["disagree/second"] for row in expected[1])

    paths = tmp_path / "run", tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(settings(**changes), digits, *paths, on_epoch=stop_after(epoch))
    assert result(digits, tmp_path / "run", **changes) == expected


# A run that ends early


@pytest.mark.parametrize("optimizer", ["adam", "latent"])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_that_stops_is_the_beginning_of_the_whole_one(digits, tmp_path, optimizer, stop):
    """Its schedules go by all epochs, and what an epoch says is of the steps that were made."""
    losses, flips = [], []
    torch.manual_seed(0)
    trainer = Trainer(settings(optimizer), digits, "cpu")
    trainer.network.train()
    batches = [*trainer.batches(0), *trainer.batches(1)][:stop]
    for number, (images, labels) in enumerate(batches):
        losses.append(trainer.step(images, labels, number)[0].item())
        flips.append(sum(trainer.updates.flips().values()))
    chosen = settings(optimizer, stop_after=stop)
    torch.set_num_threads(1)
    network, _ = train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")
    for name, parameter in trainer.network.named_parameters():
        assert torch.equal(parameter, dict(network.named_parameters())[name]), name
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == ([3, 4] if stop == 4 else [stop])
    last, begun = rows[-1], 3 if stop == 4 else 0
    assert int(last["images_seen"]) == stop * BATCH
    assert float(last["train_loss"]) == pytest.approx(np.mean(losses[begun:]))
    weights = sum(layer.weight.numel() for layer in trainer.updates.layers.values())
    made = flips[-1] - (flips[begun - 1] if begun else 0)
    assert float(last["flip_rate"]) == pytest.approx(made / weights / (stop - begun))
    if optimizer == "adam":
        gamma = 1e-2 + (1e-4 - 1e-2) * (stop - 1) / 9
        assert float(last["gamma"]) == pytest.approx(gamma)


def test_a_stop_at_or_after_the_end_is_the_whole_run(digits, tmp_path):
    whole = result(digits, tmp_path / "whole")
    for stop in (3 * STEPS, 10**6):
        assert result(digits, tmp_path / str(stop), stop_after=stop) == whole
