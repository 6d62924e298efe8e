"""Optimizers that flip weights and what the tests do with them: steps, schedules, states."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bop2ndorder.hyperparameters import HYPERPARAMETERS
from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.schedules import ExponentialDecay, set_hyperparameters

OPTIMIZERS = {
    "bop": lambda p: Bop(p, gamma=0.1, threshold=0.05),
    "biased": lambda p: Bop2ndOrder(p, gamma=0.1, sigma=0.05, threshold=0.1),
    "constant": lambda p: Bop2ndOrder(p, 0.1, 0.05, 0.5, bias_correction="constant"),
    "adam": lambda p: Bop2ndOrder(p, 0.1, 0.05, 0.3, bias_correction="adam"),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def parameter(*shape, dtype=torch.float32, device="cpu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1
    return nn.Parameter(values.to(device, dtype))


def step(optimizer, seed):
    """One step with gradients that depend on the seed and the shapes alone."""
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.empty_like(p)
            p.grad.copy_(torch.randn(p.shape, generator=generator))
    optimizer.step()


def train(optimizer, seeds=range(30)):
    for seed in seeds:
        step(optimizer, seed)
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def assert_same_state(first, second):
    a, b = first.state_dict(), second.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for index, state in a["state"].items():
        assert state.keys() == b["state"][index].keys()
        for name, value in state.items():
            other = b["state"][index][name]
            if torch.is_tensor(value):
                assert value.dtype == other.dtype and torch.equal(value, other), name
            else:
                assert value == other, name


# Rates on both sides of one half, where lerp changes its formula; a threshold that falls to 0; a
# learning rate that is 0 now and then.
SCHEDULES = {
    "lr": lambda step: 0.0 if step % 7 == 3 else 1 - step / 100,
    "gamma": ExponentialDecay(0.9, 0.8, decay_steps=1),
    "sigma": ExponentialDecay(0.7, 0.9, decay_steps=1),
    "threshold": lambda step: 0.3 * 0.5**step if step < 25 else 0.0,
    "eps": ExponentialDecay(0.1, 0.5, decay_steps=1),
}


class NoReading(TorchDispatchMode):
    """Refuses to read a value back from a device, as a CUDA graph does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a value is read back"
        return function(*args, **(kwargs or {}))


def with_tensors(made, dtype=torch.float64):
    """An optimizer with its hyperparameters turned into tensors."""
    for group in made.param_groups:
        for name in group.keys() & {*HYPERPARAMETERS}:
            device = group["params"][0].device
            group[name] = torch.tensor(group[name], dtype=dtype, device=device)
    return made


def schedules(made):
    return {name: SCHEDULES[name] for name in made.param_groups[0].keys() & SCHEDULES.keys()}


def follow(made, seeds=range(30)):
    """Steps under schedules."""
    for seed in seeds:
        set_hyperparameters(made, schedules(made), seed)
        step(made, seed)
    return [p.detach().clone() for group in made.param_groups for p in group["params"]]
