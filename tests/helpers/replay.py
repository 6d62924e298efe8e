"""A CUDA graph's stand-in on the CPU, and a training in the form for devices."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bop2ndorder.study.run.graph import warm_up


class Recorded(TorchDispatchMode):
    """What a step dispatches, to be done again in the same memory and with the same numbers.

    As of a CUDA graph: what Python does in between is done once only, and a number stays the number
    that it was. Replaying fills in the tensors that the recorded step made.
    """

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a value is read back"
        made = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, made))
        return made

    def replay(self):
        with torch.no_grad():
            for function, args, kwargs, made in self.operations:
                results = function._schema.returns
                if results and all(r.alias_info and not r.alias_info.is_write for r in results):
                    continue  # a view, which shows what lies in its memory now
                again = function(*args, **kwargs)
                if any(r.alias_info for r in results):
                    continue  # in place
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor):
                        old.copy_(new)


def record(step, inputs, tensors):
    """Like `graph.capture`, which undoes its warm-up; a recorded step happens, so it is undone."""
    warm_up(step, inputs, tensors)
    before = {name: tensor.detach().clone() for name, tensor in tensors().items()}
    with Recorded() as recorded:
        outputs = step(*inputs)
    with torch.no_grad():
        for name, tensor in tensors().items():
            tensor.copy_(before[name])
    return recorded.replay, outputs
