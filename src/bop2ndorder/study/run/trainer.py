"""A run in training: the network, its two optimizers, what they do in a step and an epoch."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ...binary import binary_layers, binary_parameters, clip_latent, use_float16
from ...networks import adam_groups, build
from ...optim import Bop, Bop2ndOrder, FlipOptimizer
from ...schedules import (
    Constant,
    ExponentialDecay,
    NoiseFloor,
    PolynomialDecay,
    set_hyperparameters,
)
from ..data.dataset import Data
from .checkpoint import load_checkpoint, save_checkpoint
from .predict import check_finite, predict

HYPERPARAMETERS = ("gamma", "sigma", "threshold")
STATISTICS_BATCHES = 100
Schedule = Callable[[int], float]


class Trainer:
    """All that changes while a run is trained."""

    def __init__(self, settings: dict[str, Any], data: Data, device: str):
        self.settings, self.data, self.device = settings, data, device
        self.split = settings["train_on"]
        # What the finished network is judged on: test images only where none else are held out.
        self.judged_on = "test" if self.split == "all" else "validation"
        self.workers = settings["threads"] if data.source == "imagenet" else 0
        self.steps = data.count(self.split) // settings["batch_size"]
        if self.steps == 0:
            raise ValueError(
                f"batch_size {settings['batch_size']} is larger than the {data.count(self.split)} "
                f"training images in {data.path}: lower it, or validation, in params.yaml"
            )
        self.network = build(
            num_classes=data.num_classes, image_size=data.image_size, **network_settings(settings)
        ).to(device, memory_format=torch.channels_last)
        if settings.get("precision") == "float16":
            use_float16(self.network)
        self.flipper, real = _flip_optimizer(self.network, settings["optimizer"])
        # Keras's Adam, as released; its epsilon is set at each step (see `_adam_step`).
        self.adam = torch.optim.Adam(adam_groups(self.network, real), fused=True)
        self.schedules = self._schedules()
        self.layers = binary_layers(self.network)
        self.latent_flips = {
            name: torch.zeros((), dtype=torch.int64, device=device)
            for name in (self.layers if self.flipper is None else ())
        }

    def epoch(self, epoch: int) -> dict[str, Any]:
        """Train for one epoch; its row of the history."""
        self.network.train()
        started = time.perf_counter()
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        flips_before = self.flips()
        step = epoch * self.steps
        for images, labels in self.batches(epoch):
            loss, hits = self.step(images, labels, step)
            loss_sum += loss
            correct += hits
            step += 1
        count = self.steps * self.settings["batch_size"]
        loss = loss_sum.item() / self.steps
        seconds = time.perf_counter() - started
        check_finite(loss, f"training loss of epoch {epoch + 1}")
        row = {
            "epoch": epoch + 1,
            "step": step,
            "images_seen": (epoch + 1) * count,
            "train_loss": loss,
            "train_accuracy": correct.item() / count,
            **self.validate(),
            **self.flip_rates(flips_before),
            **{name: self._value(name, step - 1) for name in (*HYPERPARAMETERS, "lr")},
        }
        return {**row, "images_per_second": count / seconds}

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of an epoch, shuffled and augmented."""
        return self.data.batches(
            self.split,
            self.settings["batch_size"],
            device=self.device,
            seed=_epoch_seed(self.settings["seed"], epoch),
            augment=self.settings["data"]["augment"],
            workers=self.workers,
        )

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One step of both optimizers; the batch's mean cross-entropy and number of hits."""
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        self.network.zero_grad()
        loss.backward()
        if self.flipper is not None:
            set_hyperparameters(self.flipper, self.schedules["flipper"], step)
            self.flipper.step()
            self._adam_step(step)
        else:
            signs = {name: layer.weight >= 0 for name, layer in self.layers.items()}
            self._adam_step(step)
            clip_latent(self.network)
            for name, layer in self.layers.items():
                self.latent_flips[name] += (signs[name] != (layer.weight >= 0)).sum()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _adam_step(self, step: int) -> None:
        set_hyperparameters(self.adam, self.schedules["adam"], step)
        # Keras adds 1e-7 to the root before the bias correction, torch after it.
        for group in self.adam.param_groups:
            group["eps"] = 1e-7 / math.sqrt(1 - 0.999 ** (step + 1))
        self.adam.step()

    def flips(self) -> dict[str, int]:
        """Flips of each binary layer, counted from any step; a latent weight's sign counts."""
        if self.flipper is None:
            return {name: count.item() for name, count in self.latent_flips.items()}
        states = {name: self.flipper.state.get(layer.weight) for name, layer in self.layers.items()}
        return {name: state["flips"].item() if state else 0 for name, state in states.items()}

    def flip_rates(self, before: dict[str, int]) -> dict[str, float]:
        """Flips per binary weight and step over an epoch: of all layers, and of each."""
        flips = {name: count - before[name] for name, count in self.flips().items()}
        sizes = {name: layer.weight.numel() for name, layer in self.layers.items()}
        return {
            "flip_rate": sum(flips.values()) / sum(sizes.values()) / self.steps,
            **{f"flip_rate/{name}": flips[name] / sizes[name] / self.steps for name in sizes},
        }

    def validate(self) -> dict[str, float | None]:
        """Loss and accuracy on the validation split; nothing where it is trained on."""
        if self.split == "all":
            return {"val_loss": None, "val_accuracy": None}
        found = self.predict("validation")
        hits = (found["top"][:, 0] == found["labels"]).sum().item()
        return {
            "val_loss": found["loss"].mean().item(),
            "val_accuracy": hits / len(found["labels"]),
        }

    def predict(self, split: str) -> dict[str, Tensor]:
        """What the network says of a split of the data.

        Batch norm's moving averages lag behind weights that still flip. Where the settings say so
        they are averaged anew over training images; training itself never reads them.
        """
        if self.settings["norm_statistics"] == "recomputed":
            batches = self.batches(self.settings["epochs"])
            update_bn(itertools.islice(batches, STATISTICS_BATCHES), self.network)
        found = predict(self.network, self.data, split, self.device, self.workers)
        check_finite(found["loss"].mean().item(), f"loss on the {split} images")
        return found

    def save(self, path: Path, history: list[dict[str, Any]]) -> None:
        """Write a checkpoint."""
        state = {
            "history": history,
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "flipper": None if self.flipper is None else self.flipper.state_dict(),
        }
        save_checkpoint(state, path)

    def resume(self, path: Path) -> list[dict[str, Any]]:
        """Take up a checkpoint; the history up to it."""
        state = load_checkpoint(path, self.device)
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        if self.flipper is not None:
            self.flipper.load_state_dict(state["flipper"])
        return state["history"]

    def _schedules(self) -> dict[str, dict[str, Schedule]]:
        """Schedules of both optimizers' hyperparameters."""
        optimizer, epochs = self.settings["optimizer"], self.settings["epochs"]
        flipper: dict[str, Schedule] = {}
        for name in HYPERPARAMETERS:
            if name in optimizer:
                gamma = flipper.get("gamma")
                flipper[name] = make_schedule(optimizer[name], self.steps, epochs, gamma)
        return {
            "flipper": flipper,
            "adam": {"lr": make_schedule(self.settings["lr"], self.steps, epochs)},
        }

    def _value(self, name: str, step: int) -> float | None:
        """A hyperparameter's value at a step; None where the optimizer has none of that name."""
        schedule = (self.schedules["flipper"] | self.schedules["adam"]).get(name)
        return None if schedule is None else schedule(step)


