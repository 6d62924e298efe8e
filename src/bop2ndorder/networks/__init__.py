"""The networks of the paper. All map float NCHW images to logits; each file is one paper's."""

from torch import nn

from .binarynet import BinaryNet, binarynet
from .birealnet import BiRealNet, birealnet
from .xnornet import XNORNet, xnornet

__all__ = [
    "BiRealNet",
    "BinaryNet",
    "XNORNet",
    "adam_groups",
    "binarynet",
    "birealnet",
    "build",
    "xnornet",
]

_NETWORKS = {"binarynet": binarynet, "xnornet": xnornet, "birealnet": birealnet}


def build(name: str, num_classes: int, image_size: int, **settings) -> nn.Module:
    """A network by its name.

    Args:
        name: "binarynet", "xnornet" or "birealnet".
        num_classes, image_size: of the data.
        settings: what else the network's function takes, such as width or latent.

    Raises:
        ValueError: for an unknown name, or a setting out of its range.
        TypeError: for a setting that the network does not have.
    """
    if name not in _NETWORKS:
        raise ValueError(f"unknown network {name!r}; there are {', '.join(_NETWORKS)}")
    return _NETWORKS[name](num_classes=num_classes, image_size=image_size, **settings)


def adam_groups(model: nn.Module, parameters: list[nn.Parameter]) -> list[dict]:
    """Parameter groups for Adam that carry the network's L2 penalty, where it has one.

    Args:
        model: a network of this module; only XNOR-Net has a penalty (``XNORNet.l2``).
        parameters: those that Adam trains: the real ones of ``binary_parameters(model)``, or all
            of a latent network.

    Returns:
        Groups with ``weight_decay``. A penalty ``c |w|^2`` in the loss adds 2 c w to the gradient,
        which is what torch's Adam (not AdamW) does with a weight decay of 2 c.
    """
    penalties = {model.get_parameter(name): c for name, c in getattr(model, "l2", {}).items()}
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(2 * penalties.get(parameter, 0.0), []).append(parameter)
    return [{"params": group, "weight_decay": decay} for decay, group in groups.items()]
