"""Operations of a network, and how long its training may take by them where nothing is measured."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...networks import build

# Sustained float32 operations per second that estimates assume: of a data-centre GPU about half of
# an A100's peak of 19.5e12, and of one CPU core.
GPU_RATE = 1.0e13
CPU_RATE = 5.0e10
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
