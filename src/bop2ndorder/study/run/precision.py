"""Precision: in what a run multiplies, set before its first step and held to what torch reports.

- float32: all products, as on the CPU. torch's own default on GPUs is TF32 for convolutions.
- tf32: matrix products and convolutions round what they multiply to ten bits of fraction. GPUs have
  that since Ampere; elsewhere the run trains in float32 and says so.
- float16: as float32, but binary layers sum their forward passes in float16 wherever that changes
  no bit (`bop2ndorder.float16`), so that the results are those of float32, sooner.

No GPU has run this yet: tests hold what torch reports, not what a card does.
"""

import os
import sys
from typing import Any

import torch

# What torch says of a backend that is left at float32.
FLOAT32 = ("ieee", "none")
SUMS = "sums of float16 products"


def use_precision(settings: dict[str, Any], device: str) -> None:
    """Set torch's switches for a run; they stay set in this process.

    Args:
        settings: of the run; without `precision` it is float32.
        device: "cpu" or a CUDA device.

    Raises:
        RuntimeError: torch reports another precision nevertheless.
    """
    tf32 = settings.get("precision") == "tf32"
    if tf32 and (reason := _lacks_tf32(device)):
        tf32 = False
        print(f"precision: float32 instead of tf32, since {reason}", file=sys.stderr, flush=True)
    # By these two, the older and the newer interface (`fp32_precision`) report the same; where they
    # are mixed, torch raises as soon as one is read.
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    # Partial sums of float16 products stay in float32.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_accumulation = False
    precision_in_force(settings, device)


def precision_in_force(settings: dict[str, Any], device: str) -> str:
    """The precision that a run has on a device now: "float32", "tf32" or "float16".

    It is the settings' one, but for tf32 where the device lacks it.

    Raises:
        RuntimeError: torch reports another one; says which.
    """
    asked = settings.get("precision", "float32")
    products = "tf32" if asked == "tf32" and not _lacks_tf32(device) else "float32"
    for what, found in _reported(device).items():
        expected = "float32" if what == SUMS else products
        if found != expected:
            raise RuntimeError(
                f"precision: torch reports {found} for {what} where {expected} is set: leave the "
                "switches of torch.backends alone, or train in a process of its own"
            )
    return "float16" if asked == "float16" else products


def _reported(device: str) -> dict[str, str]:
    """In what a device multiplies and sums, as torch says: float32, tf32, bf16, or float16."""
    cuda, onednn = torch.backends.cuda.matmul, torch.backends.mkldnn
    matrices, convolutions = (
        (onednn.matmul, onednn.conv) if device == "cpu" else (cuda, torch.backends.cudnn.conv)
    )
    rounded = cuda.allow_fp16_reduced_precision_reduction or cuda.allow_fp16_accumulation
    found = {
        "matrix products": matrices.fp32_precision,
        "convolutions": convolutions.fp32_precision,
        SUMS: "float16" if rounded else "float32",
    }
    return {what: "float32" if word in FLOAT32 else word for what, word in found.items()}


def _lacks_tf32(device: str) -> str | None:
    """Why a device does not compute in TF32; None where it does."""
    if device == "cpu":
        return "it runs on the CPU"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} has no TF32"
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return "NVIDIA_TF32_OVERRIDE=0 forbids it"
    return None
