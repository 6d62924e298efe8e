"""Training, on 60 real images: the history, both optimizers, what is read and written."""

import copy

import numpy as np
import pytest
import torch
from tiny import EPOCHS, OPTIMIZERS, STEPS, finished_run, history, settings
from torch.optim.optimizer import register_optimizer_step_pre_hook
from twin import keras_adam

from bop2ndorder.binary import binary_layers
from bop2ndorder.load import load_run
from bop2ndorder.networks import build
from bop2ndorder.optim import Bop2ndOrder
from bop2ndorder.study.config import Settings
from bop2ndorder.study.run.train import train
from bop2ndorder.study.run.trainer import Trainer, network_settings

NUMBERS = ["epoch", "step", "images_seen", "train_loss", "train_accuracy", "val_loss"]
LAYERS = [f"conv{i}" for i in range(1, 7)] + [f"dense{i}" for i in range(1, 4)]


@pytest.fixture(scope="module", params=OPTIMIZERS)
def optimizer(request):
    return request.param


@pytest.mark.parametrize("stop", [None, 1, 3, 4, 8, 9])
def test_a_run_is_as_long_as_its_settings_say(digits, tmp_path, stop):
    """By number of images, as plan and progress count it; the last batch of 16 is not full."""
    chosen = settings("latent", stop_after=stop, batch_size=16)
    planned = Settings.model_validate(chosen).length(digits.count("train"))
    rows = train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")[1]
    assert planned == (len(rows), rows[-1]["images_seen"])
    assert planned == (Trainer(chosen, digits, "cpu").epochs, 16 * (stop or 9))


# Runs that cannot go on


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"lr": 1e38}, "training loss of epoch 1"),
        ({"batch_size": 60}, "loss on the validation images"),
        ({"batch_size": 60, "train_on": "all", "epochs": 2}, "training loss of epoch 1"),
        ({"batch_size": 120, "train_on": "all", "epochs": 1}, "loss on the test images"),
    ],
)
def test_a_diverged_run_is_a_sentence(digits, tmp_path, changes, what):
    message = f"the {what} is (nan|inf): the run has diverged; lower lr or gamma in params.yaml"
    with pytest.raises(FloatingPointError, match=message):
        train(settings(**{"lr": 1e37, **changes}), digits, tmp_path / "run", tmp_path / "run.pt")


def test_a_nan_that_the_next_sign_hides_ends_the_run(digits, tmp_path):
    """The loss stays finite, and weights whose moment is NaN would never flip again."""
    damaged = copy.copy(digits)

    def batches(*arguments, seed=None, **others):
        for images, labels in digits.batches(*arguments, seed=seed, **others):
            if seed is not None:
                images[0, 0, 0, 0] = float("nan")
            yield images, labels

    damaged.batches = batches
    with pytest.raises(FloatingPointError, match="after epoch 1 .* is no longer finite"):
        train(settings(), damaged, tmp_path / "run", tmp_path / "run.pt")


def test_a_batch_larger_than_the_data_is_a_sentence(digits, tmp_path):
    with pytest.raises(ValueError, match="batch_size 61 is larger than the 60 training images"):
        train(settings(batch_size=61), digits, tmp_path / "run", tmp_path / "run.pt")


# History


def test_history_has_a_row_an_epoch_and_these_columns(digits, tmp_path):
    train(settings(), digits, tmp_path / "run", tmp_path / "run.pt")
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    flips = [f"flip_rate/{layer}" for layer in LAYERS]
    audit = ["due", "held", "off", "wait", "threshold_steps", "gradient_rms"]
    of_layers = ["held", "off", "threshold_steps", "gradient_rms"]
    audit += [f"{name}/{layer}" for name in of_layers for layer in LAYERS]
    expected = [*NUMBERS, "val_accuracy", "flip_rate", *flips, *audit]
    assert lines[0].split(",") == [
        *expected, "gamma", "sigma", "threshold", "lr",
    ]  # fmt: skip
    rows = history(tmp_path / "run")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    assert [row["images_seen"] for row in rows] == ["60", "120", "180"]
    assert {row["sigma"] for row in rows} == {""}, "Bop has none"


def test_losses_and_accuracies_are_means_over_the_split(digits, tmp_path, monkeypatch):
    """One batch, a learning rate of almost nothing and no flips: the network stays as it was."""
    seen, step = [], Trainer.step

    def watched(state, images, labels, number):
        seen.append((images, labels))  # their order decides how sums are rounded
        return step(state, images, labels, number)

    monkeypatch.setattr(Trainer, "step", watched)
    chosen = settings(lr=1e-30, epochs=1, batch_size=60)
    chosen["optimizer"] = {"name": "bop", "gamma": 1e-12, "threshold": 1.0}
    network, _ = train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")
    (row,) = history(tmp_path / "run")
    assert float(row["flip_rate"]) == 0
    validation = next(digits.batches("validation", 60))
    for prefix, (images, labels) in (("val", validation), ("train", *seen)):
        with torch.no_grad():
            logits = network.train(prefix == "train")(images).double().numpy()
        hits = (logits.argmax(1) == labels.numpy()).mean()
        assert float(row[f"{prefix}_accuracy"]) == hits
        loss = cross_entropy(logits, labels).mean()
        assert float(row[f"{prefix}_loss"]) == pytest.approx(loss, rel=1e-5)


