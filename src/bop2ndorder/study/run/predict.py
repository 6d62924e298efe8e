"""What a trained network says of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.dataset import Data

BATCH = 500
TOP = 5


@torch.inference_mode()
def predict(
    network: nn.Module, data: Data, split: str, device: str, workers: int = 0
) -> dict[str, Tensor]:
    """What a network says of every image of a split, in the split's order.

    Args:
        network: is put into evaluation mode.
        data, split, workers: whose images, and how many processes decode them (ImageNet only).
        device: where the network is.

    Returns:
        top: int16 (N, k), the k = min(5, classes) likeliest classes, the likeliest first;
        loss: float32 (N,), cross-entropy in nats; labels: int16 (N,). All on the CPU.
    """
    network.eval()
    parts: dict[str, list[Tensor]] = {"top": [], "loss": [], "labels": []}
    for images, labels in data.batches(split, BATCH, device=device, workers=workers):
        logits = network(images)
        parts["top"].append(logits.topk(min(TOP, data.num_classes)).indices.to(torch.int16))
        parts["loss"].append(F.cross_entropy(logits, labels, reduction="none"))
        parts["labels"].append(labels.to(torch.int16))
    return {name: torch.cat(part).cpu() for name, part in parts.items()}


def check_finite(loss: float, what: str) -> None:
    """Raise `FloatingPointError`, which names `what`, where a loss is not a finite number."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {what} is {loss}: the run has diverged; lower lr or gamma in params.yaml"
        )
