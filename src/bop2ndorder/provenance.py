"""Where a number comes from: commit, versions, hardware, data, time."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .binary import binary_layers
from .data.dataset import Data
from .evaluate import TIMES, read_history

LIBRARIES = ("torch", "numpy", "safetensors")


def provenance(
    run_id: str, settings: dict[str, Any], data: Data, network: nn.Module, history: Path
) -> dict[str, Any]:
    """All that a record says of its origin; the place on the disk and the user are left out.

    Args:
        run_id, settings: the run.
        data: the prepared data set it was trained on.
        network: the trained network.
        history: the run's history.csv, for the time that all its epochs took.
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
        **commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "hardware": hardware(),
        "train_seconds": round(training_seconds(history), 3),
    }


def training_seconds(history: Path) -> float:
    """Wall time of all epochs, those before a run was resumed too, evaluation apart."""
    rows = read_history(history.read_text(encoding="utf-8"))
    images = rows[0]["images_seen"]  # of each epoch
    return sum(images / row[TIMES] for row in rows)


def commit(folder: Path = Path()) -> dict[str, Any]:
    """The commit of the code and whether tracked files differ from it; None outside of git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git(folder, "status", "--porcelain", "-uno", "src"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def hardware() -> dict[str, Any]:
    """Processor, its cores, and the GPU if there is one."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
