"""What a step does once the gradients are there: both optimizers, their schedules, the flips.

On the CPU the schedules' values are numbers, set before each step. On a device numbers would be
part of what is launched, and a CUDA graph would keep the first: there the values of an epoch are
written into a table at once, and a counter on the device picks each step's row.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...binary import binary_layers, binary_parameters, clip_latent
from ...networks import adam_groups
from ...optim import Bop, Bop2ndOrder, FlipOptimizer
from ...schedules import (
    Constant,
    ExponentialDecay,
    NoiseFloor,
    PolynomialDecay,
    StepsOfM,
    set_hyperparameters,
)
from .adam import KerasAdam, step_size, torch_eps
from .shadow import Shadow

HYPERPARAMETERS = ("gamma", "sigma", "threshold")
Schedule = Callable[[int], float]


class Updates:
    """What both forms have in common.

    Args:
        network: on its device.
        settings: of the run.
        steps: steps in an epoch.

    Attributes:
        schedules: of gamma, sigma and threshold, as far as the run has them, and of lr.
        flipper: the optimizer of binary weights, None where they are latent.
        adam: the optimizer of all other weights.
        shadows: other rules that are fed the gradients of the binary weights, by their names.
    """

    def __init__(self, network: nn.Module, settings: dict[str, Any], steps: int):
        self.network, self.layers = network, binary_layers(network)
        self.flipper, real = _flip_optimizer(network, settings["optimizer"])
        binary = [layer.weight for layer in self.layers.values()]
        rules = settings.get("shadows", {})
        self.shadows = {name: Shadow(binary, _maker(rule)) for name, rule in rules.items()}
        self.adam = self._adam(adam_groups(network, real))
        own = _schedules(settings["optimizer"], settings["epochs"], steps)
        lr = make_schedule(settings["lr"], steps, settings["epochs"])
        self.schedules = {**own, "lr": lr}
        # Of the optimizers that flip, by their names in a checkpoint.
        self._of_rules = {} if self.flipper is None else {"flipper": own}
        for name, rule in rules.items():
            self._of_rules[_key(name)] = _schedules(rule, settings["epochs"], steps)
        self.latent_flips = {
            name: torch.zeros((), dtype=torch.int64, device=layer.weight.device)
            for name, layer in (self.layers.items() if self.flipper is None else ())
        }

    def _adam(self, groups: list[dict[str, Any]]) -> Optimizer:
        raise NotImplementedError

    def prepare(self, step: int) -> None:
        """Make all values of a step, counted from 0, ready; before its `step`, and on the host."""
        raise NotImplementedError

    def step(self) -> None:
        """Update all weights by their gradients."""
        if self.flipper is not None:
            for shadow in self.shadows.values():
                shadow.step()
            self.flipper.step()
            self.adam.step()
        else:
            signs = {name: layer.weight >= 0 for name, layer in self.layers.items()}
            self.adam.step()
            clip_latent(self.network)
            for name, layer in self.layers.items():
                self.latent_flips[name] += (signs[name] != (layer.weight >= 0)).sum()

    def value(self, name: str, step: int) -> float | None:
        """A hyperparameter's value at a step; None where the run has none of that name."""
        schedule = self.schedules.get(name)
        return None if schedule is None else schedule(step)

    def flips(self) -> dict[str, int]:
        """Flips of each binary layer, counted from any step; a latent weight's sign counts.

        Read from the device at once.
        """
        if self.flipper is None:
            counts = self.latent_flips
        else:
            states = {n: self.flipper.state.get(lay.weight) for n, lay in self.layers.items()}
            counts = {name: state["flips"] for name, state in states.items() if state}
        found = torch.stack([*counts.values()]).tolist() if counts else []
        return dict.fromkeys(self.layers, 0) | dict(zip(counts, found, strict=True))

    def tensors(self) -> dict[Any, Tensor]:
        """All tensors that a step changes, but for those of the network, by a name."""
        found: dict[Any, Tensor] = dict(self.latent_flips)
        for key, optimizer in self.optimizers().items():
            for index, state in enumerate(optimizer.state.values()):
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        found[key, index, name] = value
        for key, shadow in self.shadows.items():
            found |= {(_key(key), i, "weight"): w for i, w in enumerate(shadow.weights)}
        return found

    def optimizers(self) -> dict[str, Optimizer]:
        """The optimizers by the names that they have in a checkpoint."""
        flipper = {} if self.flipper is None else {"flipper": self.flipper}
        shadows = {_key(name): shadow.optimizer for name, shadow in self.shadows.items()}
        return {"adam": self.adam, **flipper, **shadows}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of the optimizers."""
        found = {name: optimizer.state_dict() for name, optimizer in self.optimizers().items()}
        return {"flipper": None, **found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: it is that of the other form.
        """
        saved = state["adam"]["param_groups"][0]
        if ("step_size" in saved) != ("step_size" in self.adam.defaults):
            raise ValueError(
                "the checkpoint is of a training on the other kind of device, CPU or GPU, whose "
                "Adam is another: go on there, or remove the checkpoint to train from the start"
            )
        for name, optimizer in self.optimizers().items():
            optimizer.load_state_dict(state[name])