def network_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What `networks.build` takes of a run's settings."""
    return {**settings["network"], "latent": settings["optimizer"]["name"] == "latent"}


def make_schedule(
    value: float | dict[str, Any], steps: int, epochs: int, gamma: Schedule | None = None
) -> Schedule:
    """The schedule that params.yaml declares, its length turned into steps.

    Args:
        value: a number, or a mapping with kind, start and so on.
        steps: steps in an epoch.
        epochs: epochs of the run.
        gamma: the schedule of gamma, which a noise floor follows.
    """
    if not isinstance(value, dict):
        return Constant(value)
    if value["kind"] == "noise_floor":
        return NoiseFloor(value["times"], gamma)
    if value["kind"] == "exponential":
        return ExponentialDecay(value["start"], value["rate"], round(value["every"] * steps))
    length = round(value["until"] * epochs * steps)
    return PolynomialDecay(value["start"], value["end"], length, value["power"])


def _epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch of each run; neighbouring seeds share none of them."""
    return seed * 1_000_003 + epoch


def _bop2ndorder(binary: list[nn.Parameter], settings: dict[str, Any]) -> Bop2ndOrder:
    correction = settings["bias_correction"]
    correction = None if correction == "none" else correction
    return Bop2ndOrder(binary, eps=settings["eps"], bias_correction=correction)


# Name in a run's settings -> what makes the optimizer of the binary weights; what is scheduled is
# set at each step.
FLIP_OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], dict[str, Any]], FlipOptimizer]] = {
    "bop": lambda binary, settings: Bop(binary),
    "bop2ndorder": _bop2ndorder,
}


def _flip_optimizer(network: nn.Module, settings: dict[str, Any]):
    """The optimizer of the binary weights (None for latent ones) and the other parameters."""
    if settings["name"] == "latent":
        return None, list(network.parameters())
    binary, real = binary_parameters(network)
    return FLIP_OPTIMIZERS[settings["name"]](binary, settings), real
