"""Schedules of hyperparameters: pure functions of the step, which counts updates from 0.

To be called before each update, as in Keras::

    gamma = ExponentialDecay(1e-4, 0.1, decay_steps=100_000)
    schedules = {"gamma": gamma, "threshold": Constant(1e-8)}
    for step, batch in enumerate(batches):
        set_hyperparameters(optimizer, schedules, step)
        ...
        optimizer.step()
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real

import torch

__all__ = [
    "Constant",
    "ExponentialDecay",
    "NoiseFloor",
    "PolynomialDecay",
    "StepsOfM",
    "set_hyperparameters",
]


def _check(schedule: object, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{type(schedule).__name__}: {name} must be a number, got {value!r}")
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{type(schedule).__name__}: {name} must be finite and at least 0, got {value}"
            )


def _check_schedule(owner: str, name: str, schedule: object) -> None:
    if not callable(schedule):
        raise TypeError(
            f"{owner}: {name} must be a schedule, such as Constant({schedule!r}), got {schedule!r}"
        )


def _check_step(step: int) -> None:
    if not step >= 0:
        raise ValueError(f"a schedule's step counts from 0, got {step}")


def _check_decay_steps(schedule: object, decay_steps: float) -> None:
    _check(schedule, decay_steps=decay_steps)
    if not decay_steps > 0:
        raise ValueError(f"{type(schedule).__name__}: decay_steps must be positive, got 0")


@dataclass(frozen=True)
class Constant:
    """``value`` at every step."""

    value: float

    def __post_init__(self):
        _check(self, value=self.value)

    def __call__(self, step: int) -> float:
        _check_step(step)
        return self.value


@dataclass(frozen=True)
class ExponentialDecay:
    """``start * rate ** (step / decay_steps)``; with ``staircase`` the exponent is rounded down.

    Args:
        start: value at step 0, at least 0.
        rate: factor per ``decay_steps``, at least 0.
        decay_steps: steps over which ``rate`` is applied once, positive.
        staircase: decay in jumps (default, as released) or smoothly.

    Source: tf.keras.optimizers.schedules.ExponentialDecay, in float64 instead of float32.
    """

    start: float
    rate: float
    decay_steps: float
    staircase: bool = True

    def __post_init__(self):
        _check(self, start=self.start, rate=self.rate)
        _check_decay_steps(self, self.decay_steps)

    def __call__(self, step: int) -> float:
        _check_step(step)
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.start * self.rate**exponent


@dataclass(frozen=True)
class PolynomialDecay:
    """``end + (start - end) * (1 - step / decay_steps) ** power``, then ``end``.

    Args:
        start: value at step 0, at least 0.
        end: value from step ``decay_steps`` on, at least 0; above ``start`` it is a rise.
        decay_steps: steps from start to end, positive.
        power: 1 is a straight line (default).

    Source: tf.keras.optimizers.schedules.PolynomialDecay, in float64 instead of float32.
    """

    start: float
    end: float
    decay_steps: float
    power: float = 1.0

    def __post_init__(self):
        _check(self, start=self.start, end=self.end, power=self.power)
        _check_decay_steps(self, self.decay_steps)

    def __call__(self, step: int) -> float:
        _check_step(step)
        if step >= self.decay_steps:
            return self.end
        return self.end + (self.start - self.end) * (1 - step / self.decay_steps) ** self.power


@dataclass(frozen=True)
class NoiseFloor:
    """A threshold of Bop2ndOrder that keeps its height above what noise alone does.

    Of a gradient that is nothing but noise, m / sqrt(v) has the standard deviation
    ``sqrt(gamma / (2 - gamma))``, once m has settled. The value is
    ``times`` that, with gamma of the same step, so that it falls as gamma does.

    Args:
        times: threshold in standard deviations of the noise, at least 0.
        gamma: schedule of the adaptivity rate; of gamma times lr where the group's lr is not 1.

    Source: ours; docs/flips.md derives and simulates it. It holds without bias correction, and
    where sigma is small enough for v to be steady.
    """

    times: float
    gamma: Callable[[int], float]

    def __post_init__(self):
        _check(self, times=self.times)
        _check_schedule("NoiseFloor", "gamma", self.gamma)

    def __call__(self, step: int) -> float:
        gamma = self.gamma(step)
        if not 0 <= gamma <= 1:
            raise ValueError(f"NoiseFloor: gamma must be from 0 to 1, got {gamma} at step {step}")
        return self.times * math.sqrt(gamma / (2 - gamma))


@dataclass(frozen=True)
class StepsOfM:
    """A threshold that so many typical gradients in a row would carry m to.

    One gradient moves m by gamma times its size. The value is ``times`` that, with gamma of the
    same step. Where m has no time to settle, gamma times the number of steps being small, it says
    how many gradients a flip takes, whatever gamma is.

    Args:
        times: threshold in steps of m, at least 0.
        gamma: schedule of the adaptivity rate; of gamma times lr where the group's lr is not 1.
        gradient: for Bop the root mean square of the gradient; 1, the default, for Bop2ndOrder
            without bias correction, whose ratio has no unit.

    Source: ours; docs/flips.md.
    """

    times: float
    gamma: Callable[[int], float]
    gradient: float = 1.0

    def __post_init__(self):
        _check(self, times=self.times, gradient=self.gradient)
        _check_schedule("StepsOfM", "gamma", self.gamma)

    def __call__(self, step: int) -> float:
        return self.times * self.gamma(step) * self.gradient


def set_hyperparameters(
    optimizer: torch.optim.Optimizer,
    schedules: Mapping[str, Callable[[int], float]],
    step: int,
) -> dict[str, float]:
    """Write the schedules' values at ``step`` into every parameter group of an optimizer.

    A hyperparameter that is a tensor stays one: it is filled with the value, in place. All groups
    get the same; where their gammas are to keep a ratio, schedule ``lr``, a factor on each.

    Args:
        optimizer: any torch optimizer; Bop and Bop2ndOrder read their groups at every step.
        schedules: name of a hyperparameter, such as "gamma" or "lr", to its schedule.
        step: number of updates made so far: 0 before the first.

    Returns:
        The values that were set, by name.

    Raises:
        ValueError: and nothing is set, for a name that a group of the optimizer does not have.
        TypeError: for what is no schedule, such as a number.
    """
    for name, schedule in schedules.items():
        _check_schedule("set_hyperparameters", name, schedule)
    values = {name: schedule(step) for name, schedule in schedules.items()}
    # NumPy's numbers torch.load would refuse in a saved state.
    values |= {name: float(value) for name, value in values.items() if isinstance(value, Real)}
    for index, group in enumerate(optimizer.param_groups):
        if unknown := values.keys() - group.keys():
            raise ValueError(
                f"{type(optimizer).__name__} has no hyperparameter {sorted(unknown)} in group "
                f"{index}; it has {sorted(group.keys() - {'params'})}"
            )
    for group in optimizer.param_groups:
        for name, value in values.items():
            if isinstance(group[name], torch.Tensor):
                group[name].fill_(value)
            else:
                group[name] = value
    return values
