"""Epochs on the pretended device: each network at full size with each optimizer.

    python tests/helpers/pretended_epochs.py [TEXT ...]

prints as JSON what was seen in each of them, or in those whose name holds one of the texts.
"""

import itertools
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import image_folders
import torch
from pretended_device import DEVICE, PretendedDevice
from torch import Tensor

from bop2ndorder.binary import binary_layers
from bop2ndorder.study.config.settings import CLASSES, Settings
from bop2ndorder.study.data import Data, open_data, prepare
from bop2ndorder.study.run.train import use_deterministic_kernels
from bop2ndorder.study.run.trainer import Trainer

STEPS = 4
# As published, but for the batch of files, which have to be decoded.
DATA = {
    "cifar10": {"size": 32, "batch": 50, "augment": {"pad": 4, "flip": True}},
    "imagenet": {"size": 224, "batch": 16, "augment": {"crop": "random_resized", "flip": True}},
}
BINARYNET = {"name": "binarynet", "width": 128, "dense": 1024}
NETWORKS = {
    "binarynet batch": ("cifar10", {**BINARYNET, "norm": "batch"}),
    "binarynet layer": ("cifar10", {**BINARYNET, "norm": "layer"}),
    "xnornet": ("imagenet", {"name": "xnornet", "width": 1.0}),
    "birealnet": ("imagenet", {"name": "birealnet", "width": 1.0}),
}


def falling(start: float) -> dict[str, Any]:
    """A schedule that gives another number at every step."""
    return {"kind": "polynomial", "start": start, "end": start / 100}


BOP = {"name": "bop", "gamma": falling(1e-3), "threshold": falling(1e-6)}
SECOND = {**BOP, "name": "bop2ndorder", "sigma": falling(1e-2)}
OPTIMIZERS = {
    "bop": BOP,
    "none": {**SECOND, "bias_correction": "none"},
    "constant": {**SECOND, "bias_correction": "constant"},
    "adam": {**SECOND, "bias_correction": "adam"},
    "latent": {"name": "latent"},
}


def in_each_step(act: Callable[[Tensor], Any]) -> Callable[[Trainer], None]:
    """What changes a trainer so that each step also acts on its loss."""

    def change(trainer: Trainer) -> None:
        step = trainer.step

        def changed(*arguments: Any) -> tuple[Tensor, Tensor]:
            loss, hits = step(*arguments)
            act(loss)
            return loss, hits

        trainer.step = changed

    return change


def in_each_layer(trainer: Trainer) -> None:
    """One operation more in each binary layer."""
    for layer in binary_layers(trainer.network).values():
        layer.register_forward_pre_hook(lambda layer, inputs: inputs[0] * 1)


def audited(trainer: Trainer) -> None:
    """Every step counts for the history, as every 10th does."""
    trainer.audit.takes = lambda step: True


count = itertools.count()
# Mistakes that must be seen, made in the first of the networks with Bop.
MISTAKES: dict[str, Callable[[Trainer], None]] = {
    "item": in_each_step(lambda loss: loss.item()),
    "bool": in_each_step(lambda loss: bool(loss > 0)),
    "list": in_each_step(lambda loss: loss.tolist()),
    "copy to the CPU": in_each_step(lambda loss: loss.to("cpu", non_blocking=True)),
    "into a CPU tensor": in_each_step(lambda loss: torch.zeros(()).copy_(loss)),
    "mask": in_each_step(lambda loss: loss.view(1)[loss.view(1) > 0]),
    "two devices": in_each_step(lambda loss: loss * torch.ones(())),
    "copy to the device": in_each_step(lambda loss: torch.tensor(0.5, device=loss.device)),
    "number": in_each_step(lambda loss: loss * next(count)),
    "operation": in_each_layer,
}


