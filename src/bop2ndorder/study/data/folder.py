"""A local folder of images: train/CLASS/* and test/CLASS/* or val/CLASS/*."""

from pathlib import Path

import numpy as np

EXTENSIONS = (".jpg", ".jpeg", ".png")

Parts = dict[str, tuple[list[Path], np.ndarray]]


def list_folder(folder: Path, test_names: tuple[str, ...]) -> tuple[list[str], Parts]:
    """List the images of a folder; nothing is opened.

    Classes are the sorted names of the folders in train/. Images are the files in them that end in
    .jpg, .jpeg or .png in any case of letters, hidden ones apart, sorted by name.

    Args:
        folder: what holds train/ and one of `test_names`.
        test_names: how the folder of test images may be called.

    Returns:
        classes, and for "train" and "test" the paths and their labels int64 (N,).

    Raises:
        FileNotFoundError: the folder or a part of it is not there.
        ValueError: both test folders are there, the parts differ in classes, a class is empty.
    """
    wanted = " or ".join(f"{name}/CLASS/*" for name in test_names)
    layout = f"{folder} must hold train/CLASS/* and {wanted}"
    tests = [name for name in test_names if (folder / name).is_dir()]
    if not (folder / "train").is_dir() or not tests:
        raise FileNotFoundError(f"{layout}; one of these folders is missing")
    if len(tests) > 1:
        raise ValueError(f"{layout}, not {' and '.join(tests)} together: rename one of them")
    train, test = folder / "train", folder / tests[0]
    classes, test_classes = _classes(train), _classes(test)
    if differing := sorted(set(classes) ^ set(test_classes)):
        raise ValueError(
            f"{train} and {test} must have the same classes; only one has: {', '.join(differing)}"
        )
    if not classes:
        raise ValueError(f"{layout}; there is no CLASS folder in {train}")
    return classes, {"train": _images(train, classes), "test": _images(test, classes)}


def _classes(part: Path) -> list[str]:
    return sorted(
        entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _images(part: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            entry
            for entry in (part / name).iterdir()
            if entry.suffix.lower() in EXTENSIONS and not entry.name.startswith(".")
        )
        if not found:
            raise ValueError(f"{part / name} holds no image ({', '.join(EXTENSIONS)})")
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels, dtype=np.int64)
