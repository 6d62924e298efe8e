"""Data: `prepare` makes content-hashed files once, `open_data` opens them, `batches` reads them.

    settings = {"source": "digits", "image_size": 16, "validation": 200, "limit": None}
    prepare(settings, "data/x")
    data = open_data("data/x")
    for images, labels in data.batches("train", 50, seed=1, augment={"pad": 2, "flip": False}):
        ...

`open_data` needs torch and NumPy only; what downloads, decodes and splits is loaded by `prepare`.
"""

from .dataset import SPLITS, Data
from .open import open_data

__all__ = ["SPLITS", "Data", "open_data", "prepare"]


def __getattr__(name: str):
    if name == "prepare":
        from .preparation import prepare

        return prepare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