def epoch(
    data: Path, settings: dict[str, Any], change: Callable[[Trainer], None]
) -> dict[str, Any]:
    """One epoch of a changed trainer; from its first to its last step no value may be read back.

    Returns:
        operations, copies: of the device, from the moment a batch is there to when the next one
            is, for each batch: a step, and the making of the next batch;
        differing: pairs of operations of the second and third step that differ, in what they are
            or in a number that the CPU hands them: a CUDA graph would repeat the second step's.
        Or error: how it ended.
    """
    marks: list[tuple[int, int]] = []
    device = PretendedDevice()

    def watched(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        try:
            for batch in batches:
                device.readable = False
                marks.append((len(device.operations), device.copies))
                yield batch
            marks.append((len(device.operations), device.copies))
        finally:
            device.readable = True

    try:
        with device:
            trainer = Trainer(settings, open_as_published(data), DEVICE)
            change(trainer)
            batches = trainer.batches
            trainer.batches = lambda epoch: watched(batches(epoch))
            trainer.epoch(0)
    except Exception:  # whatever it is, the test shows it
        return {"error": traceback.format_exc()}
    places, copies = zip(*marks, strict=True)
    second, third = (device.operations[places[step] : places[step + 1]] for step in (1, 2))
    pairs = itertools.zip_longest(second, third)
    return {
        "operations": [after - before for before, after in itertools.pairwise(places)],
        "copies": [after - before for before, after in itertools.pairwise(copies)],
        "differing": [pair for pair in pairs if pair[0] != pair[1]],
    }


def settings_of(
    source: str, network: dict[str, Any], optimizer: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    """Settings of a run of one epoch; its files are read in this process."""
    facts = DATA[source]
    settings = Settings(
        data_name=source,
        data={**prepared(source), "augment": facts["augment"]},
        network=network,
        optimizer=optimizer,
        lr=falling(1e-2),
        epochs=1,
        batch_size=facts["batch"],
        train_on="all",
        norm_statistics="moving",
        seed=0,
        threads=1,
        **changes,
    )
    return {**settings.model_dump(), "threads": 0}


def prepared(source: str) -> dict[str, Any]:
    """Settings for `prepare`: half of an epoch's images are training, half validation images."""
    facts = DATA[source]
    half = STEPS * facts["batch"] // 2
    return image_folders.settings(source, image_size=facts["size"], validation=half)


def make_data(source: str, folder: Path) -> Path:
    """Prepare generated images of two classes, small since they are resized anyway."""
    each = STEPS * DATA[source]["batch"] // 2
    image_folders.write_folder(folder, train=each, test=1, test_name="val")
    prepare(prepared(source), folder / "data", folder, progress=False)
    return folder / "data"


def open_as_published(folder: Path) -> Data:
    """Open prepared data with as many classes as published, which need as many images."""
    data = open_data(folder)
    data.num_classes = CLASSES[data.source]
    return data


def main(texts: list[str]) -> dict[str, dict[str, Any]]:
    torch.set_num_threads(1)
    use_deterministic_kernels()
    cases = {
        f"{network} {optimizer}": (
            *NETWORKS[network],
            OPTIMIZERS[optimizer],
            lambda trainer: None,
            {},
        )
        for network in NETWORKS
        for optimizer in OPTIMIZERS
    }
    first = next(iter(NETWORKS.values()))
    cases |= {f"mistake {name}": (*first, BOP, change, {}) for name, change in MISTAKES.items()}
    # With each rule as a shadow of its own, and of the others.
    rules = {name: rule for name, rule in OPTIMIZERS.items() if name != "latent"}
    cases |= {f"audited {name}": (*first, rule, audited, rules) for name, rule in rules.items()}
    with tempfile.TemporaryDirectory() as folder:
        data = {source: make_data(source, Path(folder, source)) for source in DATA}
        return {
            name: epoch(
                data[source], settings_of(source, network, optimizer, shadows=shadows), change
            )
            for name, (source, network, optimizer, change, shadows) in cases.items()
            if not texts or any(text in name for text in texts)
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