def cross_entropy(logits, labels):
    """In nats, float64."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), np.asarray(labels)]


def test_hyperparameters_follow_their_schedules(digits, tmp_path):
    """Three steps an epoch, three epochs; every value computed by hand."""
    optimizer = {
        "name": "bop2ndorder", "eps": 1e-10, "bias_correction": "none",
        "gamma": {"kind": "polynomial", "start": 0.9, "end": 0.0, "power": 1.0, "until": 1.0},
        "sigma": {"kind": "polynomial", "start": 0.1, "end": 0.7, "power": 2.0, "until": 2 / 3},
        "threshold": {"kind": "exponential", "start": 1.0, "rate": 0.1, "every": 1.0},
    }  # fmt: skip
    lr = {"kind": "exponential", "start": 0.08, "rate": 0.5, "every": 0.66}  # two steps
    expected = {
        "gamma": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
        "sigma": [0.1, 0.7 - 0.6 * 25 / 36, 0.7 - 0.6 * 16 / 36, 0.55, 0.7 - 0.6 / 9,
                  0.7 - 0.6 / 36, 0.7, 0.7, 0.7],
        "threshold": [1.0] * 3 + [0.1] * 3 + [0.01] * 3,
        "lr": [0.08, 0.08, 0.04, 0.04, 0.02, 0.02, 0.01, 0.01, 0.005],
    }  # fmt: skip
    used = {name: [] for name in expected}

    def note(stepped, args, kwargs):
        names = ("gamma", "sigma", "threshold") if isinstance(stepped, Bop2ndOrder) else ("lr",)
        for name in names:
            (value,) = {group[name] for group in stepped.param_groups}
            used[name].append(value)

    handle = register_optimizer_step_pre_hook(note)
    try:
        chosen = settings(lr=lr) | {"optimizer": optimizer}
        train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")
    finally:
        handle.remove()
    rows = history(tmp_path / "run")
    for name, values in expected.items():
        assert used[name] == pytest.approx(values), name
        assert [float(row[name]) for row in rows] == pytest.approx(values[2::3]), name


def test_flip_rates_agree_with_weights_compared_before_and_after_each_step(
    digits, optimizer, tmp_path, monkeypatch
):
    flips, step = [], Trainer.step

    def signs(state):
        return {n: layer.weight.detach() >= 0 for n, layer in binary_layers(state.network).items()}

    def watched(state, images, labels, number):
        before = signs(state)
        outcome = step(state, images, labels, number)
        after = signs(state)
        flips.append({name: (before[name] != after[name]).numpy() for name in before})
        return outcome

    monkeypatch.setattr(Trainer, "step", watched)
    train(settings(optimizer, lr=0.1), digits, tmp_path / "run", tmp_path / "run.pt")
    rows = history(tmp_path / "run")
    assert len(flips) == EPOCHS * STEPS and float(rows[0]["flip_rate"]) > 0
    for epoch, row in enumerate(rows):
        steps = flips[epoch * STEPS : (epoch + 1) * STEPS]
        for layer in LAYERS:
            rate = np.mean([step[layer].mean() for step in steps])
            assert float(row[f"flip_rate/{layer}"]) == pytest.approx(rate, rel=1e-12), layer
        everywhere = [np.concatenate([f.ravel() for f in step.values()]) for step in steps]
        assert float(row["flip_rate"]) == pytest.approx(np.mean(everywhere), rel=1e-12)


# Both optimizers


@pytest.mark.fidelity
@pytest.mark.parametrize("chosen", ["bop", "latent"])
def test_real_weights_are_trained_by_keras_adam(digits, tmp_path, deviation, chosen):
    """Against Keras's formula in float64; gradients so small that its epsilon counts."""
    start, gradients = [], []

    def shrink(stepped, args, kwargs):
        if isinstance(stepped, torch.optim.Adam):
            parameters = [p for group in stepped.param_groups for p in group["params"]]
            if not start:
                start.extend(p.detach().double().numpy().copy() for p in parameters)
            for p in parameters:
                p.grad.mul_(1e-6)
            gradients.append([p.grad.double().numpy().copy() for p in parameters])

    handle = register_optimizer_step_pre_hook(shrink)
    try:
        run = settings(chosen, lr=1.0)
        network, _ = train(run, digits, tmp_path / "run", tmp_path / "run.pt")
    finally:
        handle.remove()
    binary = [layer.weight for layer in binary_layers(network).values()] if chosen == "bop" else []
    real = [p for p in network.parameters() if not any(p is b for b in binary)]
    twin = keras_adam(start, gradients, lr=1.0)
    moved = max(np.abs(a - b).max() for a, b in zip(twin, start, strict=True))
    assert moved > 0.1
    away = max(
        np.abs(p.detach().double().numpy() - t).max() for p, t in zip(real, twin, strict=True)
    )
    deviation(f"Adam as in Keras, {chosen}", away / moved, 1e-4)


