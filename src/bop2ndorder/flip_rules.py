"""The rules by which weights flip: one update of one tensor, in place.

Gradients and moments stand beside the weight as plain tensors; :mod:`bop2ndorder.optim` keeps them
and has the formulas.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .hyperparameters import rounded

__all__ = ["bop", "bop2ndorder", "bound", "second_order"]

# Elements that are updated at a time. On the CPU five blocks of float32 stay in the cache between
# the passes of an update and still occupy several threads. Elsewhere a block is as large as float32
# can count the flips of.
_CPU_BLOCK = 2**19
_BLOCK = 2**24


def bop(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    flips: Tensor,
    *,
    gamma: float | Tensor,
    threshold: float | Tensor,
):
    """One update of :class:`.Bop`, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m: first moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, threshold: as in :class:`.Bop`.
    """
    gamma, threshold = rounded(gamma, m.dtype), rounded(threshold, m.dtype)
    for w, g, mean, scratch in _blocks(weight, grad, m):
        mean.lerp_(g.to(mean.dtype), gamma)
        _flip(w, torch.mul(mean, w, out=scratch).gt_(threshold), flips)


def bop2ndorder(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    v: Tensor,
    flips: Tensor,
    *,
    gamma: float | Tensor,
    sigma: float | Tensor,
    threshold: float | Tensor,
    eps: float | Tensor,
):
    """One update of :class:`.Bop2ndOrder` without bias correction, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m, v: first and second raw moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, sigma, threshold, eps: as in :class:`.Bop2ndOrder`.
    """
    gamma, sigma = rounded(gamma, m.dtype), rounded(sigma, m.dtype)
    second_order(weight, grad, m, v, flips, gamma, sigma, *bound(threshold, eps, m.dtype))


def bound(threshold: Any, eps: Any, dtype: torch.dtype) -> tuple[float | Tensor, float | Tensor]:
    """-1 / threshold and -eps, by which `second_order` tells which weights flip."""
    # For a tau of next to nothing w m / tau is infinite, or nan for m = 0, which compares false: no
    # flip. Of numbers Python refuses to divide by 0, and torch to round to infinity.
    if isinstance(threshold, Tensor) or threshold > torch.finfo(torch.float32).tiny:
        scale = -1 / threshold
    else:
        scale = -math.inf
    return rounded(scale, dtype), rounded(-eps, dtype)


def second_order(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    v: Tensor,
    flips: Tensor,
    gamma: float | Tensor,
    sigma: float | Tensor,
    scale: float | Tensor,
    minus_eps: float | Tensor,
) -> None:
    # w m / (sqrt(v) + eps) > tau, as sqrt(v) - w m / tau < -eps: fewer passes over the memory.
    for w, g, mean, square, scratch in _blocks(weight, grad, m, v):
        g = g.to(mean.dtype)
        mean.lerp_(g, gamma)
        square.lerp_(torch.mul(g, g, out=scratch), sigma)
        root = torch.sqrt(square, out=scratch)
        if isinstance(scale, Tensor):
            root.addcmul_(mean * scale, w)  # a tensor as `value` would be read back
        else:
            root.addcmul_(mean, w, value=scale)
        _flip(w, root.lt_(minus_eps), flips)


def _flip(w: Tensor, flipped: Tensor, flips: Tensor) -> None:
    """Flip w where `flipped`, of the moments' dtype, is 1 and not 0."""
    w.addcmul_(w, flipped, value=-2)
    flips.add_(flipped.sum().to(torch.int64))


def _blocks(weight: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors cut into the same blocks, each with scratch space of the moments' dtype.

    Tensors larger than a block are cut along their memory where all fill it in one common order,
    be it channels-last; otherwise they come whole.
    """
    tensors = (weight, *others)
    on_cpu = weight.device.type == "cpu" and not torch.compiler.is_compiling()
    size, count = _CPU_BLOCK if on_cpu else _BLOCK, weight.numel()
    if count > size:
        order = sorted(range(weight.dim()), key=weight.stride, reverse=True)
        ordered = [tensor.permute(order) for tensor in tensors]
        if all(tensor.is_contiguous() for tensor in ordered):
            flat = [tensor.view(-1) for tensor in ordered]
            scratch = torch.empty_like(flat[-1][:size])
            for start in range(0, count, size):
                yield *(tensor[start : start + size] for tensor in flat), scratch[: count - start]
            return
    yield *tensors, torch.empty_like(tensors[-1])
