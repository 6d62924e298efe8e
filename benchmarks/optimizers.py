"""One step of the optimizers on 14 million binary weights."""

import statistics
import time
from typing import Any

import click
import torch
from torch import nn
from torch.optim import Adam, Optimizer

from bop2ndorder.binary import binary_parameters
from bop2ndorder.networks import binarynet
from bop2ndorder.optim import Bop, Bop2ndOrder

from .machine import copy_bandwidth

TURNS = 15
# Passes over the weights' memory that an update cannot do without: reads and writes of weight,
# gradient and moments.
PASSES = {"Bop": 5, "Bop2ndOrder": 7, "Adam, fused": 7, "Adam, foreach": 7}


def measure() -> list[dict[str, Any]]:
    """Median seconds of a step for one and two threads, all optimizers taking turns."""
    rows = []
    shapes = [
        parameter.shape for parameter in binary_parameters(binarynet(dense=1536))[0]
    ]  # 14 million
    weights = sum(shape.numel() for shape in shapes)
    optimizers: dict[str, Optimizer] = {
        "Bop": Bop(random_weights(shapes)),
        "Bop2ndOrder": Bop2ndOrder(random_weights(shapes)),
        "Adam, fused": Adam(random_weights(shapes), fused=True),
        "Adam, foreach": Adam(random_weights(shapes), foreach=True),
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seconds: dict[str, list[float]] = {name: [] for name in optimizers}
        for turn in range(-2, TURNS):
            for name, optimizer in optimizers.items():
                started = time.perf_counter()
                optimizer.step()
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - started)
        bandwidth = copy_bandwidth(threads)
        median = {name: statistics.median(found) for name, found in seconds.items()}
        for name, found in median.items():
            rows.append({
                "optimizer": name,
                "threads": threads,
                "weights": weights,
                "milliseconds": 1e3 * found,
                "times_fused_adam": found / median["Adam, fused"],
                "times_foreach_adam": found / median["Adam, foreach"],
                "fraction_of_copy_bandwidth": 4 * weights * PASSES[name] / found / bandwidth,
            })  # fmt: skip
            click.echo(f"{name}, {threads} threads: {1e3 * found:.1f} ms")
    return rows


def random_weights(shapes: list[torch.Size]) -> list[nn.Parameter]:
    """Binary weights with gradients."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for shape in shapes:
        signs = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1
        parameter = nn.Parameter(signs)
        parameter.grad = 1e-3 * torch.randn(shape, generator=generator)
        found.append(parameter)
    return found