def test_latent_weights_stay_within_one(digits, tmp_path, monkeypatch):
    largest, step = [], Trainer.step

    def watched(state, *args):
        outcome = step(state, *args)
        weights = [layer.weight for layer in binary_layers(state.network).values()]
        largest.append(max(w.abs().max().item() for w in weights))
        return outcome

    monkeypatch.setattr(Trainer, "step", watched)
    train(settings("latent", lr=0.3), digits, tmp_path / "run", tmp_path / "run.pt")
    assert max(largest) == 1.0, "reached, and never left"


# What is read, and what comes out


@pytest.mark.parametrize(
    ("train_on", "judged_on", "read"),
    [
        ("train", "held_out", ["train", "validation"] * EPOCHS + ["validation"]),
        ("train", "test", ["train", "validation"] * EPOCHS + ["test"]),
        ("all", "held_out", ["all"] * EPOCHS + ["test"]),
    ],
)
def test_which_images_are_read(digits, tmp_path, monkeypatch, train_on, judged_on, read):
    """Test images once, at the end, and only where no others are held out, or by the settings."""
    splits, batches = [], type(digits).batches

    def watched(data, split, *args, **kwargs):
        splits.append(split)
        return batches(data, split, *args, **kwargs)

    monkeypatch.setattr(type(digits), "batches", watched)
    chosen = settings(train_on=train_on, judged_on=judged_on)
    train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")
    assert splits == read
    rows = history(tmp_path / "run")
    assert all((row["val_loss"] == "") == (train_on == "all") for row in rows)
    assert rows[0]["images_seen"] == ("120" if train_on == "all" else "60")


@pytest.mark.parametrize(("train_on", "split"), [("train", "validation"), ("all", "test")])
def test_predictions_are_those_of_the_loaded_network_in_the_order_of_the_images(
    digits, optimizer, tmp_path, train_on, split
):
    from safetensors.numpy import load_file

    folder = tmp_path / "runs" / "quick" / "a-run"
    run = finished_run(digits, folder, optimizer=optimizer, train_on=train_on)
    found = load_file(run / "predictions.safetensors")
    images, labels = next(digits.batches(split, 60))
    network = load_run("a-run", tmp_path)
    assert not network.training
    with torch.no_grad():
        logits = network(images).double().numpy()
    assert (found["labels"] == labels.numpy()).all() and found["top"].shape == (60, 5)
    assert (found["top"][:, 0] == logits.argmax(1)).all()
    assert (np.sort(logits, 1)[:, :-6:-1] == np.take_along_axis(logits, found["top"], 1)).all()
    np.testing.assert_allclose(found["loss"], cross_entropy(logits, labels), rtol=1e-4, atol=1e-5)


def test_training_changed_the_weights_it_is_to_change(digits, optimizer, tmp_path):
    chosen = settings(optimizer)
    torch.manual_seed(0)
    fresh = build(num_classes=10, image_size=16, **network_settings(chosen))
    trained, _ = train(chosen, digits, tmp_path / "run", tmp_path / "run.pt")
    for (name, before), after in zip(fresh.named_parameters(), trained.parameters(), strict=True):
        assert not torch.equal(before, after), name


def test_recomputed_statistics_are_those_of_training_batches(digits, tmp_path):
    """Against means and variances of the first layer's output, computed without batch norm.

    They change what a network says of images, but not how it is trained.
    """
    networks = {}
    for kind in ("moving", "recomputed"):
        chosen = settings(norm_statistics=kind)
        networks[kind], _ = train(chosen, digits, tmp_path / kind, tmp_path / f"{kind}.pt")
    moving, recomputed = networks["moving"], networks["recomputed"]
    for one, other in zip(moving.parameters(), recomputed.parameters(), strict=True):
        assert torch.equal(one, other)
    trainer = Trainer(settings(), digits, "cpu")
    with torch.no_grad():
        maps = [recomputed.conv1(images) for images, _ in trainer.batches(EPOCHS)]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variances = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(recomputed.norm1.running_mean, means)
    torch.testing.assert_close(recomputed.norm1.running_var, variances)
    assert not torch.allclose(moving.norm1.running_mean, means)
