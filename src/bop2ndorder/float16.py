"""Products of -1 and +1 that are summed in float16 without changing a bit.

A sum of n terms of -1 and +1 is an integer between -n and n. float16 holds all integers up to 2,048
and the even ones up to 4,096; where n is even, so is the sum. Forward passes of that size lose
nothing by it, if partial sums are kept in float32: of more than 2,048 terms, float16 cannot hold
the odd ones. In torch cuDNN's convolutions keep them so, and cuBLAS does where
``allow_fp16_reduced_precision_reduction`` and ``allow_fp16_accumulation`` of
``torch.backends.cuda.matmul`` are False. Gradients are no such integers: backward passes stay those
of the input's dtype.

On the CPU it is tested, and no faster. No GPU has run this yet: an algorithm of cuDNN that
transforms its inputs first (Winograd, Fourier) would round, in float32 as well.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["conv", "is_exact", "linear"]

# The largest number of terms whose sums float16 holds: of any parity, and where all are even.
ANY, EVEN = 2048, 4096


def is_exact(shape: torch.Size) -> bool:
    """Whether float16 holds every sum that weights of a shape make of inputs that are -1 or +1.

    Args:
        shape: (out, in) or (out, in, height, width), of a group where there are groups. Inputs may
            be padded with zeros: then pixels are left out of a sum, each with all of its channels,
            so that with an even number of channels every sum stays even.
    """
    return shape[1:].numel() <= (EVEN if shape[1] % 2 == 0 else ANY)


def conv(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d` or conv1d, summed in float16 forward; dtypes as there.

    Args:
        x: (N, in, H, W) or (N, in, L); each value -1, 0 or +1.
        weight: (out, in / groups, height, width) or (out, in / groups, length); each value -1 or
            +1, the shape ``is_exact``.
        stride, padding, dilation: of each dimension, as there; padding is with zeros.
        groups: as there.
    """
    return _Conv.apply(x, weight, stride, padding, dilation, groups)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """:func:`torch.nn.functional.linear`, summed in float16 forward; dtypes are as there.

    Args:
        x: (..., in); each value -1, 0 or +1.
        weight: (out, in); each value -1 or +1, the shape ``is_exact``.
    """
    return _Linear.apply(x, weight)


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride, padding, dilation, groups):
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, dilation, groups
        conv = F.conv1d if weight.dim() == 3 else F.conv2d
        return conv(x.half(), weight.half(), None, *ctx.how).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        output_padding = (0,) * len(stride)
        needed = [*ctx.needs_input_grad[:2], False]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, output_padding, groups, needed
        )
        return of_x, of_weight, None, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x.half(), weight.half()).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        return grad @ weight, rows.t() @ inputs