class HostUpdates(Updates):
    """The form for the CPU: numbers, and torch's fused Adam."""

    def _adam(self, groups: list[dict[str, Any]]) -> Optimizer:
        return torch.optim.Adam(groups, fused=True)

    def prepare(self, step: int) -> None:
        adam = {"lr": self.schedules["lr"], "eps": torch_eps}
        for name, optimizer in self.optimizers().items():
            set_hyperparameters(optimizer, self._of_rules.get(name, adam), step)


class DeviceUpdates(Updates):
    """The form for devices: a step reads no value of the host, and none back. No GPU has run it."""

    def __init__(self, network: nn.Module, settings: dict[str, Any], steps: int):
        super().__init__(network, settings, steps)
        lr = self.schedules["lr"]
        self._columns = {
            (key, name): schedule
            for key, schedules in self._of_rules.items()
            for name, schedule in schedules.items()
        }
        self._columns["adam", "step_size"] = lambda step: step_size(lr(step), step)
        device = next(network.parameters()).device
        # Float64: rounded once, to the dtype of the moments, as numbers are.
        self._table = torch.zeros(steps, len(self._columns), dtype=torch.float64, device=device)
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._values = torch.zeros_like(self._table[:1])
        self._first, self._next = 0, -1  # step of the table's first row; step that _row stands for
        self._bind()

    def _adam(self, groups: list[dict[str, Any]]) -> Optimizer:
        return KerasAdam(groups, step_size=0.0)

    def _bind(self) -> None:
        """Let the optimizers' groups hold the values that `step` fills in."""
        optimizers = self.optimizers()
        for column, (key, name) in enumerate(self._columns):
            for group in optimizers[key].param_groups:
                group[name] = self._values[0, column]

    def prepare(self, step: int) -> None:
        if step != self._next or step == self._first + len(self._table):
            steps = range(step, step + len(self._table))
            values = [[schedule(s) for schedule in self._columns.values()] for s in steps]
            self._table.copy_(torch.tensor(values, dtype=torch.float64))
            self._row.zero_()
            self._first = step
        self._next = step + 1

    def step(self) -> None:
        torch.index_select(self._table, 0, self._row, out=self._values)
        self._row += 1
        super().step()

    def tensors(self) -> dict[Any, Tensor]:
        return {**super().tensors(), "row": self._row, "values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._bind()


def _key(shadow: str) -> str:
    """The name of a shadow's optimizer in a checkpoint."""
    return f"shadow/{shadow}"


def _schedules(rule: dict[str, Any], epochs: int, steps: int) -> dict[str, Schedule]:
    """Those of a rule's settings; the run has so many epochs, and an epoch so many steps."""
    found: dict[str, Schedule] = {}
    for name in HYPERPARAMETERS:
        if name in rule:
            found[name] = make_schedule(rule[name], steps, epochs, found.get("gamma"))
    return found


def make_schedule(
    value: float | dict[str, Any], steps: int, epochs: int, gamma: Schedule | None = None
) -> Schedule:
    """The schedule that params.yaml declares, its length turned into steps.

    Args:
        value: a number, or a mapping with kind, start and so on.
        steps: steps in an epoch.
        epochs: epochs of the run.
        gamma: the schedule of gamma, which a threshold may follow.
    """
    if not isinstance(value, dict):
        return Constant(value)
    if value["kind"] == "noise_floor":
        return NoiseFloor(value["times"], gamma)
    if value["kind"] == "steps_of_m":
        return StepsOfM(value["times"], gamma, value["gradient"])
    if value["kind"] == "exponential":
        return ExponentialDecay(value["start"], value["rate"], round(value["every"] * steps))
    length = round(value["until"] * epochs * steps)
    return PolynomialDecay(value["start"], value["end"], length, value["power"])


def _bop2ndorder(binary: list[nn.Parameter], settings: dict[str, Any]) -> Bop2ndOrder:
    correction = settings["bias_correction"]
    correction = None if correction == "none" else correction
    return Bop2ndOrder(binary, eps=settings["eps"], bias_correction=correction)


# Name in a run's settings -> what makes the optimizer of the binary weights; what is scheduled is
# set at each step.
FLIP_OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], dict[str, Any]], FlipOptimizer]] = {
    "bop": lambda binary, settings: Bop(binary),
    "bop2ndorder": _bop2ndorder,
}


def _flip_optimizer(network: nn.Module, settings: dict[str, Any]):
    """The optimizer of the binary weights (None for latent ones) and the other parameters."""
    if settings["name"] == "latent":
        return None, list(network.parameters())
    binary, real = binary_parameters(network)
    return _maker(settings)(binary), real


def _maker(settings: dict[str, Any]) -> Callable[[list[nn.Parameter]], FlipOptimizer]:
    """What makes the optimizer that settings name."""
    return partial(FLIP_OPTIMIZERS[settings["name"]], settings=settings)
