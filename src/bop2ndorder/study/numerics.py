"""Portable numerics: the same bits of a result on every x86-64 processor with AVX2 and FMA.

Libraries choose among kernels by what the processor can do, and other kernels sum in another order.
A rounding error flips a binary weight, and the run is another one. The choice is made once, when a
library is loaded or first used, and a variable of the environment limits it:

- ATen (torch's own kernels), oneDNN (convolutions): AVX2 at most, as both have AVX-512 kernels.
- MKL (dense layers): COMPATIBLE, the one mode in which processors of Intel and AMD agree.
- NumPy: its baseline only. OpenBLAS, of NumPy and SciPy: the kernels of Haswell, one thread.

The names are those of PyTorch 2.14, oneDNN 3.12, NumPy 2.0 to 2.4 and OpenBLAS 0.3. Nobody
promises that this suffices: docs/bits.md says on which processors it was seen.
"""

import ctypes
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

PINS = {
    "torch": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
    },
    "numpy": {
        # Each version knows some of these names, and passes over the others.
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 SSSE3 SSE41 POPCNT SSE42 AVX F16C FMA3 AVX2 "
        "AVX512F AVX512CD AVX512_KNL AVX512_KNM AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL "
        "AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
    },
}
# What the libraries report where the pins are in force.
PORTABLE = {"aten": "AVX2", "onednn": "Intel AVX2", "mkl": "COMPATIBLE"}
MKL_MODES = {1: "off", 3: "COMPATIBLE"}


def pin(library: str) -> None:
    """Set the variables of a library, "torch" or "numpy", where the processor allows it.

    Raises:
        RuntimeError: the library has been loaded without them.
    """
    if not runs_avx2():
        return
    pins = PINS[library]
    if library in sys.modules and any(os.environ.get(name) != pins[name] for name in pins):
        raise RuntimeError(_advice(library))
    os.environ.update(pins)


def require(settings: dict[str, Any], device: str) -> None:
    """Hold a run that wants portable numerics to them, before its first step.

    Where they cannot be had, on a GPU or another processor, it says so on stderr.

    Args:
        settings: of the run; without `numerics` they are native.
        device: "cpu" or a CUDA device.

    Raises:
        RuntimeError: they could be had, but torch was loaded without the variables.
    """
    if settings.get("numerics", "native") == "native":
        return
    found = in_force(device)
    if found["in_force"] == "portable":
        return
    if device != "cpu":
        reason = "it runs on a GPU"
    elif not runs_avx2():
        reason = "this processor is no x86-64 with AVX2 and FMA"
    elif None in found.values():
        reason = "this torch was built without oneDNN or MKL"
    else:
        raise RuntimeError(_advice("torch"))
    print(f"numerics: native instead of portable, since {reason}", file=sys.stderr, flush=True)


def in_force(device: str) -> dict[str, str | None]:
    """The numerics that a training on a device has now, as the libraries report it; loads torch.

    Returns:
        in_force, "portable" or "native"; and what decides it: aten, onednn, mkl, a word of each
        library's own, None where it is not there or does not say; and numpy, the features for
        which NumPy uses kernels beyond its baseline.
    """
    import torch
    from numpy._core import _multiarray_umath as numpy

    found = {
        "aten": torch.backends.cpu.get_cpu_capability(),
        "onednn": _onednn(),
        "mkl": _mkl(),
    }
    portable = found == PORTABLE and device == "cpu"
    features = [name for name in numpy.__cpu_dispatch__ if numpy.__cpu_features__[name]]
    return {
        "in_force": "portable" if portable else "native",
        **found,
        "numpy": " ".join(features) or "baseline",
    }


@cache
def runs_avx2() -> bool:
    """Whether this is an x86-64 processor with AVX2 and FMA, as the processor itself says.

    glibc hands out its answer (<sys/platform/x86.h>, since 2.33); elsewhere Linux is asked, whose
    file tells of the machine's own processor where another is emulated.
    """
    try:
        leaf = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf
    except (AttributeError, OSError):
        return {"avx2", "fma", "lm"} <= set(cpuinfo().get("flags", "").split())
    # Of each leaf eax to edx, first as the processor says, then what of it can be used.
    leaf.restype = ctypes.POINTER(ctypes.c_uint32 * 8)
    fma, avx2 = leaf(0).contents[6] >> 12, leaf(1).contents[5] >> 5
    return bool(fma & avx2 & 1)


@cache
def cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


@cache
def _onednn() -> str | None:
    """oneDNN's instruction set; it answers no question, but says so with its first verbose line."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    images, weights = torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3)
    sys.stdout.flush()
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                torch.nn.functional.conv2d(images, weights)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        said.seek(0)
        lines = said.read().decode().splitlines()
    return next((line.partition("isa:")[2] for line in lines if ",cpu,isa:" in line), None)


def _mkl() -> str | None:
    """MKL's mode of conditional numerical reproducibility, by a function that no manual names."""
    import torch

    name = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        mode = ctypes.CDLL(str(name)).mkl_serv_cbwr_get(-1)
    except (OSError, AttributeError):
        return None
    return MKL_MODES.get(mode, str(mode))


def _advice(library: str) -> str:
    pins = " ".join(f"{name}={value!r}" for name, value in PINS[library].items())
    return (
        f"{library} was loaded without portable numerics: set {pins} before Python starts, or call "
        f'bop2ndorder.study.numerics.pin("{library}") before `import {library}`'
    )
