"""Training: a run's settings and prepared data in; weights, history and predictions out."""

import csv
import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .binary import binary_layers, binary_parameters, clip_latent
from .data.dataset import Data
from .networks import adam_groups, build
from .optim import Bop, Bop2ndOrder
from .schedules import Constant, ExponentialDecay, PolynomialDecay, set_hyperparameters
from .weights import save_weights

HYPERPARAMETERS = ("gamma", "sigma", "threshold")
EVALUATION_BATCH = 500
TOP = 5
Schedule = Callable[[int], float]


def train(
    settings: dict[str, Any],
    data: Data,
    folder: Path,
    checkpoint: Path,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> nn.Module:
    """Train one run, from the start or from where its checkpoint left off.

    The result depends on the settings, the data and the software only, not on where an earlier
    attempt was stopped: the order of images and all augmentation derive from seed and epoch.

    Args:
        settings: as `config.Settings.model_dump()` gives them.
        data: the prepared data set.
        folder: receives weights.safetensors, predictions.safetensors and history.csv.
        checkpoint: written after every epoch, removed at the end.
        device: "cpu" or a CUDA device.
        on_epoch: called with each epoch's row of the history.

    Returns:
        the trained network.

    Raises:
        FloatingPointError: a loss is no longer a finite number.
        ValueError: the checkpoint is damaged, or the batch is larger than the data.
        OSError: the checkpoint cannot be written.
    """
    torch.set_num_threads(settings["threads"])
    torch.use_deterministic_algorithms(True)
    # It would also fill every new tensor, to show reads of unset memory: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(settings["seed"])
    state = TrainingState(settings, data, device)
    history = state.resume(checkpoint) if checkpoint.exists() else []
    for epoch in range(len(history), settings["epochs"]):
        history.append(state.epoch(epoch))
        state.save(checkpoint, history)
        on_epoch(history[-1])
    folder.mkdir(parents=True, exist_ok=True)
    write_history(history, folder / "history.csv")
    save_weights(state.network, folder / "weights.safetensors")
    save_file(state.predict("test"), folder / "predictions.safetensors")
    checkpoint.unlink(missing_ok=True)
    return state.network


class TrainingState:
    """All that changes while a run is trained."""

    def __init__(self, settings: dict[str, Any], data: Data, device: str):
        self.settings, self.data, self.device = settings, data, device
        self.split = settings["train_on"]
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
        batches = self.data.batches(
            self.split,
            self.settings["batch_size"],
            device=self.device,
            seed=_epoch_seed(self.settings["seed"], epoch),
            augment=self.settings["data"]["augment"],
            workers=self.workers,
        )
        for images, labels in batches:
            loss, hits = self.step(images, labels, step)
            loss_sum += loss
            correct += hits
            step += 1
        count = self.steps * self.settings["batch_size"]
        loss = loss_sum.item() / self.steps
        seconds = time.perf_counter() - started
        _check_finite(loss, f"training loss of epoch {epoch + 1}")
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
        """Flips of each binary layer since the first step; a latent weight's sign counts."""
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
        """What the network says of a split (see `predict` below)."""
        found = predict(self.network, self.data, split, self.device, self.workers)
        _check_finite(found["loss"].mean().item(), f"loss on the {split} images")
        return found

    def save(self, path: Path, history: list[dict[str, Any]]) -> None:
        """Write a checkpoint; a process killed in between leaves the last one whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "history": history,
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "flipper": None if self.flipper is None else self.flipper.state_dict(),
            "latent_flips": self.latent_flips,
        }
        partial = path.with_name(path.name + ".partial")
        try:
            torch.save(state, partial)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise OSError(
                f"the checkpoint {path} cannot be written, is the disk full? ({error})"
            ) from error
        os.replace(partial, path)

    def resume(self, path: Path) -> list[dict[str, Any]]:
        """Take up a checkpoint; the history up to it."""
        try:
            # torch does not look at the checksums that it writes.
            with zipfile.ZipFile(path) as archive:
                if name := archive.testzip():
                    raise ValueError(f"its part {name} is not what was written")
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise ValueError(
                f"the checkpoint {path} is damaged ({error}): remove it to train from the start"
            ) from error
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        if self.flipper is not None:
            self.flipper.load_state_dict(state["flipper"])
        self.latent_flips = state["latent_flips"]
        return state["history"]

    def _schedules(self) -> dict[str, dict[str, Schedule]]:
        """Schedules of both optimizers' hyperparameters."""
        optimizer = self.settings["optimizer"]
        flipper = {name: optimizer[name] for name in HYPERPARAMETERS if name in optimizer}
        return {
            who: {
                name: make_schedule(value, self.steps, self.settings["epochs"])
                for name, value in values.items()
            }
            for who, values in (("flipper", flipper), ("adam", {"lr": self.settings["lr"]}))
        }

    def _value(self, name: str, step: int) -> float | None:
        """A hyperparameter's value at a step; None where the optimizer has none of that name."""
        schedule = (self.schedules["flipper"] | self.schedules["adam"]).get(name)
        return None if schedule is None else schedule(step)


def network_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What `networks.build` takes of a run's settings."""
    return {**settings["network"], "latent": settings["optimizer"]["name"] == "latent"}


def make_schedule(value: float | dict[str, Any], steps: int, epochs: int) -> Schedule:
    """The schedule that params.yaml declares, its lengths in epochs turned into steps.

    Args:
        value: a number, or a mapping with kind, start and so on.
        steps: steps in an epoch.
        epochs: epochs of the run, over which a polynomial goes unless it says otherwise.
    """
    if not isinstance(value, dict):
        return Constant(value)
    if value["kind"] == "exponential":
        return ExponentialDecay(value["start"], value["rate"], round(value["every"] * steps))
    length = round((value["epochs"] or epochs) * steps)
    return PolynomialDecay(value["start"], value["end"], length, value["power"])


@torch.inference_mode()
def predict(
    network: nn.Module, data: Data, split: str, device: str, workers: int = 0
) -> dict[str, Tensor]:
    """What a network says of every image of a split, in the split's order.

    Args:
        network: is put into evaluation mode.
        data, split, workers: whose images, and how many processes decode them (ImageNet only).
        device: where the network is.

    Returns:
        top: int16 (N, k), the k = min(5, classes) likeliest classes, the likeliest first;
        loss: float32 (N,), cross-entropy in nats; labels: int16 (N,). All on the CPU.
    """
    network.eval()
    parts: dict[str, list[Tensor]] = {"top": [], "loss": [], "labels": []}
    for images, labels in data.batches(split, EVALUATION_BATCH, device=device, workers=workers):
        logits = network(images)
        parts["top"].append(logits.topk(min(TOP, data.num_classes)).indices.to(torch.int16))
        parts["loss"].append(F.cross_entropy(logits, labels, reduction="none"))
        parts["labels"].append(labels.to(torch.int16))
    return {name: torch.cat(part).cpu() for name, part in parts.items()}


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """One row an epoch; numbers in full precision, so that equal runs give equal bytes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _check_finite(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {what} is {loss}: the run has diverged; lower lr or gamma in params.yaml"
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch of each run; neighbouring seeds share none of them."""
    return seed * 1_000_003 + epoch


def _flip_optimizer(network: nn.Module, settings: dict[str, Any]):
    """The optimizer of the binary weights (None for latent ones) and the other parameters."""
    if settings["name"] == "latent":
        return None, list(network.parameters())
    binary, real = binary_parameters(network)
    if settings["name"] == "bop":
        return Bop(binary), real
    correction = settings["bias_correction"]
    return (
        Bop2ndOrder(
            binary,
            eps=settings["eps"],
            bias_correction=None if correction == "none" else correction,
        ),
        real,
    )
