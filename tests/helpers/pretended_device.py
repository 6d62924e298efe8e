"""A device that no machine has: its tensors have shapes and types, but no values.

A process that imports this has a device "gpu" from then on (PrivateUse1, torch's place for devices
of others). Under `PretendedDevice` what lies on the CPU is computed as ever; what lies on the
device goes through torch's dispatcher and autograd as on a real one, at no cost, and is watched.
That shows what a program asks of a device. It does not show that a real one can do it, or does it
right: no GPU has run this yet.
"""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "gpu"
_setup_privateuseone_for_python_backend(DEVICE)
# Or torch.tensor(..., device=DEVICE) would make its copy to the device where no mode sees it.
torch._C._set_only_lift_cpu_tensors(True)

aten = torch.ops.aten
COPY, COPY_TO = aten.copy_.default, aten._to_copy.default
READ = aten._local_scalar_dense.default
# Memory that nothing is written to.
ALLOCATIONS = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty)
CONVOLUTIONS = (aten.convolution, aten.convolution_backward)


class PretendedDevice(TorchDispatchMode):
    """While it is in force, tensors can be on the device `DEVICE`.

    Attributes:
        operations: what the device had to do, in order, as (name, arguments that are no tensors).
            Views and new memory are left out: they give a device nothing to do.
        copies: how many of them brought a tensor from the CPU.
        readable: whether values may be read back from the device; each is then 1.

    Raises:
        RuntimeError: out of the operation, where a tensor of the CPU and one of the device meet in
            anything but a copy (torch lets single numbers pass, which a CUDA graph would freeze),
            and where a value is read back that must not be.
    """

    def __init__(self):
        super().__init__()
        self.operations: list[tuple[str, list[str]]] = []
        self.copies = 0
        self.readable = True
        self._fake = FakeTensorMode()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        places = [leaf.device if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        devices = {place.type for place in places if isinstance(place, torch.device)}
        if DEVICE not in devices:
            return operation(*args, **kwargs)
        if operation is READ:
            return self._read(args[0]).item()
        if operation is COPY_TO and torch.device(kwargs.get("device") or DEVICE).type == "cpu":
            return self._read(args[0])
        if operation is COPY and args[0].is_cpu:
            return args[0].copy_(self._read(args[1]))
        if "cpu" in devices and operation not in (COPY, COPY_TO):
            raise RuntimeError(f"tensors of two devices meet in {operation}")
        self.copies += "cpu" in devices
        self._note(operation, leaves)
        with self._fake:
            # Of a tensor of the CPU only its shape and type arrive.
            found = operation(*tree_map_only(Tensor, _arrived, args), **kwargs)
            if operation.overloadpacket in CONVOLUTIONS:
                # So cuDNN gives them of weights in that format (by its sources). Of the devices of
                # others torch supposes another one, and would add copies that no GPU makes.
                found = tree_map_only(Tensor, _channels_last, found)
            return found

    def _read(self, tensor: Tensor) -> Tensor:
        if not self.readable:
            raise RuntimeError(f"a value is read back ({tensor.dtype}, {tuple(tensor.shape)})")
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    def _note(self, operation: Any, leaves: list[Any]) -> None:
        # What asks a tensor for its device is no operation of the device.
        if operation.namespace == "prim" or operation.is_view:
            return
        if operation.overloadpacket not in ALLOCATIONS:
            scalars = [repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor)]
            self.operations.append((str(operation), scalars))


def _arrived(tensor: Tensor) -> Tensor:
    if tensor.is_cpu:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return tensor


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last)
