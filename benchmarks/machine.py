"""The machine: what it is, and how fast it copies."""

import platform
import statistics
import time
from typing import Any

import torch

from bop2ndorder.study.run.provenance import commit, cuda_versions, processor


def facts() -> dict[str, Any]:
    """What a measurement was made on."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {**commit(), "processor": processor(), "versions": versions}


def gpu_facts() -> dict[str, Any]:
    """What a measurement on a GPU was made on."""
    return {**facts(), **cuda_versions()}


def name() -> str:
    """The processor's name, and the widest vectors it has: on rented machines the name says little.

    Returns:
        such as "AMD EPYC, AVX-512"; results of different processors are kept apart by it.
    """
    wide = "avx512f" in processor()["extensions"]
    return f"{processor()['model']}, {'AVX-512' if wide else 'AVX2'}"


def copy_bandwidth(threads: int) -> float:
    """Bytes per second, those read and those written, of copying 256 MiB (median of 9)."""
    torch.set_num_threads(threads)
    source, target = torch.ones(2**26), torch.zeros(2**26)
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - started)
    return 2 * source.nbytes / statistics.median(seconds)
