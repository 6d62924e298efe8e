"""Kernels whose results do not vary from call to call."""

import os

import torch

# How much memory cuBLAS may work in, which decides how it sums; with either it is deterministic
# (its manual, "Results Reproducibility").
VARIABLE, VALUES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


def use_deterministic_kernels(device: str = "cpu") -> None:
    """Make torch choose kernels whose results do not vary from call to call, or refuse.

    Args:
        device: "cpu", or a CUDA device that nothing has used yet in this process.

    Raises:
        RuntimeError: CUDA was used before, without the variable that cuBLAS reads then.
    """
    torch.use_deterministic_algorithms(True)
    # It would also fill every new tensor, to show reads of unset memory: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if device == "cpu" or os.environ.get(VARIABLE) in VALUES:
        return
    # Older versions of torch would say so themselves, at the first matrix product.
    if VARIABLE in os.environ or torch.cuda.is_initialized():
        raise RuntimeError(
            f"{VARIABLE} must be {' or '.join(VALUES)} before CUDA is used, or else sums of cuBLAS "
            "may differ from run to run: set it before Python starts, or unset it and train before "
            "anything else uses the GPU"
        )
    os.environ[VARIABLE] = VALUES[0]
