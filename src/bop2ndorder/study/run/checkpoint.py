"""Checkpoints: from which a training that was stopped goes on."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a process killed in between leaves the last one whole.

    Args:
        state: tensors, numbers and texts, in dicts and lists.
        path: where it shall be.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"the checkpoint {path} cannot be written, is the disk full? ({error})"
        ) from error
    os.replace(partial, path)


def load_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Args:
        path: the file.
        device: where its tensors shall be.

    Raises:
        ValueError: it is not what was written.
    """
    try:
        # torch does not look at the checksums that it writes.
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise ValueError(f"its part {name} is not what was written")
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"the checkpoint {path} is damaged ({error}): remove it to train from the start"
        ) from error
