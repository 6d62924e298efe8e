"""Bit-flip optimizers for binarized neural networks, and the study that reproduces them.

For PyTorch users: `bop2ndorder.optim` (Bop, Bop2ndOrder), `bop2ndorder.binary` (layers),
`bop2ndorder.schedules`, `bop2ndorder.networks`. `load_run` gives back a network of the study.
"""

from importlib import import_module, metadata

_MODULES = ("binary", "convert", "networks", "optim", "schedules", "summary", "weights")
__all__ = ["load_run", *_MODULES]


# Loaded on demand: `import bop2ndorder.optim` needs nothing of the study.
def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name == "load_run":
        return import_module(".load", __name__).load_run
    if name == "__version__" and any(metadata.distributions(name=__name__)):  # if it is installed
        return metadata.version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
