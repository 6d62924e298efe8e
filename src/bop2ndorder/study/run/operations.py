"""Operations of a network, and how long its training may take by them where nothing is measured."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...networks import build

# Sustained operations per second that estimates assume: of an H100, by the precision of a run, and
# of one CPU core in float32. No GPU has run this yet. At these rates BinaryNet of full width, in
# batches of 50, trains on 11,000, 29,000 and 50,000 images a second: estimates by the time that an
# operation of a step may take, where steps are launched as CUDA graphs.
GPU_RATES = {"float32": 3.4e13, "tf32": 8.9e13, "float16": 1.54e14}
CPU_RATE = 5.0e10
# Image files of ImageNet's size that a CPU core decodes, crops and resizes in a second, measured on
# one processor: docs/performance.md.
DECODING_RATE = 440
# A step costs about three forward passes: one forward, two products in the backward pass.
PASSES = 3


def operations_per_image(network: dict[str, Any], classes: int, image_size: int) -> int:
    """Floating point operations of the forward pass, two for each multiply-accumulate.

    Args:
        network: name and sizes, as in params.yaml.
        classes: outputs.
        image_size: pixels along an edge.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built = build(num_classes=classes, image_size=image_size, latent=False, **network)
        built.eval()(torch.empty(1, 3, image_size, image_size))
    return counter.get_total_flops()


def training_speed(operations: int, rate: float) -> float:
    """Images per second on hardware that sustains `rate` operations per second.

    Args:
        operations: see `operations_per_image`.
        rate: such as `CPU_RATE`.
    """
    return rate / (PASSES * operations)
