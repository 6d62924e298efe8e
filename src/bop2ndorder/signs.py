"""The sign, by which all is made binary, and the straight-through estimators of its gradient."""

import torch
import torch.fx

__all__ = ["approx_sign", "sign", "ste_sign"]


def sign(x: torch.Tensor) -> torch.Tensor:
    """The sign without a zero: every binarization of this project goes through it.

    ===========  ====
    x            sign
    ===========  ====
    x > 0         +1
    0.0, -0.0     +1
    x < 0         -1
    NaN           -1
    ===========  ====

    (NaN, because ``NaN >= 0`` is false. A NaN before a sign so does not reach the loss: look for it
    in the gradients, or in the moments of the flip optimizer.)

    Args:
        x: real tensor of any shape and floating dtype.

    Returns:
        Tensor of x's shape, dtype and memory format; no gradient flows through it.

    Source: larq.math.sign, which differs at NaN (there it stays NaN).
    """
    x = x.detach()
    # Two passes, 2 * (x >= 0) - 1; torch.where would make three and a boolean tensor between them.
    positive = torch.ge(x, 0, out=torch.empty_like(x))
    return torch.add(x.new_full((), -1), positive, alpha=2, out=positive)


class _Sign(torch.autograd.Function):
    """The sign forward; subclasses say what goes backward."""

    # One function with `ctx`, not two with `setup_context`: that costs four times as much a call
    # (a hundredth of a training step), for the sake of torch.func alone.
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return sign(x)


class _SteSign(_Sign):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        # The kernel keeps the gradient strictly inside its limits; the next number after 1 as the
        # limit makes that |x| <= 1. One fused pass: a comparison and a `where` cost a quarter of
        # the whole training step more.
        limit = 1 + torch.finfo(x.dtype).eps
        return torch.ops.aten.hardtanh_backward(grad, x, -limit, limit)


class _ApproxSign(_Sign):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (2 - 2 * x.abs()).clamp_(min=0)


def ste_sign(x: torch.Tensor) -> torch.Tensor:
    """Sign with the straight-through estimator.

    Forward ``sign(x)``; backward ``dL/dx = dL/dy`` where ``|x| <= 1``, else 0 (a NaN lets the
    gradient pass).

    Args:
        x: real tensor of any shape and floating dtype. It does not go with :mod:`torch.func`
            (vmap, grad, jvp).

    Source: Courbariaux et al. 2016 (arXiv 1602.02830), larq's ``ste_sign``.
    """
    return _ste(x)


def approx_sign(x: torch.Tensor) -> torch.Tensor:
    """Sign with the triangular estimator of Bi-Real Net.

    Forward ``sign(x)``; backward ``dL/dx = (2 - 2|x|) dL/dy`` where ``|x| <= 1``, else 0 (a NaN
    makes the gradient NaN).

    Args:
        x: real tensor of any shape and floating dtype. It does not go with :mod:`torch.func`
            (vmap, grad, jvp).

    Source: Liu et al. 2018 (arXiv 1808.00278), larq's ``approx_sign``.
    """
    return _approx(x)


def _ste(x: torch.Tensor) -> torch.Tensor:
    return _SteSign.apply(x)


def _approx(x: torch.Tensor) -> torch.Tensor:
    return _ApproxSign.apply(x)


# torch.fx would trace into them, and leave the straight-through estimators out.
torch.fx.wrap("_ste")
torch.fx.wrap("_approx")
