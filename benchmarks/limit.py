"""Contestant: float32 arithmetic at its fastest. limit.py mm|conv SIZE THREADS

A product of two matrices of SIZE rows and columns, or a 3x3 convolution of 16 maps of 32x32 pixels
with SIZE channels in and out; units are operations.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from contestant import serve


def product(size: int) -> tuple[Callable[[], object], int]:
    one, other, out = (torch.randn(size, size) for _ in range(3))
    return lambda: torch.mm(one, other, out=out), 2 * size**3


def convolution(size: int) -> tuple[Callable[[], object], int]:
    maps, kernels = (
        torch.randn(shape).to(memory_format=torch.channels_last)
        for shape in ((16, size, 32, 32), (size, size, 3, 3))
    )
    return lambda: F.conv2d(maps, kernels, padding=1), 2 * 9 * size * maps.numel()


if __name__ == "__main__":
    kind, size, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    step, operations = {"mm": product, "conv": convolution}[kind](int(size))
    serve(step, units=operations, seconds=0.7)
