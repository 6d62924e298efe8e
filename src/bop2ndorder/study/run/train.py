"""Training: a run's settings and prepared data in; weights, history and predictions out."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from ...weights import save_weights
from ..data.dataset import Data
from ..numerics import require
from .deterministic import use_deterministic_kernels
from .evaluate import TIMES
from .precision import use_precision
from .ranks import ALONE, Ranks
from .trainer import Trainer


def train(
    settings: dict[str, Any],
    data: Data,
    folder: Path,
    checkpoint: Path,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    ranks: Ranks = ALONE,
    checkpoint_every: float = 0,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train one run, from the start or from where its checkpoint left off.

    The result depends on the settings, the data and the software only, not on where an earlier
    attempt was stopped: the order of images and all augmentation derive from seed and epoch.

    The finished network answers the validation images where the settings hold them out of training,
    else the test images, which so are read for final comparisons only.

    Args:
        settings: as `config.Settings.model_dump()` gives them.
        data: the prepared data set.
        folder: receives weights.safetensors, predictions.safetensors and history.csv.
        checkpoint: written after an epoch; it stays, for the caller to remove once all that a run
            needs is written. Taken up after the last epoch, it leads to the same files.
        device: "cpu" or a CUDA device.
        on_epoch: called with each epoch's row of the history.
        ranks: the processes that train the run together, as many as its setting `gpus`, 1 if it has
            none (`ranks.joined`). The first alone writes files and calls `on_epoch`; to the others'
            history evaluation is unknown.
        checkpoint_every: seconds that a checkpoint has to be old before an epoch writes the next;
            0, the default, writes one after every epoch. It decides how much a stop costs, never
            the result.

    Returns:
        the trained network, and its history: the rows of history.csv and the speed in each epoch.

    Raises:
        FloatingPointError: a loss, a weight or a moment is no longer a finite number.
        ValueError: the checkpoint is damaged, or of a training on the other kind of device, CPU or
            GPU; the batch is larger than the data or not to be shared evenly; or there are not as
            many ranks as `gpus` says.
        OSError: the checkpoint cannot be written.
        RuntimeError: numerics are to be portable, and torch was loaded otherwise; CUDA was used
            before what it needs was set; or torch reports another precision. Says what to do.
    """
    require(settings, device)
    if settings.get("gpus", 1) != ranks.size:
        raise ValueError(
            f"gpus is {settings['gpus']}, and the run is trained by as many processes, not by "
            f"{ranks.size}: `bop2ndorder train` starts them; from Python see `ranks.joined`"
        )
    torch.set_num_threads(ranks.threads(settings["threads"]))
    use_deterministic_kernels(device)
    use_precision(settings, device)
    torch.manual_seed(settings["seed"])
    trainer = Trainer(settings, data, device, ranks)
    history = trainer.resume(checkpoint) if checkpoint.exists() else []
    ranks.barrier()  # all have looked for the checkpoint, which the first may soon write
    written = time.monotonic()
    for epoch in range(len(history), trainer.epochs):
        history.append(trainer.epoch(epoch))
        if ranks.rank == 0:
            if time.monotonic() - written >= checkpoint_every:
                trainer.save(checkpoint, history)
                written = time.monotonic()
            on_epoch(history[-1])
    if ranks.rank == 0:
        write_files(trainer, history, folder)
    return trainer.network, history


def write_files(trainer: Trainer, history: list[dict[str, Any]], folder: Path) -> None:
    """Judge the trained network, and write weights, predictions and history."""
    folder.mkdir(parents=True, exist_ok=True)
    write_history(history, folder / "history.csv")
    answers, split = trainer.predict(trainer.judged_on), trainer.judged_on
    save_file(answers, folder / "predictions.safetensors", {"split": split})
    save_weights(trainer.network, folder / "weights.safetensors")


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """One row an epoch; without times and in full precision: equal runs give equal bytes."""
    columns = [name for name in history[0] if name != TIMES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
