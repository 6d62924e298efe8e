"""Hyperparameters of a group: what they may be, and what the learning rate makes of them.

A hyperparameter is a number, or a tensor without dimensions, which is never read.
"""

import math
from numbers import Real

import torch
from torch import Tensor

__all__ = ["HYPERPARAMETERS", "at_rate", "check_hyperparameters", "rounded"]

HYPERPARAMETERS = ("lr", "gamma", "sigma", "threshold", "eps")
MOST = 1 + 1e-9  # of gamma times lr, which schedulers round


def at_rate(group: dict) -> dict | None:
    """A copy of a group whose gamma is gamma times lr; None where that is 0 and no step is due.

    Where it is a tensor and 0, sigma is 0 as well, and the threshold is not exceeded. Numbers of
    any kind, such as NumPy's, become floats.
    """
    numbers = {n: group[n] for n in HYPERPARAMETERS if isinstance(group.get(n), Real)}
    group = group | {name: float(value) for name, value in numbers.items()}
    gamma = group.get("gamma", 1.0) * group["lr"]
    if not isinstance(gamma, Tensor):
        if "gamma" in group:  # and not a rule of one's own, whose only rate is lr
            gamma = min(gamma, 1.0)
        return group | {"gamma": gamma} if gamma > 0 else None
    moves = (gamma > 0).to(gamma.dtype)
    stopped = {"gamma": gamma}
    if "sigma" in group:
        stopped["sigma"] = group["sigma"] * moves
    if "threshold" in group:
        # Infinite, or for a threshold of 0 nan, than which nothing is larger either.
        stopped["threshold"] = group["threshold"] / moves
    return group | stopped


def rounded(value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """A hyperparameter in the moments' dtype; torch itself rounds numbers to that."""
    return value.to(dtype) if isinstance(value, Tensor) else value


def check_hyperparameters(optimizer: str, group: dict) -> None:
    """Refuse a group whose hyperparameters are out of their range.

    Args:
        optimizer: its name, for the message.
        group: a group of parameters; it may lack some of `HYPERPARAMETERS`.

    Raises:
        TypeError, ValueError: which value, and what is allowed.
    """
    for name in HYPERPARAMETERS:
        if name not in group:
            continue
        value = group[name]
        if isinstance(value, Tensor):
            _check_tensor(optimizer, name, value, group["params"])
        elif not isinstance(value, Real) or isinstance(value, bool):
            mend = "; schedules go to set_hyperparameters at each step" if callable(value) else ""
            raise TypeError(f"{optimizer}: {name} must be a number, got {value!r}{mend}")
        elif name == "gamma":
            if not 0 <= value <= 1:
                raise ValueError(f"{optimizer}: gamma must be in [0, 1], got {value}")
        elif name == "sigma":
            if not 0 < value <= 1:
                raise ValueError(f"{optimizer}: sigma must be in (0, 1], got {value}")
        elif not 0 <= value < math.inf:
            raise ValueError(f"{optimizer}: {name} must be finite and at least 0, got {value}")
    gamma, lr = group.get("gamma", 0.0), group["lr"]
    if not isinstance(gamma, Tensor) and not isinstance(lr, Tensor) and gamma * lr > MOST:
        raise ValueError(
            f"{optimizer}: gamma * lr must be at most 1, got {gamma} * {lr}: lower one of them"
        )
    if group.get("bias_correction") not in (None, "constant", "adam"):
        raise ValueError(
            f"{optimizer}: bias_correction must be None, 'constant' or 'adam', "
            f"got {group['bias_correction']!r}"
        )


def _check_tensor(optimizer: str, name: str, value: Tensor, parameters: list[Tensor]) -> None:
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{optimizer}: {name} as a tensor must be float32 or float64, got {value.dtype}"
        )
    if value.dim() or value.requires_grad:
        raise ValueError(
            f"{optimizer}: {name} as a tensor must have no dimension and need no gradient, got "
            f"shape {tuple(value.shape)}, requires_grad={value.requires_grad}"
        )
    for parameter in parameters:
        if parameter.device != value.device:
            raise ValueError(
                f"{optimizer}: {name} is a tensor on {value.device}, but a weight is on "
                f"{parameter.device}: make it there"
            )
