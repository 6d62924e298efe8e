r"""Optimizers that flip binary weights: Bop and its second-order successor, Bop2ndOrder.

The weights are exactly -1 or +1 and there are no latent ones behind them. With :math:`g_t` the
gradient, all operations by element, moments starting from 0:

.. math::
    m_t &= m_{t-1} + \gamma\,(g_t - m_{t-1}) \\
    v_t &= v_{t-1} + \sigma\,(g_t^2 - v_{t-1})      & \text{(Bop2ndOrder only)} \\
    w_t &= -w_{t-1} \text{ where } w_{t-1}\,r_t > \tau, \text{ else } w_{t-1},

where :math:`r_t = m_t` for Bop and :math:`r_t = m_t / (\sqrt{v_t} + \epsilon)` for Bop2ndOrder.

:class:`Bop` and :class:`Bop2ndOrder` are ordinary torch optimizers; :func:`bop` and
:func:`bop2ndorder` are one update of one tensor. Train the real-valued weights of the network
beside them with an optimizer of their own::

    binary, real = binary_parameters(model)
    flip, adam = Bop2ndOrder(binary, gamma=1e-6), torch.optim.Adam(real, lr=0.01)

Hyperparameters are numbers, or tensors without dimensions on the weights' device, float32 or
float64. What is in a tensor is never read back: it may change from step to step under torch.compile
or in a CUDA graph, and only its type, dtype and device are checked. In float64 it does what the
number does. No GPU has run this yet.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .binary import is_binary

__all__ = ["Bop", "Bop2ndOrder", "FlipOptimizer", "bop", "bop2ndorder"]

HYPERPARAMETERS = ("gamma", "sigma", "threshold", "eps")

# Elements that are updated at a time. On the CPU five blocks of float32 stay in the cache between
# the passes of an update and still occupy several threads. Elsewhere a block is as large as float32
# can count the flips of.
_CPU_BLOCK = 2**19
_BLOCK = 2**24


class FlipOptimizer(Optimizer):
    """Base of optimizers that flip binary weights; for a rule of your own derive from it.

    It refuses weights other than -1 and +1, checks hyperparameters of the names gamma, sigma,
    threshold and eps at every step, makes the state of each parameter at its first gradient (the
    `moments`, zeros of the weight's shape, float32 or float64; and ``flips``, int64), and loads it
    again unrounded. A subclass names its moments, passes its defaults on, and has::

        def update(self, parameter: Tensor, state: dict, group: dict) -> None

    which flips weights of a parameter in place by its ``.grad``, its state and its group's
    hyperparameters (numbers, or tensors that :meth:`prepared` has rounded to the moments' dtype),
    and adds the number of flips to ``state["flips"]``. Where it reads no value back it can be
    compiled and captured in a CUDA graph as a whole.
    """

    moments: tuple[str, ...]

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        _check_hyperparameters(type(self).__name__, group)
        for index, parameter in enumerate(group["params"]):
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
            _check_hyperparameters(type(self).__name__, group)
            prepared = self.prepared(group)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                state = self.state[parameter]
                if not state:
                    self._init_state(state, parameter)
                self.update(parameter, state, prepared)
        return loss

    def prepared(self, group: dict) -> dict:
        """A group as :meth:`update` gets it, a copy; here is what its parameters have in common.

        By default hyperparameters that are tensors are rounded to the dtype of the moments.
        """
        dtype = _moment_dtype(*group["params"])
        return group | {n: _rounded(group[n], dtype) for n in HYPERPARAMETERS if n in group}

    def _init_state(self, state: dict, parameter: Tensor) -> None:
        for moment in self.moments:
            state[moment] = torch.zeros_like(parameter, dtype=_moment_dtype(parameter))
        state["flips"] = torch.zeros((), dtype=torch.int64, device=parameter.device)

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from a :meth:`state_dict`, bit for bit.

        A hyperparameter becomes what was saved, a number or a new tensor on the weights' device.
        """
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for name in HYPERPARAMETERS:
                if isinstance(group.get(name), Tensor):
                    group[name] = group[name].to(group["params"][0].device)
        # torch casts all state to the dtype of the weights, which would round the float32 moments
        # of bfloat16 weights and turn the counts of flips into floats.
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for index, parameter in zip(saved, parameters, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    self.state[parameter][name] = value.to(parameter.device, copy=True)


class Bop(FlipOptimizer):
    r"""Flips a binary weight when the mean of its gradients agrees with it and exceeds a threshold.

    .. math::
        m_t = m_{t-1} + \gamma\,(g_t - m_{t-1}), \qquad
        w_t = -w_{t-1} \text{ where } w_{t-1} m_t > \tau

    Args:
        params: parameters whose entries are exactly -1 or +1, or groups of them.
        gamma: adaptivity rate in (0, 1], the share of the newest gradient in the mean; the smaller,
            the fewer flips. It does what a learning rate does elsewhere (default: 1e-4).
        threshold: tau, at least 0, in units of the gradient (default: 1e-8).

    Both may be tensors, see the module; then nobody checks the range.

    ``state[parameter]`` holds ``m`` (float32, or float64 for float64 weights; memory as the
    weights) and ``flips``, the number of flips so far (int64, no dimension, on the weights'
    device; reading it now and then gives the flip rate without a synchronisation per step).

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range or, as a tensor, of another
            dtype, shape or device; for a weight that is not -1 or +1.

    Source: Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1. The released code sets a weight to
    +1 where ``w m`` equals the threshold exactly; here, as in the paper, it does not flip.
    """

    moments = ("m",)

    def __init__(self, params, gamma: float | Tensor = 1e-4, threshold: float | Tensor = 1e-8):
        super().__init__(params, {"gamma": gamma, "threshold": threshold})

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        bop(
            parameter,
            parameter.grad,
            state["m"],
            state["flips"],
            gamma=group["gamma"],
            threshold=group["threshold"],
        )


class Bop2ndOrder(FlipOptimizer):
    r"""Bop with the mean gradient normalised by the root of its second raw moment.

    .. math::
        w_t = -w_{t-1} \text{ where } w_{t-1}\,
        \frac{m_t / a_t}{\sqrt{v_t / b_t} + \epsilon} > \tau

    ===================  =============================  ==================================
    ``bias_correction``  a                              b
    ===================  =============================  ==================================
    None                 1                              1
    "constant"           gamma of this step             sigma of this step
    "adam"               1 - prod over steps (1-gamma)  1 - prod over steps (1-sigma)
    ===================  =============================  ==================================

    **Which gamma and threshold.** Let gamma decay, say a hundredfold, and leave the threshold near
    0; or keep gamma, and set the threshold to 1 to 3 times the noise floor
    ``sqrt(gamma / (2 - gamma))``, the more the larger gamma is. Both together, a
    threshold held at a multiple of the floor of a decaying gamma, cost accuracy or made no clear
    difference. Measured without correction on CIFAR-10 (BinaryNet of width 16, 2 epochs, 3 seeds),
    at the best of 1, 2 and 3 times the floor for a constant gamma and the same for it decaying, in
    points of validation accuracy above no threshold, with 95 % intervals:

    ============  =====================  =======================
    gamma         threshold / floor      gain
    ============  =====================  =======================
    1e-3          1                      +5.9 (+1.8 to +10.1)
    1e-2          3                      +20.8 (+11.9 to +29.7)
    1e-3 -> 1e-5  1                      -5.8 (-11.3 to -0.3)
    1e-2 -> 1e-4  3                      -11.7 (-14.7 to -8.7)
    ============  =====================  =======================

    Beside the same gamma decaying without a threshold the first two are at -1.2 (-3.3 to +0.9)
    and -0.8 (-6.8 to +5.2). All of it: docs/flips.md and results/small/noise_floor.

    Args:
        params: parameters whose entries are exactly -1 or +1, or groups of them.
        gamma: adaptivity rate of the first moment, in (0, 1] (default: 1e-6).
        sigma: rate of the second moment, in (0, 1] (default: 1e-2).
        threshold: tau, at least 0, without unit (default: 1e-6). Noise alone gives m / sqrt(v) a
            standard deviation of sqrt(gamma / (2 - gamma)), the noise floor; a tau below gamma,
            about one step of that ratio, does nothing.
        eps: added to the root, at least 0 (default: 1e-10).
        bias_correction: None, "constant" or "adam" (default: None).

    gamma, sigma, threshold and eps may be tensors, see the module; then nobody checks the range.

    ``state[parameter]`` holds ``m``, ``v`` and ``flips`` as :class:`Bop`'s does, and for "adam"
    the two corrections ``a`` and ``b``: floats, or where gamma and sigma are tensors, such tensors.

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range or, as a tensor, of another
            dtype, shape or device; for a weight that is not -1 or +1.

    Source: Suarez-Ramirez et al. 2021 (arXiv 2104.05124). None and "constant" are the two released
    optimizers; what the paper calls bias correction is "constant", which with constant
    hyperparameters equals None with threshold tau gamma / sqrt(sigma). "adam" is the correction of
    Kingma and Ba (arXiv 1412.6980). At an exact tie the released code sets a weight to +1; here,
    as in the paper, it does not flip.
    """

    moments = ("m", "v")

    def __init__(
        self,
        params,
        gamma: float | Tensor = 1e-6,
        sigma: float | Tensor = 1e-2,
        threshold: float | Tensor = 1e-6,
        eps: float | Tensor = 1e-10,
        bias_correction: str | None = None,
    ):
        defaults = {
            "gamma": gamma,
            "sigma": sigma,
            "threshold": threshold,
            "eps": eps,
            "bias_correction": bias_correction,
        }
        super().__init__(params, defaults)

    def prepared(self, group: dict) -> dict:
        if group["bias_correction"] == "adam":
            return group  # its corrections are each parameter's own
        a = b = 1.0
        if group["bias_correction"] == "constant":
            a, b = group["gamma"], group["sigma"]
        return self._corrected(group, a, b, _moment_dtype(*group["params"]))

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        if group["bias_correction"] == "adam":
            a = _one_minus_product(state, "a", group["gamma"])
            b = _one_minus_product(state, "b", group["sigma"])
            group = self._corrected(group, a, b, state["m"].dtype)
        _second_order(
            parameter,
            parameter.grad,
            state["m"],
            state["v"],
            state["flips"],
            group["gamma"],
            group["sigma"],
            *group["bound"],
        )

    def _corrected(self, group: dict, a: Any, b: Any, dtype: torch.dtype) -> dict:
        # (m / a) / (sqrt(v / b) + eps) > tau, with the scalars gathered on the right.
        root = b.sqrt() if isinstance(b, Tensor) else math.sqrt(b)
        return group | {
            "gamma": _rounded(group["gamma"], dtype),
            "sigma": _rounded(group["sigma"], dtype),
            "bound": _bound(group["threshold"] * a / root, group["eps"] * root, dtype),
        }


def _one_minus_product(state: dict, name: str, rate: float | Tensor) -> float | Tensor:
    """1 - prod(1 - rate) over the steps, kept under `name`; a tensor is updated in place."""
    # By recursion, which does not cancel where the rate is small.
    if not isinstance(rate, Tensor):
        before = float(state.get(name, 0.0))
        state[name] = before + rate * (1 - before)
    else:
        before = state.get(name, 0.0)
        if not isinstance(before, Tensor):
            state[name] = torch.full_like(rate, before)
        state[name].add_(rate * (1 - state[name]))
    return state[name]


def bop(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    flips: Tensor,
    *,
    gamma: float | Tensor,
    threshold: float | Tensor,
):
    """One update of :class:`Bop`, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m: first moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, threshold: as in :class:`Bop`.
    """
    gamma, threshold = _rounded(gamma, m.dtype), _rounded(threshold, m.dtype)
    for w, g, mean, scratch in _blocks(weight, grad, m):
        mean.lerp_(g.to(mean.dtype), gamma)
        _flip(w, torch.mul(mean, w, out=scratch).gt_(threshold), flips)


def bop2ndorder(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    v: Tensor,
    flips: Tensor,
    *,
    gamma: float | Tensor,
    sigma: float | Tensor,
    threshold: float | Tensor,
    eps: float | Tensor,
):
    """One update of :class:`Bop2ndOrder` without bias correction, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m, v: first and second raw moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, sigma, threshold, eps: as in :class:`Bop2ndOrder`.
    """
    gamma, sigma = _rounded(gamma, m.dtype), _rounded(sigma, m.dtype)
    _second_order(weight, grad, m, v, flips, gamma, sigma, *_bound(threshold, eps, m.dtype))


def _bound(threshold: Any, eps: Any, dtype: torch.dtype) -> tuple[float | Tensor, float | Tensor]:
    """-1 / threshold and -eps, by which `_second_order` tells which weights flip."""
    # For a tau of next to nothing w m / tau is infinite, or nan for m = 0, which compares false: no
    # flip. Of numbers Python refuses to divide by 0, and torch to round to infinity.
    if isinstance(threshold, Tensor) or threshold > torch.finfo(torch.float32).tiny:
        scale = -1 / threshold
    else:
        scale = -math.inf
    return _rounded(scale, dtype), _rounded(-eps, dtype)


def _second_order(
    weight: Tensor,
    grad: Tensor,
    m: Tensor,
    v: Tensor,
    flips: Tensor,
    gamma: float | Tensor,
    sigma: float | Tensor,
    scale: float | Tensor,
    minus_eps: float | Tensor,
) -> None:
    # w m / (sqrt(v) + eps) > tau, as sqrt(v) - w m / tau < -eps: fewer passes over the memory.
    for w, g, mean, square, scratch in _blocks(weight, grad, m, v):
        g = g.to(mean.dtype)
        mean.lerp_(g, gamma)
        square.lerp_(torch.mul(g, g, out=scratch), sigma)
        root = torch.sqrt(square, out=scratch)
        if isinstance(scale, Tensor):
            root.addcmul_(mean * scale, w)  # a tensor as `value` would be read back
        else:
            root.addcmul_(mean, w, value=scale)
        _flip(w, root.lt_(minus_eps), flips)


def _rounded(value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """A hyperparameter in the moments' dtype; torch itself rounds numbers to that."""
    return value.to(dtype) if isinstance(value, Tensor) else value


def _moment_dtype(*parameters: Tensor) -> torch.dtype:
    """At least float32; of parameters of several dtypes the widest."""
    return functools.reduce(torch.promote_types, (p.dtype for p in parameters), torch.float32)


def _flip(w: Tensor, flipped: Tensor, flips: Tensor) -> None:
    """Flip w where `flipped`, of the moments' dtype, is 1 and not 0."""
    w.addcmul_(w, flipped, value=-2)
    flips.add_(flipped.sum().to(torch.int64))


def _blocks(weight: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors cut into the same blocks, each with scratch space of the moments' dtype.

    Tensors larger than a block are cut along their memory where all fill it in one common order,
    be it channels-last; otherwise they come whole.
    """
    tensors = (weight, *others)
    on_cpu = weight.device.type == "cpu" and not torch.compiler.is_compiling()
    size, count = _CPU_BLOCK if on_cpu else _BLOCK, weight.numel()
    if count > size:
        order = sorted(range(weight.dim()), key=weight.stride, reverse=True)
        ordered = [tensor.permute(order) for tensor in tensors]
        if all(tensor.is_contiguous() for tensor in ordered):
            flat = [tensor.view(-1) for tensor in ordered]
            scratch = torch.empty_like(flat[-1][:size])
            for start in range(0, count, size):
                yield *(tensor[start : start + size] for tensor in flat), scratch[: count - start]
            return
    yield *tensors, torch.empty_like(tensors[-1])


def _check_hyperparameters(optimizer: str, group: dict) -> None:
    for name in HYPERPARAMETERS:
        if name not in group:
            continue
        value = group[name]
        if isinstance(value, Tensor):
            _check_tensor(optimizer, name, value, group["params"])
        elif not isinstance(value, int | float):
            raise TypeError(f"{optimizer}: {name} must be a number, got {value!r}")
        elif name in ("gamma", "sigma"):
            if not 0 < value <= 1:
                raise ValueError(f"{optimizer}: {name} must be in (0, 1], got {value}")
        elif not 0 <= value < math.inf:
            raise ValueError(f"{optimizer}: {name} must be finite and at least 0, got {value}")
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
