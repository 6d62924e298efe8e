"""Bit-flip optimizers for binarized neural networks, and the study that reproduces them.

For PyTorch users: `bop2ndorder.optim` (Bop, Bop2ndOrder), `bop2ndorder.binary` (layers),
`bop2ndorder.schedules`, `bop2ndorder.networks`. `load_run` gives back a network of the study.
"""

__all__ = ["load_run"]


def __getattr__(name: str):
    if (
        name == "load_run"
    ):  # loaded on demand: `import bop2ndorder.optim` needs nothing of the study
        from .load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
