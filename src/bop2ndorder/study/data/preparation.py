"""Make a data set: find its images, split them, decode them once, hash the result."""

import hashlib
import json
from pathlib import Path

import numpy as np

from ...store import file_sha256, whole_folder, write_done, write_json
from .decode import decode_into
from .digits import load_digits
from .download import download_cifar10, download_imagenette
from .folder import list_folder
from .splits import limited, stratified

SOURCES = ("digits", "cifar10", "imagenette", "imagenet")

# Mean and standard deviation that batches are normalised with, in units of 0 ... 255.
# The binary networks' x / 127.5 - 1 is (x - 127.5) / 127.5.
BINARY_SCALING = ([127.5] * 3, [127.5] * 3)
IMAGENET_SCALING = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def prepare(settings: dict, out: Path, folder: Path | None = None, progress: bool = True) -> None:
    """Make a prepared data set in `out`, whole or not at all.

    The validation images are taken out of the training images, classes in proportion, always the
    same ones. digits, cifar10 and imagenette become uint8 arrays of the wanted size (short side
    resized, centre cut); of imagenet only the list of files is stored, and training decodes them.

    Writes, with PART train (which holds the validation images too) and test:
        PART_labels.npy   int64 (N,)
        PART_images.npy   uint8 (N, H, W, 3)
        or, for imagenet, PART_paths.npy (bytes, relative to the folder) and PART_bytes.npy (int64)
        splits.json       {"train": [...], "validation": [...]}, places in the train part
        data.json         source, origin, classes, image_size, counts, mean, std, sha256
        done.json         size and SHA-256 of every file, written last

    `sha256` covers classes, labels, splits, scaling and pixels, and neither the place nor the times
    of the original files. For imagenet it covers relative paths, labels and file sizes instead of
    pixels: a file replaced by another of the same size is not noticed.

    Args:
        settings: {"source": "digits" | "cifar10" | "imagenette" | "imagenet",
            "image_size": pixels, "validation": images taken from train,
            "limit": the most images that train, validation and test shall keep each, or None}.
        out: folder to make or replace.
        folder: local image folder to use instead of a download: train/CLASS/* and test/CLASS/* or
            val/CLASS/* (imagenet: val/CLASS/*).
        progress: whether to show progress bars.

    Raises:
        ValueError: settings, splits or images that cannot be used; images are named.
        FileNotFoundError: the folder lacks a part.
        RuntimeError: a download failed.
    """
    out = Path(out)
    source = settings["source"]
    classes, parts = _find(source, settings["image_size"], out.parent / ".download", folder)
    splits, parts = _split(parts, settings["validation"], settings["limit"])
    with whole_folder(out) as partial:
        write_json(partial / "splits.json", splits)
        for name, (images, labels) in parts.items():
            np.save(partial / f"{name}_labels.npy", labels)
            if source == "imagenet":
                _list_files(partial, name, images, Path(folder))
            else:
                _decode(partial, name, images, settings["image_size"], progress)
        mean, std = BINARY_SCALING if source in ("digits", "cifar10") else IMAGENET_SCALING
        facts = {
            "source": source,
            "classes": classes,
            "image_size": settings["image_size"],
            "mean": mean,
            "std": std,
            "counts": {
                **{split: len(places) for split, places in splits.items()},
                "test": len(parts["test"][1]),
            },
        }
        facts["sha256"] = _content_sha256(partial, facts)
        facts["origin"] = "embedded" if source == "digits" else "folder" if folder else "download"
        if source == "imagenet":
            facts["folder"] = str(Path(folder).resolve())
        write_json(partial / "data.json", facts)
        write_done(partial)


def _find(source: str, image_size: int, cache: Path, folder: Path | None):
    """Classes, and for "train" and "test" (images or their paths, labels)."""
    if source not in SOURCES:
        raise ValueError(f"data source '{source}' is unknown; allowed are {', '.join(SOURCES)}")
    if source == "digits":
        if folder is not None:
            raise ValueError("digits come with scikit-learn: remove `digits` from `local`")
        return load_digits()
    if folder is not None:
        return list_folder(Path(folder), ("val",) if source == "imagenet" else ("test", "val"))
    if source == "imagenet":
        raise ValueError(
            "imagenet cannot be downloaded freely: set `local: {imagenet: FOLDER}` in params.yaml "
            "to a folder that holds train/CLASS/* and val/CLASS/*"
        )
    if source == "cifar10":
        return download_cifar10(cache)
    return download_imagenette(cache, image_size)


def _split(parts: dict, validation: int, limit: int | None) -> tuple[dict, dict]:
    """Places of train and validation in the train part, and the parts that `limit` leaves."""
    (train_images, train_labels), (test_images, test_labels) = parts["train"], parts["test"]
    train, chosen = stratified(train_labels, validation, "validation")
    train, chosen = (limited(places, train_labels, limit) for places in (train, chosen))
    tested = limited(np.arange(len(test_labels)), test_labels, limit)
    kept = np.union1d(train, chosen)
    splits = {
        "train": np.searchsorted(kept, train).tolist(),
        "validation": np.searchsorted(kept, chosen).tolist(),
    }
    return splits, {
        "train": ([train_images[place] for place in kept], train_labels[kept]),
        "test": ([test_images[place] for place in tested], test_labels[tested]),
    }


def _decode(partial: Path, name: str, images: list, size: int, progress: bool) -> None:
    array = np.lib.format.open_memmap(
        partial / f"{name}_images.npy", "w+", np.uint8, (len(images), size, size, 3)
    )
    decode_into(array, images, name, progress)
    array.flush()


def _list_files(partial: Path, name: str, paths: list[Path], folder: Path) -> None:
    relative = [path.relative_to(folder).as_posix().encode() for path in paths]
    np.save(partial / f"{name}_paths.npy", np.array(relative))
    np.save(partial / f"{name}_bytes.npy", np.array([path.stat().st_size for path in paths]))


def _content_sha256(partial: Path, facts: dict) -> str:
    files = {path.name: file_sha256(path) for path in partial.iterdir()}
    content = json.dumps({**facts, "files": files}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
