"""Keras's Adam, as the released code has it: what torch's own needs for it, and one for devices."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

BETA1, BETA2, EPS = 0.9, 0.999, 1e-7


def torch_eps(step: int) -> float:
    """The epsilon with which torch's Adam does at a step, from 0, what Keras's does.

    Keras adds it to the root before the bias correction, torch after it.
    """
    return EPS / math.sqrt(1 - BETA2 ** (step + 1))


def step_size(lr: float, step: int) -> float:
    """The learning rate of a step, from 0, times the bias corrections: `KerasAdam`'s step_size."""
    return lr * math.sqrt(1 - BETA2 ** (step + 1)) / (1 - BETA1 ** (step + 1))


class KerasAdam(Optimizer):
    r"""Adam in Keras's form, where one scalar holds all that changes with the step.

    .. math::
        m &\leftarrow m + (1 - \beta_1)\,(g - m) \\
        v &\leftarrow \beta_2\,v + (1 - \beta_2)\,g^2 \\
        w &\leftarrow w - \alpha_t\,m / (\sqrt{v} + \epsilon), \qquad
        \alpha_t = \eta\,\sqrt{1 - \beta_2^t} / (1 - \beta_1^t)

    with beta_1 = 0.9, beta_2 = 0.999 and eps = 1e-7. torch's own Adam would need another eps at
    every step, which its fused form takes as a number only: a CUDA graph would keep the first.

    Args:
        params: parameters of one dtype, or groups of them; a group's ``weight_decay`` c (a number)
            adds c w to its gradients.
        step_size: alpha_t, see :func:`step_size`: a number, or a tensor without dimensions on the
            parameters' device, whose value is never read back. Whoever steps sets it before.

    ``state[parameter]`` holds ``exp_avg`` and ``exp_avg_sq``, of the parameter's shape and dtype.

    Source: Kingma and Ba 2015 (arXiv 1412.6980), end of section 2, and tf.keras.optimizers.Adam.
    No GPU has run this yet.
    """

    def __init__(self, params, step_size: float | Tensor):
        super().__init__(params, {"step_size": step_size, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            if group["weight_decay"]:
                grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
            means, squares = self._moments(params)
            torch._foreach_lerp_(means, grads, 1 - BETA1)
            torch._foreach_mul_(squares, BETA2)
            torch._foreach_addcmul_(squares, grads, grads, 1 - BETA2)
            divisors = torch._foreach_sqrt(squares)
            torch._foreach_add_(divisors, EPS)
            size = group["step_size"]
            torch._foreach_div_(divisors, size.to(params[0]) if isinstance(size, Tensor) else size)
            torch._foreach_addcdiv_(params, means, divisors, value=-1)

    def _moments(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        for parameter in params:
            state = self.state[parameter]
            if not state:
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in params]
        return [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
