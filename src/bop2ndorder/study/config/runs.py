"""Runs and their ids."""

from dataclasses import dataclass
from typing import Any

from .codes import code_name
from .keys import digest
from .settings import Settings


@dataclass(frozen=True)
class Run:
    """One training with everything decided.

    Attributes:
        id: readable, and ends in a hash of settings, data settings, and code.
        settings: all that the training reads.
        data: name of the folder with the prepared data.
    """

    id: str
    settings: Settings
    data: str

    @classmethod
    def of(cls, settings: Settings) -> "Run":
        prepared = settings.data.prepared()
        key = digest([prepared, code_name("preparing")])
        data = f"{settings.data_name}-{key}"
        # A setting with a default came later than the first ids, and is in those it changes only.
        decides = {
            name: value
            for name, value in settings.model_dump(exclude={"data_name"}).items()
            if value != Settings.model_fields[name].default
        }
        key = digest([decides, data, code_name("training")])
        return cls(f"{_slug(settings)}-{key}", settings, data)


@dataclass(frozen=True)
class Entry:
    """One run's place in an experiment.

    Attributes:
        experiment: its name.
        arm: name of the arm; of an axis, the last word of the hyperparameter.
        axis: dotted name of the hyperparameter varied alone; None for arms x grid.
        run: the run; the same one may stand in many entries.
    """

    experiment: str
    arm: str
    axis: str | None
    run: Run


def _slug(settings: Settings) -> str:
    optimizer, network = settings.optimizer, settings.network
    parts = [settings.data_name, network.name]
    if network.norm != "batch":
        parts.append(network.norm)
    parts.append(optimizer.name)
    if getattr(optimizer, "bias_correction", "none") != "none":
        parts.append(optimizer.bias_correction)
    for letter, key in (("g", "gamma"), ("s", "sigma"), ("t", "threshold")):
        if hasattr(optimizer, key):
            parts.append(letter + _short(getattr(optimizer, key)))
    return "-".join([*parts, f"seed{settings.seed}"])


def _short(value: Any) -> str:
    """A number or schedule as part of a name: 1e-7, 1e-7x0.1, 1e-2to1e-5."""
    if isinstance(value, int | float):
        text = f"{value:g}" if 0.01 <= value < 1000 or value == 0 else f"{value:.3e}"
        mantissa, e, exponent = text.partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}{e}{int(exponent) if e else ''}"
    if value.kind == "noise_floor":
        return f"{_short(value.times)}floor"
    if value.kind == "steps_of_m":
        return f"{_short(value.times)}steps"
    if value.kind == "exponential":
        return f"{_short(value.start)}x{_short(value.rate)}"
    return f"{_short(value.start)}to{_short(value.end)}"
