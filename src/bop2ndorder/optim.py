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
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from .binary import is_binary

__all__ = ["Bop", "Bop2ndOrder", "FlipOptimizer", "bop", "bop2ndorder"]

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
    hyperparameters, and adds the number of flips to ``state["flips"]``.
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
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                state = self.state[parameter]
                if not state:
                    self._init_state(state, parameter)
                self.update(parameter, state, group)
        return loss

    def _init_state(self, state: dict, parameter: Tensor) -> None:
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        for moment in self.moments:
            state[moment] = torch.zeros_like(parameter, dtype=dtype)
        state["flips"] = torch.zeros((), dtype=torch.int64, device=parameter.device)

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from a :meth:`state_dict`, bit for bit."""
        super().load_state_dict(state_dict)
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

    ``state[parameter]`` holds ``m`` (float32, or float64 for float64 weights; memory as the
    weights) and ``flips``, the number of flips so far (int64, no dimension, on the weights'
    device; reading it now and then gives the flip rate without a synchronisation per step).

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range, or a weight that is not -1/+1.

    Source: Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1. The released code sets a weight to
    +1 where ``w m`` equals the threshold exactly; here, as in the paper, it does not flip.
    """

    moments = ("m",)

    def __init__(self, params, gamma: float = 1e-4, threshold: float = 1e-8):
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

    ``state[parameter]`` holds ``m``, ``v`` and ``flips`` as :class:`Bop`'s does, and for "adam"
    the two corrections ``a`` and ``b`` as floats.

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range, or a weight that is not -1/+1.

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
        gamma: float = 1e-6,
        sigma: float = 1e-2,
        threshold: float = 1e-6,
        eps: float = 1e-10,
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

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        gamma, sigma = group["gamma"], group["sigma"]
        a = b = 1.0
        if group["bias_correction"] == "constant":
            a, b = gamma, sigma
        elif group["bias_correction"] == "adam":
            # 1 - prod(1 - gamma) by recursion, which does not cancel where gamma is small.
            a, b = state.get("a", 0.0), state.get("b", 0.0)
            a = state["a"] = a + gamma * (1 - a)
            b = state["b"] = b + sigma * (1 - b)
        # (m / a) / (sqrt(v / b) + eps) > tau, with the scalars gathered on the right.
        bop2ndorder(
            parameter,
            parameter.grad,
            state["m"],
            state["v"],
            state["flips"],
            gamma=gamma,
            sigma=sigma,
            threshold=group["threshold"] * a / math.sqrt(b),
            eps=group["eps"] * math.sqrt(b),
        )


def bop(weight: Tensor, grad: Tensor, m: Tensor, flips: Tensor, *, gamma: float, threshold: float):
    """One update of :class:`Bop`, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m: first moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, threshold: as in :class:`Bop`.
    """
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
    gamma: float,
    sigma: float,
    threshold: float,
    eps: float,
):
    """One update of :class:`Bop2ndOrder` without bias correction, in place.

    Args:
        weight: -1 or +1, any shape and floating dtype.
        grad: gradient of the loss, of weight's shape.
        m, v: first and second raw moment, of weight's shape, float32 or float64.
        flips: int64 without dimensions; the number of flips is added to it.
        gamma, sigma, threshold, eps: as in :class:`Bop2ndOrder`.
    """
    # w m / (sqrt(v) + eps) > tau, as sqrt(v) - w m / tau < -eps: fewer passes over the memory. For
    # a tau of next to nothing w m / tau is infinite, or nan for m = 0, which compares false: no
    # flip.
    scale = -1 / threshold if threshold > torch.finfo(torch.float32).tiny else -math.inf
    for w, g, mean, square, scratch in _blocks(weight, grad, m, v):
        g = g.to(mean.dtype)
        mean.lerp_(g, gamma)
        square.lerp_(torch.mul(g, g, out=scratch), sigma)
        root = torch.sqrt(square, out=scratch)
        _flip(w, root.addcmul_(mean, w, value=scale).lt_(-eps), flips)


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
    for name in ("gamma", "sigma", "threshold", "eps"):
        if name not in group:
            continue
        value = group[name]
        if not isinstance(value, int | float):
            raise TypeError(f"{optimizer}: {name} must be a number, got {value!r}")
        if name in ("gamma", "sigma"):
            if not 0 < value <= 1:
                raise ValueError(f"{optimizer}: {name} must be in (0, 1], got {value}")
        elif not 0 <= value < math.inf:
            raise ValueError(f"{optimizer}: {name} must be finite and at least 0, got {value}")
    if group.get("bias_correction") not in (None, "constant", "adam"):
        raise ValueError(
            f"{optimizer}: bias_correction must be None, 'constant' or 'adam', "
            f"got {group['bias_correction']!r}"
        )
