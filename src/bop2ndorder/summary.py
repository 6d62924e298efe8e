"""What a network holds and computes: parameters, operations and bytes, layer by layer."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .binary import binary_layers

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """One module of a network, or the total.

    Args:
        name, kind: of the module, and its class.
        output: shape of its output without the batch, of its last call; None where it was not
            called or returns no tensor.
        binary_parameters: weights of binary layers, a bit each.
        real_parameters: all other parameters, 32 bits each.
        binary_macs: multiply-accumulates for one input whose factors are both -1 or +1, or zeros
            that pad: a bit operation each. (Inputs of 0 and 1 are bits, too, and count here.)
        real_macs: all others. With a binary weight these are additions and subtractions.
        bytes: what it takes in a file of :func:`bop2ndorder.weights.save_weights`, the file's
            header aside: binary weights eight to a byte, float32 for all other values, among them
            the statistics of normalization layers; 8 for their counters.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None = None
    binary_parameters: int = 0
    real_parameters: int = 0
    binary_macs: int = 0
    real_macs: int = 0
    bytes: int = 0


COUNTS = [field.name for field in dataclasses.fields(Row) if field.type is int]


@dataclass
class Summary:
    """The table of :func:`summary`: ``rows``, their ``total``, and as text what `print` shows."""

    rows: list[Row]

    @property
    def total(self) -> Row:
        sums = {name: sum(getattr(row, name) for row in self.rows) for name in COUNTS}
        return Row("total", "", **sums)

    def __str__(self) -> str:
        lines = [
            ["layer", "kind", "output", "1-bit", "32-bit", "binary MACs", "real MACs", "bytes"]
        ]
        for row in (*self.rows, self.total):
            output = "" if row.output is None else " x ".join(map(str, row.output))
            counts = [f"{getattr(row, name):,}" for name in COUNTS]
            lines.append([row.name, row.kind, output, *counts])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = []
        for cells in lines:
            pairs = list(zip(cells, widths, strict=True))
            left = [cell.ljust(width) for cell, width in pairs[:3]]
            texts.append("  ".join(left + [cell.rjust(width) for cell, width in pairs[3:]]))
        rule = "-" * len(texts[0])
        return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])


def summary(model: nn.Module, input_size: tuple[int, ...]) -> Summary:
    """A table of a network's layers: 1-bit and 32-bit parameters, operations, memory. ::

        print(summary(binarynet(), (3, 32, 32)))

    The network is called once, in evaluation mode and without gradients, with noise of its own
    device and dtype; that shows which layers get nothing but -1, 0 and +1. Afterwards it is as it
    was before.

    Args:
        model: the network; latent weights count as the bits that inference needs of them.
        input_size: shape of one input without the batch, such as (3, 32, 32).

    Returns:
        A row for each module that has parameters, buffers or operations of its own, in the order of
        definition. What is shared counts once, where it comes first; operations count at every
        call. Operations are those of torch's :class:`~torch.utils.flop_counter.FlopCounterMode`,
        halved: matrix products, convolutions and attention, padded terms included; nothing for
        biases, normalization and activations.

    Raises:
        ValueError: for a network on the meta device, which computes nothing.
    """
    rows = {module: Row(name, type(module).__name__) for name, module in model.named_modules()}
    _count_parameters(model, rows)
    _count_operations(model, input_size, rows)
    return Summary([row for row in rows.values() if any(getattr(row, name) for name in COUNTS)])


def _count_parameters(model: nn.Module, rows: dict[nn.Module, Row]) -> None:
    binary = {id(layer.weight) for layer in binary_layers(model).values()}
    parameters = {id(parameter) for parameter in model.parameters()}
    left = {id(value) for value in model.state_dict(keep_vars=True).values()}
    for module, row in rows.items():
        for value in (*module._parameters.values(), *module._buffers.values()):
            if id(value) not in left:  # None, not saved, or counted before
                continue
            left.remove(id(value))
            if id(value) in binary:
                row.binary_parameters += value.numel()
                row.bytes += math.ceil(value.numel() / 8)
                continue
            if id(value) in parameters:
                row.real_parameters += value.numel()
            row.bytes += value.numel() * (4 if value.is_floating_point() else value.element_size())


def _count_operations(
    model: nn.Module, input_size: tuple[int, ...], rows: dict[nn.Module, Row]
) -> None:
    counter = FlopCounterMode(display=False)
    binary = set(binary_layers(model).values())
    calls = []  # those that have begun: operations before them, of calls inside, inputs are signs

    def enter(module, positional, named):
        signs = module in binary and _are_signs(*positional, *named.values())
        calls.append([counter.get_total_flops(), 0, signs])

    def leave(module, inputs, output):
        before, inside, signs = calls.pop()
        all_of_it = counter.get_total_flops() - before
        if calls:
            calls[-1][1] += all_of_it
        row, macs = rows[module], (all_of_it - inside) // 2
        if signs:
            row.binary_macs += macs
        else:
            row.real_macs += macs
        row.output = tuple(output.shape[1:]) if isinstance(output, Tensor) else None

    modes = {module: module.training for module in rows}
    hooks = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in rows]
    hooks += [module.register_forward_hook(leave) for module in rows]
    try:
        with torch.no_grad(), counter:
            model.eval()(_noise(model, input_size))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training


def _noise(model: nn.Module, input_size: tuple[int, ...]) -> Tensor:
    like = next(model.parameters(), torch.empty(0))
    if like.is_meta:
        raise ValueError(
            "summary calls the network, and one on the meta device computes nothing: build it, or "
            "move it with model.to_empty(device='cpu'), on another, and load its weights"
        )
    generator = torch.Generator(like.device).manual_seed(0)
    how = {"generator": generator, "device": like.device, "dtype": like.dtype}
    return torch.randn(1, *input_size, **how)


def _are_signs(x: Tensor) -> bool:
    ones = x.abs() == 1
    return bool(ones.any()) and bool((ones | (x == 0)).all())
