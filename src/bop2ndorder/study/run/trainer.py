"""A run in training: the network, its two optimizers, what they do in a step and an epoch."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from ...binary import use_float16
from ...networks import build
from ..data.dataset import Data
from .audit import Audit
from .checkpoint import load_checkpoint, save_checkpoint
from .graph import GraphedStep, takes_graph
from .predict import check_finite, predict
from .ranks import ALONE, Ranks
from .updates import HYPERPARAMETERS, DeviceUpdates, HostUpdates

STATISTICS_BATCHES = 100


class Trainer:
    """All that changes while a run is trained."""

    def __init__(self, settings: dict[str, Any], data: Data, device: str, ranks: Ranks = ALONE):
        self.settings, self.data, self.device, self.ranks = settings, data, device, ranks
        self.split = settings["train_on"]
        # What the finished network is judged on: test images where none else are held out, or where
        # the settings say so.
        on_test = self.split == "all" or settings.get("judged_on") == "test"
        self.judged_on = "test" if on_test else "validation"
        threads = self.ranks.threads(settings["threads"])
        self.workers = threads if data.source == "imagenet" else 0
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
        updates = HostUpdates if torch.device(device).type == "cpu" else DeviceUpdates
        self.updates = updates(self.network, settings, self.steps)
        self.audit = Audit(self.updates)
        stop, whole = settings.get("stop_after"), settings["epochs"] * self.steps
        self.last = whole if stop is None else min(stop, whole)
        # Of an epoch; read when it ends.
        self.loss_sum = torch.zeros((), device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        graph = torch.device(device).type == "cuda" and takes_graph(settings)
        self.graphed = GraphedStep(self._step, self._tensors) if graph else None

    @property
    def epochs(self) -> int:
        """Epochs of the run, counting one that `stop_after` cuts short."""
        return -(-self.last // self.steps)

    def epoch(self, epoch: int) -> dict[str, Any]:
        """Train for one epoch, or as much of it as `stop_after` leaves; its row of the history."""
        self.network.train()
        started = time.perf_counter()
        self.loss_sum.zero_()
        self.hits.zero_()
        self.audit.begin()
        flips_before = self.updates.flips()
        first = step = epoch * self.steps
        for images, labels in self.batches(epoch):
            self.step(images, labels, step)
            step += 1
            if step == self.last < first + self.steps:
                break
        steps = step - first
        count = steps * self.settings["batch_size"]
        totals = torch.stack([self.loss_sum.double(), self.hits.double()])
        loss_sum, hits = self.ranks.sum(totals).tolist()
        loss = loss_sum / steps / self.ranks.size
        seconds = time.perf_counter() - started
        check_finite(loss, f"training loss of epoch {epoch + 1}")
        for name, tensor in self._tensors().items():  # the next sign would hide a NaN from the loss
            if not tensor.isfinite().all():
                raise FloatingPointError(
                    f"after epoch {epoch + 1} {name} is no longer finite: the run has diverged; "
                    "lower lr or gamma in params.yaml"
                )
        row = {
            "epoch": epoch + 1,
            "step": step,
            "images_seen": step * self.settings["batch_size"],
            "train_loss": loss,
            "train_accuracy": hits / count,
            **self.validate(),
            **self.flip_rates(flips_before, steps),
            **self.audit.row(),
            **{name: self.updates.value(name, step - 1) for name in (*HYPERPARAMETERS, "lr")},
        }
        return {**row, "images_per_second": count / seconds}

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's slice of the training batches of an epoch, shuffled and augmented."""
        return self.data.batches(
            self.split,
            self.settings["batch_size"],
            device=self.device,
            seed=_epoch_seed(self.settings["seed"], epoch),
            augment=self.settings["data"]["augment"],
            workers=self.workers,
            share=(self.ranks.rank, self.ranks.size),
        )

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One step of both optimizers, the `step`th from 0.

        Returns:
            the slice's mean cross-entropy and its number of hits, which are also added to
            `loss_sum` and `hits`; on a GPU the next step overwrites them.
        """
        self.updates.prepare(step)
        audited = self.audit.takes(step)
        if audited:
            self.audit.before()
        outcome = (self.graphed or self._step)(images, labels)
        if audited:
            self.audit.after()
        return outcome

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        self.network.zero_grad()
        loss.backward()
        self.ranks.mean_gradients(self.network.parameters())
        self.updates.step()
        loss, hits = loss.detach(), (logits.detach().argmax(1) == labels).sum()
        self.loss_sum += loss
        self.hits += hits
        return loss, hits

    def _tensors(self) -> dict[Any, Tensor]:
        """All tensors that a step changes, by a name."""
        network = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        return {**network, **self.updates.tensors(), "sum": self.loss_sum, "hits": self.hits}

    def flip_rates(self, before: dict[str, int], steps: int) -> dict[str, float]:
        """Flips per binary weight and step over so many steps: of all layers, and of each."""
        flips = {name: count - before[name] for name, count in self.updates.flips().items()}
        sizes = {name: layer.weight.numel() for name, layer in self.updates.layers.items()}
        return {
            "flip_rate": sum(flips.values()) / sum(sizes.values()) / steps,
            **{f"flip_rate/{name}": flips[name] / sizes[name] / steps for name in sizes},
        }

    def validate(self) -> dict[str, float | None]:
        """Loss and accuracy on the validation split; nothing where it is trained on.

        Of several ranks the first alone looks.
        """
        if self.split == "all" or self.ranks.rank > 0:
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
            **self.updates.state_dict(),
        }
        save_checkpoint(state, path)

    def resume(self, path: Path) -> list[dict[str, Any]]:
        """Take up a checkpoint; the history up to it."""
        state = load_checkpoint(path, self.device)
        self.network.load_state_dict(state["network"])
        self.updates.load_state_dict(state)
        if self.graphed is not None:
            self.graphed.forget()
        return state["history"]


def network_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What `networks.build` takes of a run's settings."""
    return {**settings["network"], "latent": settings["optimizer"]["name"] == "latent"}


def _epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch of each run; neighbouring seeds share none of them."""
    return seed * 1_000_003 + epoch
