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
    flip, adam = Bop2ndOrder(binary, gamma=1e-3, threshold=1e-2), torch.optim.Adam(real, lr=0.01)

**Learning rate.** Gamma does what a learning rate does elsewhere. For torch's schedulers each group
has an ``lr`` besides, a factor on gamma: what stands as gamma above, in the corrections and in all
that is said of thresholds is the product of both::

    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(flip, T_max=steps)

It may be 0, and so may gamma, where many schedules begin or end: such a step leaves weights,
moments and corrections as they are. OneCycleLR and CyclicLR need ``cycle_momentum=False``.

**Tensors.** Hyperparameters are numbers, or tensors without dimensions on the weights' device,
float32 or float64. What is in a tensor is never read back: it may change from step to step under
torch.compile or in a CUDA graph, and only its type, dtype and device are checked. In float64 it
does what the number does. At an lr of 0 a gradient that is not finite still reaches the moments. No
GPU has run this yet.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .flip_optimizer import FlipOptimizer, moment_dtype
from .flip_rules import bop, bop2ndorder, bound, second_order
from .hyperparameters import rounded

__all__ = ["Bop", "Bop2ndOrder", "FlipOptimizer", "bop", "bop2ndorder"]


class Bop(FlipOptimizer):
    r"""Flips a binary weight when the mean of its gradients agrees with it and exceeds a threshold.

    .. math::
        m_t = m_{t-1} + \gamma\,(g_t - m_{t-1}), \qquad
        w_t = -w_{t-1} \text{ where } w_{t-1} m_t > \tau

    **Which threshold.** It has the unit of a gradient, so what suits one network or layer does not
    suit another. In steps of m it is ``threshold / (gamma rms(g))``: so many typical gradients in a
    row carry m to it, and far below one step it does nothing. Where gamma times the number of steps
    of a training is far below 1, m never settles and this number alone decides, whatever gamma is
    (:class:`.StepsOfM`). Where it is far above 1, noise spreads m by one noise floor,
    ``rms(g) sqrt(gamma / (2 - gamma))``, and 1 to 3 of these tell a mean from noise.
    docs/flips.md, "Choosing a threshold", says more.

    Args:
        params: parameters whose entries are exactly -1 or +1, or groups of them.
        gamma: adaptivity rate in [0, 1], the share of the newest gradient in the mean; the smaller,
            the fewer flips. It does what a learning rate does elsewhere (default: 1e-4).
        threshold: tau, at least 0, in units of the gradient (default: 1e-8).
        lr: a factor on gamma for torch's schedulers, at least 0; gamma times lr is at most 1
            (default: 1).

    All may be tensors, see the module; then nobody checks the range.

    ``state[parameter]`` holds ``m`` (float32, or float64 for float64 weights; memory as the
    weights) and ``flips``, the number of flips so far (int64, no dimension, on the weights'
    device; reading it now and then gives the flip rate without a synchronisation per step). It is
    there from the first step with a gradient on. A gradient that is not finite stays in the
    moments: its weight never flips again, and no loss need show it.

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range or, as a tensor, of another
            dtype, shape or device; for a weight that is not -1 or +1.

    Source: Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1. The released code sets a weight to
    +1 where ``w m`` equals the threshold exactly; here, as in the paper, it does not flip.
    """

    moments = ("m",)

    def __init__(
        self,
        params,
        gamma: float | Tensor = 1e-4,
        threshold: float | Tensor = 1e-8,
        *,
        lr: float | Tensor = 1.0,
    ):
        super().__init__(params, {"lr": lr, "gamma": gamma, "threshold": threshold})

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

    (By gamma everything here means gamma times lr.)

    **Which gamma and threshold.** Let gamma decay, say a hundredfold, with a threshold of 0, or of
    some ten steps of m that falls with it (:class:`.StepsOfM`). Or keep gamma, with ten steps of m,
    or, where gamma times the number of steps is far above 1, 1 to 3 times the noise floor
    ``sqrt(gamma / (2 - gamma))``, the more the larger gamma is. A threshold held at a multiple of
    the floor of a decaying gamma cost accuracy or made no clear difference. Measured without
    correction on CIFAR-10 (BinaryNet of width 16, 2 epochs, 3 seeds), at the best of 1, 2 and 3
    times the floor for a constant gamma and at all for it decaying, in points of validation
    accuracy above no threshold, with 95 % intervals:

    ============  =====================  =======================
    gamma         threshold / floor      gain
    ============  =====================  =======================
    1e-3          2                      +3.5 (+0.6 to +6.4)
    1e-2          3                      +19.9 (+13.7 to +26.1)
    1e-3 -> 1e-5  1                      -6.3 (-9.8 to -2.9)
    1e-3 -> 1e-5  2                      -13.3 (-16.4 to -10.1)
    1e-3 -> 1e-5  3                      -19.4 (-24.1 to -14.7)
    1e-2 -> 1e-4  1                      +2.1 (-1.0 to +5.2)
    1e-2 -> 1e-4  2                      -1.9 (-10.0 to +6.1)
    1e-2 -> 1e-4  3                      -9.4 (-13.5 to -5.3)
    ============  =====================  =======================

    Beside the same gamma decaying without a threshold the first two are at -1.8 (-5.8 to +2.2)
    and +0.8 (-6.1 to +7.8). All of it: docs/flips.md and results/small/noise_floor.

    The noise floor (:class:`.NoiseFloor`) is the measure where gamma times the number of steps of a
    training is far above 1. Far below 1, m never settles, and the threshold counts in steps of m
    (:class:`.StepsOfM`), ``threshold / gamma`` once v has settled: so many gradients in a row carry
    m to it, whatever gamma is. With a correction it is ``threshold a / (gamma sqrt(b))``.

    Args:
        params: parameters whose entries are exactly -1 or +1, or groups of them.
        gamma: adaptivity rate of the first moment, in [0, 1] (default: 1e-6).
        sigma: rate of the second moment, in (0, 1] (default: 1e-2).
        threshold: tau, at least 0, without unit (default: 1e-6). Noise alone gives m / sqrt(v) a
            standard deviation of sqrt(gamma / (2 - gamma)), the noise floor; a tau far below
            gamma, which is about one step of that ratio, does next to nothing.
        eps: added to the root, at least 0 (default: 1e-10).
        bias_correction: None, "constant" or "adam" (default: None).
        lr: a factor on gamma for torch's schedulers, at least 0; gamma times lr is at most 1
            (default: 1).

    All but ``bias_correction`` may be tensors, see the module; then nobody checks the range.

    ``state[parameter]`` holds ``m``, ``v`` and ``flips`` as :class:`Bop`'s does, and for "adam"
    the two corrections ``a`` and ``b``: floats, or tensors without dimensions where lr, gamma or
    sigma are. ``load_state_dict`` brings the ``bias_correction`` that was saved.

    Raises:
        TypeError, ValueError: for a hyperparameter out of its range or, as a tensor, of another
            dtype, shape or device; for a weight that is not -1 or +1; for "adam" after steps
            without it.

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
        *,
        lr: float | Tensor = 1.0,
    ):
        defaults = {
            "lr": lr,
            "gamma": gamma,
            "sigma": sigma,
            "threshold": threshold,
            "eps": eps,
            "bias_correction": bias_correction,
        }
        super().__init__(params, defaults)

    def _init_state(self, state: dict, parameter: Tensor, group: dict) -> None:
        super()._init_state(state, parameter, group)
        if group["bias_correction"] == "adam":
            state.update(a=0.0, b=0.0)

    def prepared(self, group: dict) -> dict:
        if group["bias_correction"] == "adam":
            return group  # its corrections are each parameter's own
        a = b = 1.0
        if group["bias_correction"] == "constant":
            a, b = group["gamma"], group["sigma"]
        return self._corrected(group, a, b, moment_dtype(*group["params"]))

    def update(self, parameter: Tensor, state: dict, group: dict) -> None:
        if group["bias_correction"] == "adam":
            if "a" not in state:
                raise ValueError(
                    "Bop2ndOrder: bias_correction was set to 'adam' after steps without it, and "
                    "what it would have corrected by now cannot be told: set it before the first"
                )
            a = _one_minus_product(state, "a", group["gamma"])
            b = _one_minus_product(state, "b", group["sigma"])
            group = self._corrected(group, a, b, state["m"].dtype)
        second_order(
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
            "gamma": rounded(group["gamma"], dtype),
            "sigma": rounded(group["sigma"], dtype),
            "bound": bound(group["threshold"] * a / root, group["eps"] * root, dtype),
        }


def _one_minus_product(state: dict, name: str, rate: float | Tensor) -> float | Tensor:
    """1 - prod(1 - rate) over the steps, kept under `name`; a tensor is updated in place."""
    # By recursion, which does not cancel where the rate is small.
    if not isinstance(rate, Tensor):
        before = float(state[name])
        state[name] = before + rate * (1 - before)
    else:
        before = state[name]
        if not isinstance(before, Tensor):
            state[name] = torch.full_like(rate, before)
        state[name].add_(rate * (1 - state[name]))
    return state[name]
