"""The vectors in tests/golden, and our networks filled with the inputs that they were made from."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bop2ndorder.networks import binarynet, birealnet, xnornet
from bop2ndorder.networks.layers import ChannelLayerNorm
from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.schedules import Constant, ExponentialDecay, PolynomialDecay

GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = {
    "binarynet_batch": lambda: binarynet(width=8, dense=32, norm="batch"),
    "binarynet_layer": lambda: binarynet(width=8, dense=32, norm="layer"),
    "xnornet_batch": xnornet,
    "birealnet_batch": birealnet,
}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, ChannelLayerNorm)
SCHEDULES = {"exponential": ExponentialDecay, "polynomial": PolynomialDecay}


@functools.cache
def vectors(name: str) -> tuple[dict, dict]:
    """The arrays of tests/golden/NAME.npz, and its meta (empty where there is none)."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("meta", "{}")))


def network(
    name: str, dtype: torch.dtype, device: str = "cpu"
) -> tuple[nn.Module, list[nn.Parameter]]:
    """A network with the parameters of models.npz, and its kernels in Keras's order."""
    facts = vectors("models")[1][name]
    net = NETWORKS[name]().to(device, dtype)
    seed = facts["weights_seed_base"]
    kernels = in_keras_order(net, [tuple(kernel["shape"]) for kernel in facts["kernels"]])
    for k, (kernel, fact) in enumerate(zip(kernels, facts["kernels"], strict=True)):
        random = np.random.RandomState(seed + k)
        if fact["binary"]:
            set_kernel(kernel, random.choice([-1.0, 1.0], size=fact["shape"]))
        else:
            set_kernel(kernel, random.randn(*fact["shape"]) * 0.05)
    for n, norm in enumerate(m for m in net.modules() if isinstance(m, NORMS)):
        random = np.random.RandomState(seed + 500 + n)
        with torch.no_grad():
            if isinstance(norm.weight, nn.Parameter):
                norm.weight.copy_(torch.from_numpy(random.uniform(0.5, 1.5, len(norm.weight))))
            norm.bias.copy_(torch.from_numpy(random.uniform(-0.5, 0.5, len(norm.bias))))
    return net, kernels


def inputs(name: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (NCHW) and labels of models.npz."""
    facts = vectors("models")[1][name]
    random = np.random.RandomState(facts["input_seed"])
    images = random.uniform(-1, 1, (facts["batch_size"], *facts["input_shape"]))
    labels = random.randint(0, facts["num_classes"], facts["batch_size"])
    return nchw(images).to(dtype), torch.from_numpy(labels)


def in_keras_order(net: nn.Module, shapes: list[tuple]) -> list[nn.Parameter]:
    """The kernels of a network, each the next one of the wanted Keras shape."""
    left = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    found = []
    for shape in shapes:
        kernel = next(k for k in left if keras_shape(k) == shape)
        left = [k for k in left if k is not kernel]
        found.append(kernel)
    assert not left
    return found


def keras_shape(kernel: torch.Tensor) -> tuple:
    """HWIO for OIHW, (in, out) for (out, in)."""
    return tuple(to_keras(kernel).shape)


def to_keras(kernel: torch.Tensor) -> torch.Tensor:
    return kernel.permute(2, 3, 1, 0) if kernel.dim() == 4 else kernel.t()


def set_kernel(kernel: nn.Parameter, values: np.ndarray) -> None:
    """Copy values in Keras's order, as float32, into a kernel."""
    with torch.no_grad():
        to_keras(kernel).copy_(torch.from_numpy(values.astype(np.float32)))


def nchw(images: np.ndarray) -> torch.Tensor:
    """NHWC to NCHW, rounded to float32 and held in float64."""
    return torch.from_numpy(images.astype(np.float32)).double().permute(0, 3, 1, 2)


def use_biased_moving_variance(net: nn.Module) -> None:
    """Let batch norm update its moving variance as Keras does in float64: without n / (n - 1).

    Only the statistics are rewritten, after torch has updated them; nothing else changes.
    """

    def remember(norm, args):
        norm.previous_variance = norm.running_var.clone()  # which the pass updates in place

    def correct(norm, args, output):
        if norm.training:
            count = args[0].numel() / args[0].shape[1]
            kept = (1 - norm.momentum) * norm.previous_variance
            norm.running_var = kept + (norm.running_var - kept) * (count - 1) / count

    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.register_forward_pre_hook(remember)
            norm.register_forward_hook(correct)


@functools.cache
def trajectory_data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (60, 32, C, H, W), labels (60, 32), evaluation images of training_trajectory.npz."""
    random = np.random.RandomState(3777)
    x = random.uniform(-1, 1, (60, 32, 32, 32, 3)).astype(np.float32)
    y = random.randint(0, 10, (60, 32))
    templates = random.uniform(-1, 1, (10, 32, 32, 3)).astype(np.float32)
    x = (0.7 * x + 0.3 * templates[y]).astype(np.float32)
    e = 0.7 * random.uniform(-1, 1, (64, 32, 32, 3)) + 0.3 * templates[np.arange(64) % 10]
    images = torch.stack([nchw(batch) for batch in x])
    return images, torch.from_numpy(y), nchw(e)


def trajectory_network(
    dtype: torch.dtype, device: str = "cpu"
) -> tuple[nn.Module, list[nn.Parameter]]:
    """The network of training_trajectory.npz before its first step, and its kernels."""
    net = NETWORKS["binarynet_batch"]().to(device, dtype)
    kernels = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for k, kernel in enumerate(kernels):
        random = np.random.RandomState(3000 + k)
        set_kernel(kernel, random.choice([-1.0, 1.0], size=keras_shape(kernel)))
    return net, kernels


def schedule(setting):
    """A schedule as optimizer_steps.npz declares it."""
    if isinstance(setting, float):
        return Constant(setting)
    settings = dict(setting)
    return SCHEDULES[settings.pop("kind")](**settings)


def optimizer(name, weight):
    """An optimizer of optimizer_steps.npz."""
    if name == "bop":
        return Bop([weight])
    correction = {"bop2ndorder_biased": None, "bop2ndorder_unbiased": "constant"}[name]
    return Bop2ndOrder([weight], bias_correction=correction)
