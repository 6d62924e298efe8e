"""What one of several ranks does and sees; torchrun calls this file: in_ranks.py DATA OUT.

OUT/RANK.pt receives what `watched` returns, for each run of `RUNS`, and under `mean` what
`mean_gradients` makes of gradients that are known.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from tiny import settings
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bop2ndorder.study.data import open_data
from bop2ndorder.study.run.ranks import ALONE, joined
from bop2ndorder.study.run.train import train

LAYER_NORM = {"name": "binarynet", "width": 4, "dense": 16, "norm": "layer"}
RUNS = {
    "bop": {"optimizer": "bop"},
    "adam": {"optimizer": "adam"},
    "latent": {"optimizer": "latent"},
    "layer": {"optimizer": "adam", "network": LAYER_NORM},
}
# Five steps an epoch; 12 images are shared evenly by 1, 2 and 3.
SIZES = {"batch_size": 12, "epochs": 2, "threads": 4}


def run(name, gpus):
    """Settings of a run of `RUNS`."""
    return settings(**RUNS[name], **SIZES, gpus=gpus)


def watched(name, data, folder, ranks=ALONE):
    """Train a run.

    Returns:
        steps: after every step of each optimizer the tensors of its weights and its state;
        gradients: those of each optimizer's first step; history; threads that torch has.
    """
    steps, gradients = [], {}

    def watch(optimizer, *_):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients.setdefault(type(optimizer).__name__, [p.grad.clone() for p in parameters])
        states = [v for p in parameters for v in optimizer.state[p].values()]
        steps.append([torch.as_tensor(value).clone() for value in [*parameters, *states]])

    hook = register_optimizer_step_post_hook(watch)
    try:
        _, history = train(
            run(name, ranks.size), data, folder / name, folder / f"{name}.pt", ranks=ranks
        )
    finally:
        hook.remove()
    return {
        "steps": steps,
        "gradients": gradients,
        "history": history,
        "threads": torch.get_num_threads(),
    }


def known_gradients(rank):
    """Gradients of a rank, 29 numbers, so different in size that the order of sums counts."""
    random = np.random.default_rng(rank)
    shapes = [(1,), (2, 3, 2, 2), (4,)]
    return [
        (random.normal(size=shape) * 10.0 ** random.integers(-3, 4, shape)).astype(np.float32)
        for shape in shapes
    ]


def mean_of_known(ranks):
    """What `mean_gradients` makes of them; the second is laid out channels-last."""
    parameters = []
    for gradient in map(torch.from_numpy, known_gradients(ranks.rank)):
        if gradient.dim() == 4:
            gradient = gradient.to(memory_format=torch.channels_last)
        parameters.append(nn.Parameter(torch.zeros_like(gradient)))
        parameters[-1].grad = gradient
    ranks.mean_gradients(parameters)
    return [parameter.grad for parameter in parameters]


if __name__ == "__main__":
    data, out = open_data(sys.argv[1]), Path(sys.argv[2])
    with joined(int(os.environ["WORLD_SIZE"]), "cpu") as ranks:
        found = {name: watched(name, data, out / "runs", ranks) for name in RUNS}
        torch.save({**found, "mean": mean_of_known(ranks)}, out / f"{ranks.rank}.pt")
