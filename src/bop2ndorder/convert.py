"""A real-valued network, made binary in place."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from .binary import BinaryConv1d, BinaryConv2d, BinaryLinear, binary_layers, sign

__all__ = ["binarize_"]

KINDS = {nn.Linear: BinaryLinear, nn.Conv1d: BinaryConv1d, nn.Conv2d: BinaryConv2d}


@torch.no_grad()
def binarize_(
    model: nn.Module, skip: Iterable[str] | Callable[[str, nn.Module], bool] = ()
) -> nn.Module:
    """Turn the dense layers and convolutions of a network into binary ones, in place.

    Each :class:`torch.nn.Linear`, Conv1d and Conv2d becomes a BinaryLinear, BinaryConv1d or
    BinaryConv2d of :mod:`bop2ndorder.binary`, and each of its weights its sign (0 becomes +1). It
    stays the same module with the same parameters: names, real-valued biases, device, dtype,
    hooks, places where it is shared, and optimizers that hold its parameters stay as they are.
    Layers that are binary already are left alone, and so is every other kind of module. ::

        model = binarize_(torchvision.models.resnet18(), skip=["conv1", "fc"])
        binary, real = binary_parameters(model)

    What goes *into* the layers stays real: put :func:`~bop2ndorder.binary.ste_sign` where it is to
    be binary, and no ReLU before it, which leaves nothing but +1. The signs are much larger than
    the weights were, and the statistics of normalization layers no longer fit: train on, and expect
    little of the network before.

    Args:
        model: the network.
        skip: names of modules to leave real, each with all that is inside; usually the first layer
            and the last. Or a function of the name and the layer that says whether to leave it.
            A layer with several names is left where one of them is (default: none).

    Returns:
        The model itself.

    Raises:
        ValueError: and nothing has changed, where a name in ``skip`` is no module of the model; no
            layer is left to turn; a layer is of a class derived from those above, whose forward
            pass might do more; its weight is computed from other parameters (as by
            :func:`torch.nn.utils.weight_norm`), is not of a floating-point dtype, or cannot be
            written, being expanded or made in inference mode; or it shares its weight with a
            module that stays real.
    """
    left = _left_real(model, skip)
    layers = {}  # by identity, with the first name
    for name, layer in model.named_modules(remove_duplicate=False):
        if layer not in left and isinstance(layer, tuple(KINDS)) and layer not in layers:
            layers[layer] = name
    for layer in binary_layers(model).values():
        layers.pop(layer, None)
    if not layers:
        raise ValueError(
            f"binarize_: {type(model).__name__} has no Linear, Conv1d or Conv2d left to turn"
        )
    for layer, name in layers.items():
        _check(name, layer)
    taken = {id(layer.weight): name for layer, name in layers.items()}
    for other, module in model.named_modules():
        for parameter in module._parameters.values():
            if module not in layers and id(parameter) in taken:
                raise ValueError(
                    f"binarize_: {taken[id(parameter)]!r} shares its weight with {other!r}, which "
                    "stays real; give it one of its own, or name it in skip"
                )
    signs = {layer: sign(layer.weight) for layer in layers}  # all, before anything changes
    for layer, weight in signs.items():
        layer.weight.copy_(weight)
        layer.__class__ = KINDS[type(layer)]
        layer.latent = False
    return model


def _left_real(model: nn.Module, skip) -> set[nn.Module]:
    if callable(skip):
        named = model.named_modules(remove_duplicate=False)
        return {m for name, m in named if isinstance(m, tuple(KINDS)) and skip(name, m)}
    skip = [skip] if isinstance(skip, str) else list(skip)
    modules = dict(model.named_modules(remove_duplicate=False))
    if unknown := [name for name in skip if name not in modules]:
        there = [name for name, module in modules.items() if isinstance(module, tuple(KINDS))]
        raise ValueError(
            f"binarize_: skip names {', '.join(map(repr, unknown))}, which the model does not "
            f"have; its layers are {', '.join(map(repr, there))}"
        )
    return {inner for name in skip for inner in modules[name].modules()}


def _check(name: str, layer: nn.Module) -> None:
    where = f"binarize_: layer {name!r}"
    if type(layer) not in KINDS:
        raise ValueError(
            f"{where} is a {type(layer).__name__}, a class derived from "
            f"torch's, whose forward pass may do more; name it in skip, or replace it by hand"
        )
    if "weight" not in layer._parameters:
        raise ValueError(
            f"{where} computes its weight from other parameters, as weight_norm and pruning do; "
            "make it a parameter first, or name it in skip"
        )
    if not layer.weight.is_floating_point():
        raise ValueError(f"{where} has weights of {layer.weight.dtype}, which have no sign")
    weight = layer.weight
    expanded = any(s == 0 and n > 1 for s, n in zip(weight.stride(), weight.shape, strict=True))
    if expanded or (weight.is_inference() and not torch.is_inference_mode_enabled()):
        raise ValueError(
            f"{where} has a weight that cannot be written, since it is expanded, or was made in "
            "inference mode; give it a clone of it first"
        )
