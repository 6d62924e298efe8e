"""Whether there is a GPU, asked of its driver: before anything is installed. python card.py

Standard library only. Without a GPU it ends with a sentence and exit code 1.
"""

import ctypes
import sys

NONE = (
    "No NVIDIA GPU is to be seen (its driver finds none, or CUDA_VISIBLE_DEVICES hides it): "
    "`make gpu` tests and measures training on one, `make test` and `make benchmark` on the CPU."
)


def cards() -> int:
    """How many GPUs CUDA's driver shows to this process."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    # The functions return 0 where all is well.
    found = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if found else 0


if __name__ == "__main__":
    sys.exit(None if cards() else NONE)
