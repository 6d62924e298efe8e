"""Weights on disk: one safetensors file, a bit for each binary weight.

What a binary layer needs for inference is the sign of its weights; that is all that is kept of it,
packed eight to a byte in the order of its (out, in, ...) array, first weight in the highest bit, a
set bit for +1. All other floating-point values are kept as float32, counters as they are. The
header's ``binary`` entry is a JSON object from the names of packed arrays to their shapes. The same
values always give the same bytes.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .binary import binary_layers, check_own_weight, is_binary

__all__ = ["load_weights", "save_weights"]


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write what inference needs of a network to ``path``, in the format above.

    What several modules share is written for each.

    Raises:
        ValueError: and nothing is written, where a binary layer that is not latent has weights
            other than -1 and +1, whose signs would be another network; where one computes its
            weight from other parameters; or where the network's state is more than tensors.
    """
    layers = {layer: name for name, layer in binary_layers(model).items()}
    for layer, name in layers.items():
        check_own_weight(name, layer)
        if not layer.latent and not is_binary(layer.weight):
            raise ValueError(
                f"the weights of binary layer {name!r} are not all -1 or +1, and a file keeps "
                "their signs only: was it trained by an optimizer for real weights?"
            )
    modules = model.named_modules(remove_duplicate=False)
    packed = {f"{name}.weight".lstrip(".") for name, module in modules if module in layers}
    tensors, shapes = {}, {}
    for name, value in _state(model).items():
        value = value.cpu()
        if name in packed:
            tensors[name], shapes[name] = _pack(value), list(value.shape)
        else:
            wanted = torch.float32 if value.is_floating_point() else value.dtype
            tensors[name] = value.to(wanted, copy=True, memory_format=torch.contiguous_format)
    save_file(tensors, path, metadata={"binary": json.dumps(shapes, sort_keys=True)})


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read a file of :func:`save_weights` into a network of the same architecture, in place.

    Latent weights become the signs that were kept of them: good for inference and for looking at,
    not for training on.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is damaged, or its names or shapes are not the network's; where the
            network is on the meta device, which holds no values, or its state more than tensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shapes = json.loads((file.metadata() or {}).get("binary", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    for name, shape in shapes.items():
        bits, count = tensors.get(name), math.prod(shape)
        if bits is None or bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
            raise ValueError(
                f"{path} is damaged: {name} should be {count} bits, packed eight to a byte"
            )
        tensors[name] = _unpack(bits, shape)
    expected = _state(model)
    if any(value.is_meta for value in expected.values()):
        raise ValueError(
            f"this {type(model).__name__} is on the meta device, which holds no values: move it "
            "with to_empty(device='cpu') first"
        )
    for name in sorted(expected.keys() | tensors.keys()):
        wanted, found = (list(d[name].shape) if name in d else None for d in (expected, tensors))
        if wanted != found:
            raise ValueError(
                f"{path} does not fit this {type(model).__name__}: {name} should have shape "
                f"{wanted}, but has {found} (None: is not there)"
            )
    model.load_state_dict(tensors)


def _state(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, and a file keeps tensors only")
    return state


def _pack(weight: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits((weight >= 0).numpy().ravel()))


def _unpack(bits: Tensor, shape: list[int]) -> Tensor:
    signs = np.unpackbits(bits.numpy(), count=math.prod(shape)).astype(np.float32) * 2 - 1
    return torch.from_numpy(signs.reshape(shape))
