"""CIFAR-10 and Imagenette from the internet, by torchvision."""

import http.client
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from ...store import whole_folder
from .folder import Parts, list_folder

# What torchvision raises without internet, when a transfer ends early or a checksum differs.
FAILURES = (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError)


def download_cifar10(cache: Path) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Classes, and for "train" and "test" images uint8 (N, 32, 32, 3) and labels int64 (N,).

    Args:
        cache: folder that keeps downloads; what is there already is checked, not fetched again.

    Raises:
        RuntimeError: the download failed; the message says what to do.
    """
    from torchvision.datasets import CIFAR10  # takes seconds to load

    root = _fetch("cifar10", cache, lambda folder: CIFAR10(folder, download=True))
    try:
        sets = {"train": CIFAR10(root, train=True), "test": CIFAR10(root, train=False)}
    except RuntimeError:
        raise RuntimeError(
            f"the download in {root} is damaged: remove that folder and run the command again"
        ) from None
    parts = {name: (part.data, np.array(part.targets)) for name, part in sets.items()}
    return list(sets["train"].classes), parts


def download_imagenette(cache: Path, image_size: int) -> tuple[list[str], Parts]:
    """Classes, paths and labels of Imagenette, of the smallest published size that will do.

    Args:
        cache: folder that keeps downloads; what is there already is not fetched again.
        image_size: pixels; up to 160 and 320 the archives of that short side are enough.

    Raises:
        RuntimeError: the download failed; the message says what to do.
    """
    from torchvision.datasets import Imagenette  # takes seconds to load

    size = "160px" if image_size <= 160 else "320px" if image_size <= 320 else "full"
    root = _fetch(
        "imagenette",
        cache / size,
        lambda folder: Imagenette(folder, split="train", size=size, download=True),
    )
    unpacked = next(entry for entry in root.iterdir() if entry.is_dir())
    return list_folder(unpacked, ("val",))


def _fetch(source: str, cache: Path, download: Callable[[Path], object]) -> Path:
    """Download into `cache`/`source` unless it is there: whole, or not at all."""
    root = cache / source
    try:
        # Two data sets of one source are prepared at the same time.
        with FileLock(cache / f".{source}.lock"):
            if root.is_dir():
                return root
            with whole_folder(root) as folder:
                download(folder)
    except FAILURES as error:
        raise RuntimeError(
            f"{source} could not be downloaded ({error}): run the command again with internet, or "
            f"set `local: {{{source}: FOLDER}}` in params.yaml to a folder that holds "
            "train/CLASS/* and test/CLASS/* or val/CLASS/*"
        ) from None
    return root
