"""What optimizers that flip binary weights have in common: checks, groups, states."""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .binary import is_binary
from .hyperparameters import HYPERPARAMETERS, at_rate, check_hyperparameters, rounded

__all__ = ["FlipOptimizer", "moment_dtype"]


class FlipOptimizer(Optimizer):
    """Base of optimizers that flip binary weights; for a rule of your own derive from it.

    It refuses weights other than -1 and +1, checks hyperparameters of the names lr, gamma, sigma,
    threshold and eps at every step, makes the state of each parameter at its first gradient (the
    `moments`, zeros of the weight's shape, float32 or float64; and ``flips``, int64), and loads it
    again unrounded. A subclass names its moments, passes its defaults on, and has::

        def update(self, parameter: Tensor, state: dict, group: dict) -> None

    which flips weights of a parameter in place by its ``.grad``, its state and its group's
    hyperparameters (numbers, or tensors that :meth:`prepared` has rounded to the moments' dtype),
    and adds the number of flips to ``state["flips"]``. Where it reads no value back it can be
    compiled and captured in a CUDA graph as a whole. The gamma that it gets is gamma times lr; at 0
    it is not called, or, where that is a tensor, called with a sigma of 0 and a threshold that is
    infinite or nan.

    Args:
        params: parameters whose entries are exactly -1 or +1, or groups of them; no DTensors.
        defaults: hyperparameters by name; without an ``lr`` it is 1.
    """

    moments: tuple[str, ...]

    def __init__(self, params, defaults: dict[str, Any]):
        super().__init__(params, {"lr": 1.0, **defaults})

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("lr", 1.0)  # states that were saved before there was one

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        try:
            self._check(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()  # who goes on without it must not have it flipped
            raise
        group = self.param_groups[-1]
        # NumPy's numbers, which torch.load would refuse in a saved state.
        group |= {n: float(group[n]) for n in HYPERPARAMETERS if isinstance(group.get(n), Real)}

    def _check(self, group: dict) -> None:
        check_hyperparameters(type(self).__name__, group)
        for index, parameter in enumerate(group["params"]):
            if hasattr(parameter, "device_mesh"):  # without importing torch's distributed tensors
                raise TypeError(
                    f"{type(self).__name__}: parameter {index} of group "
                    f"{len(self.param_groups) - 1} is a DTensor, as fully_shard makes them; it "
                    "takes plain tensors, whole on each device"
                )
            if not parameter.is_floating_point() or not is_binary(parameter):
                raise ValueError(
                    f"{type(self).__name__}: every weight must be exactly -1 or +1, but parameter "
                    f"{index} of group {len(self.param_groups) - 1} (shape "
                    f"{tuple(parameter.shape)}, {parameter.dtype}) has others; give it only the "
                    "binary list of binary_parameters(model)"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss (optional).

        Returns:
            The closure's loss, or None without one.

        Raises:
            TypeError, ValueError: for a hyperparameter that was set out of its range.
            RuntimeError: for a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            check_hyperparameters(type(self).__name__, group)
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                if parameter.grad.is_sparse:
                    raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                if not self.state[parameter]:
                    self._init_state(self.state[parameter], parameter, group)
            group = at_rate(group)
            if group is None:
                continue
            prepared = self.prepared(group)
            for parameter in parameters:
                self.update(parameter, self.state[parameter], prepared)
        return loss

    def prepared(self, group: dict) -> dict:
        """A group as :meth:`update` gets it, a copy; here is what its parameters have in common.

        Its gamma is gamma times lr already. By default hyperparameters that are tensors are rounded
        to the dtype of the moments.
        """
        dtype = moment_dtype(*group["params"])
        return group | {n: rounded(group[n], dtype) for n in HYPERPARAMETERS if n in group}

    def _init_state(self, state: dict, parameter: Tensor, group: dict) -> None:
        for moment in self.moments:
            state[moment] = torch.zeros_like(parameter, dtype=moment_dtype(parameter))
        state["flips"] = torch.zeros((), dtype=torch.int64, device=parameter.device)

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from a :meth:`state_dict`, bit for bit.

        A hyperparameter becomes what was saved, a number or a new tensor on the weights' device; an
        lr that is missing becomes 1.
        """
        # What hooks make of it comes out only by a hook: the last before, and the first after.
        loaded = []
        hooks = [
            self.register_load_state_dict_pre_hook(lambda _, given: loaded.append(given)),
            self.register_load_state_dict_post_hook(
                lambda _: self._restore(loaded[0]), prepend=True
            ),
        ]
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _restore(self, state_dict: dict) -> None:
        for group in self.param_groups:
            for name in HYPERPARAMETERS:
                if isinstance(group.get(name), Tensor) and group["params"]:
                    group[name] = group[name].to(group["params"][0].device)
        # torch casts all state to the dtype of the weights, which would round the float32 moments
        # of bfloat16 weights and turn the counts of flips into floats.
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for index, parameter in zip(saved, parameters, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    self.state[parameter][name] = value.to(parameter.device, copy=True)


def moment_dtype(*parameters: Tensor) -> torch.dtype:
    """At least float32; of parameters of several dtypes the widest."""
    return functools.reduce(torch.promote_types, (p.dtype for p in parameters), torch.float32)
