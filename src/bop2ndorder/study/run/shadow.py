"""Another rule beside a run's own: fed the same gradients, it says what it would do otherwise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...optim import FlipOptimizer


class Shadow:
    """An optimizer of copies of the weights, which are made anew before each of its steps.

    Its moments follow every step of the run, and it decides about the run's weights; what it does
    to the copies tells what it would have done.

    Args:
        weights: of the run, -1 or +1; they are only read.
        make: makes the optimizer of such weights.
    """

    def __init__(self, weights: list[Tensor], make: Callable[[list[nn.Parameter]], FlipOptimizer]):
        self.originals = weights
        self.weights = [nn.Parameter(weight.detach().clone()) for weight in weights]
        self.optimizer = make(self.weights)

    @torch.no_grad()
    def step(self) -> None:
        """Decide; to be called when the gradients are there and the run's rule has not decided."""
        for copy, weight in zip(self.weights, self.originals, strict=True):
            copy.copy_(weight)
            copy.grad = weight.grad
        self.optimizer.step()
