"""Where a number comes from: data and settings; code, versions, machine and times."""

import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
from itertools import pairwise
from operator import truediv
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...binary import binary_layers
from ...store import file_sha256
from ..config.codes import code_at_hand
from ..data.dataset import Data
from ..numerics import cpuinfo, in_force
from .evaluate import TIMES
from .graph import takes_graph
from .precision import precision_in_force

LIBRARIES = ("torch", "numpy", "safetensors")
VECTORS = re.compile(r"sse4_2|avx.*|fma|amx.*")


def run_facts(
    run_id: str, settings: dict[str, Any], data: Data, network: nn.Module
) -> dict[str, Any]:
    """What is the same wherever and whenever the run is trained.

    Args:
        run_id, settings: the run.
        data: the prepared data set it was trained on.
        network: the trained network.
    """
    binary = sum(layer.weight.numel() for layer in binary_layers(network).values())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "run": run_id,
        "settings": settings,
        "data": {
            "name": settings["data_name"],
            "sha256": data.sha256,
            "origin": data.origin,
            "classes": data.num_classes,
        },
        "parameters": {"binary": binary, "real": parameters - binary},
    }


def code_in_use() -> dict[str, Any]:
    """The code that is running, by hash and by commit: to be asked before training begins.

    While a run is trained the commit may change, and the code that trains it does not.
    """
    return {"code": {part: code["hash"] for part, code in code_at_hand().items()}, **commit()}


def origin(
    folder: Path,
    settings: dict[str, Any],
    history: list[dict[str, Any]],
    device: str,
    code: dict[str, Any],
) -> dict[str, Any]:
    """What another commit, machine or hour changes; the disk and the user are left out.

    All but the speeds is of the process that ended the run: of one that took up a checkpoint, the
    code of the epochs before it is not noted, and its commit may have been another.

    Args:
        folder: of the run, which holds its weights: so the note is known to be of this result.
        settings: of the run.
        history: the rows of all epochs, those before the run was resumed too, with their speeds.
        device: on which it was trained, "cpu" or a CUDA device.
        code: what `code_in_use` said when training began.
    """
    seen = [row["images_seen"] for row in history]
    images = [after - before for before, after in pairwise([0, *seen])]
    speeds = [row[TIMES] for row in history]
    on_gpu = device != "cpu"
    return {
        "weights_sha256": file_sha256(folder / "weights.safetensors"),
        **code,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
            "libc": " ".join(platform.libc_ver()),
            **(cuda_versions() if on_gpu else {}),
        },
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(device)) if on_gpu else None,
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "numerics": in_force(device),
        "precision": precision_in_force(settings, device),
        "graph": on_gpu and takes_graph(settings),
        # Of all epochs, evaluation apart.
        "train_seconds": round(sum(map(truediv, images, speeds)), 3),
        TIMES: [round(speed, 1) for speed in speeds],
    }


def commit(folder: Path = Path()) -> dict[str, Any]:
    """HEAD, and whether tracked files in `src` differ from it; None outside of git.

    Args:
        folder: the project's, which holds `src`.
    """
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git(folder, "status", "--porcelain", "-uno", "src"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def processor() -> dict[str, Any]:
    """Model and vendor of the processor, its vector extensions, and how many cores there are."""
    found = cpuinfo()
    return {
        "model": found.get("model name") or platform.processor() or platform.machine(),
        "vendor": found.get("vendor_id"),
        "extensions": sorted(filter(VECTORS.fullmatch, found.get("flags", "").split())),
        "cores": os.cpu_count(),
    }


def cuda_versions() -> dict[str, str | None]:
    """Of the CUDA and the cuDNN that torch computes with, and of the driver below them."""
    return {
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),
        "driver": driver(),
    }


def driver() -> str | None:
    """The version of NVIDIA's driver, from the library that comes with it; None where it is not."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    version = ctypes.create_string_buffer(80)  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    nvml.nvmlInit_v2()
    failed = nvml.nvmlSystemGetDriverVersion(version, len(version))
    nvml.nvmlShutdown()
    return None if failed else version.value.decode()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
