"""A training step as a CUDA graph: launched as a whole instead of operation by operation.

No GPU has run this yet; tests/run/test_graph.py holds what can be held without one.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
WARM_UP = 3


def takes_graph(settings: dict[str, Any]) -> bool:
    """Whether a run's steps are to be captured; not with several GPUs, which talk within a step."""
    return settings.get("graph", "auto") == "auto" and settings.get("gpus", 1) == 1


class GraphedStep:
    """A step that is captured at its first call, and from then on replayed.

    What is captured are addresses: images and labels are copied to where the first ones lay, all
    must keep their shape, and each call overwrites what the last one returned. Nothing that the
    step reads or writes may be replaced by another tensor afterwards; where it is, call `forget`.

    Args:
        step: of images and labels; reads no value back.
        tensors: all tensors that the step changes now, by a name. Those that its first call makes
            (the state of an optimizer) start as zeros.
    """

    def __init__(self, step: Step, tensors: Callable[[], dict[Hashable, Tensor]]):
        self._step, self._tensors = step, tensors
        self.forget()

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        if self._replay is None:
            self._inputs = images.clone(), labels.clone()
            self._replay, self._outputs = capture(self._step, self._inputs, self._tensors)
        for kept, given in zip(self._inputs, (images, labels), strict=True):
            kept.copy_(given)
        self._replay()
        return self._outputs

    def forget(self) -> None:
        """Capture the step anew at the next call."""
        self._replay, self._inputs, self._outputs = None, (), ()


def capture(
    step: Step, inputs: tuple[Tensor, Tensor], tensors: Callable[[], dict[Hashable, Tensor]]
) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Capture a step that has these inputs; nothing is changed by that.

    Returns:
        what replays the step, and the step's outputs, which each replay fills in.

    Source: "CUDA Graphs" in torch's notes on CUDA semantics.
    """
    device = inputs[0].device
    # Both on one side stream, since libraries keep their workspaces by stream.
    stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        warm_up(step, inputs, tensors)
    torch.cuda.current_stream(device).wait_stream(stream)
    # Other threads, such as one that fetches batches, go on meanwhile.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        outputs = step(*inputs)
    return graph.replay, outputs


def warm_up(
    step: Step, inputs: tuple[Tensor, Tensor], tensors: Callable[[], dict[Hashable, Tensor]]
) -> None:
    """Take a few steps, so that kernels are chosen and optimizers make their state; undo each.

    Everything has the values of before in the same memory, and what did not exist is zero.
    """
    before = {name: tensor.detach().clone() for name, tensor in tensors().items()}
    for _ in range(WARM_UP):
        step(*inputs)
        with torch.no_grad():
            for name, tensor in tensors().items():
                tensor.copy_(before[name]) if name in before else tensor.zero_()
