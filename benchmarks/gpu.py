"""Training throughput on a GPU, by network, precision and graph: python -m benchmarks.gpu

It needs torch, NumPy and safetensors only, so that it also runs where nothing else is installed,
and writes results.json case by case, so that it may be stopped. **No GPU has run it so far.**
"""

import gc
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bop2ndorder.study.data import Data, open_data
from bop2ndorder.study.run.evaluate import TIMES
from bop2ndorder.study.run.train import train

from . import card, machine, results
from .random_images import write_random_images
from .run_settings import COMMON

BINARYNET = {"name": "binarynet", "width": 128, "dense": 1024, "norm": "batch"}
XNORNET = {"name": "xnornet", "width": 1.0}
BIREALNET = {"name": "birealnet", "width": 1.0}
CIFAR = {"images": 20_000, "size": 32, "classes": 10}
IMAGENET = {"images": 5_120, "size": 224, "classes": 1000}
# Network, batch and images of an epoch. Those of ImageNet come as arrays and are not varied: what
# reads and decodes them is measured apart.
CASES = (
    (BINARYNET, 50, CIFAR, {"pad": 4, "flip": True}),
    (BINARYNET, 100, CIFAR, {"pad": 4, "flip": True}),
    (XNORNET, 256, IMAGENET, None),
    (BIREALNET, 256, IMAGENET, None),
)
PRECISIONS = ("float32", "tf32", "float16")
GRAPHS = ("auto", "off")
# Epochs that are measured, after one to warm up; none begins after so many seconds.
EPOCHS, SECONDS = 7, 10.0


class Enough(Exception):
    """A case has been measured."""


def measure(device: str) -> Iterator[dict[str, Any]]:
    """Images per second of each case: the median of its epochs, as `train` itself takes their time.

    Args:
        device: "cuda".

    Yields:
        a row for each case: network, batch, image_size, precision, graph, epochs measured, and
        images_per_second, None where the card's memory is too small.
    """
    with tempfile.TemporaryDirectory() as folder:
        opened: dict[int, Data] = {}
        for (network, batch, kind, augment), precision, graph in itertools.product(
            CASES, PRECISIONS, GRAPHS
        ):
            size = kind["size"]
            if size not in opened:
                place = Path(folder, str(size))
                place.mkdir()
                write_random_images(place, **kind)
                opened[size] = open_data(place)
            chosen = settings(network, batch, augment, precision, graph)
            try:
                rates = epochs(chosen, opened[size], Path(folder), device)
            except torch.OutOfMemoryError:
                rates = []
            yield {
                "network": network["name"],
                "batch": batch,
                "image_size": size,
                "precision": precision,
                "graph": graph,
                "epochs": len(rates),
                "images_per_second": median(rates) if rates else None,
            }


def epochs(chosen: dict[str, Any], data: Data, folder: Path, device: str) -> list[float]:
    """Images per second in each measured epoch of a training."""
    rates: list[float] = []
    ends = math.inf

    def note(row: dict[str, Any]) -> None:
        nonlocal ends
        if row["epoch"] == 1:
            ends = time.monotonic() + SECONDS
            return
        rates.append(row[TIMES])
        if len(rates) == EPOCHS or time.monotonic() > ends:
            raise Enough

    checkpoint = folder / "checkpoint.pt"
    try:
        train(chosen, data, folder / "run", checkpoint, device, note, checkpoint_every=math.inf)
    except Enough:
        checkpoint.unlink(missing_ok=True)
    gc.collect()  # or what refers to itself keeps its memory on the card until some later time
    return rates


def settings(network, batch, augment, precision, graph) -> dict[str, Any]:
    """Settings of a run: Bop2ndOrder as the paper trains with it, and Adam."""
    return {
        **COMMON,
        "data": {"augment": augment},
        "network": network,
        "epochs": 2 * EPOCHS,
        "batch_size": batch,
        "train_on": "all",
        "norm_statistics": "moving",
        "threads": 1,
        "precision": precision,
        "graph": graph,
    }


def main() -> None:
    """Measure all cases in a few minutes; `python -m benchmarks.page` then shows them."""
    if not torch.cuda.is_available():
        sys.exit(
            f"torch {torch.__version__} finds a GPU here that it cannot use: its CUDA is "
            f"{torch.version.cuda}, see docs/gpus.md for what cards and drivers that takes"
            if card.cards()
            else card.NONE
        )
    found = []
    for row in measure("cuda"):
        found.append(row)
        rate = row["images_per_second"]
        speed = "not enough memory" if rate is None else f"{rate:,.0f} images/s"
        print(*(row[key] for key in ("network", "batch", "precision")), f"graph {row['graph']}:",
              speed, flush=True)  # fmt: skip
        results.note(torch.cuda.get_device_name(), "gpu", machine.gpu_facts(), found)


if __name__ == "__main__":
    main()
