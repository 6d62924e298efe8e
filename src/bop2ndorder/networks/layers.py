"""Layers that the networks share, where Keras and torch differ."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "ChannelLayerNorm",
    "avg_pool_same",
    "batch_norm",
    "flatten_hwc",
    "pad_same",
    "scaled",
]


def scaled(network: str, width: float, filters: Sequence[int]) -> list[int]:
    """The numbers of filters of a network of another width, rounded.

    Args:
        network: its name, for the message.
        width: factor.
        filters: of the published one.

    Raises:
        ValueError: no filter is left somewhere.
    """
    found = [round(width * count) for count in filters]
    if min(found) < 1:
        raise ValueError(
            f"{network}: width is a factor of {', '.join(map(str, filters))} filters, each at "
            f"least 1 after it, got {width}"
        )
    return found


def batch_norm(
    features: int, *, eps: float, momentum: float, scale: bool = True, spatial: bool = True
) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Batch normalization with Keras's settings.

    Args:
        features: number of channels.
        eps: added to the variance.
        momentum: weight of the *old* moving statistics, as in Keras; torch's is 1 - momentum.
        scale: whether it multiplies by a learned ``weight``; else that is a buffer of ones, neither
            trained nor saved, which loading fills. It always adds a learned ``bias``.
        spatial: for (N, C, H, W) inputs, else for (N, C).

    The moving variance is torch's, the unbiased one. So is that of the released code on maps of
    float32; in dense layers and in float64 Keras leaves out Bessel's correction.
    """
    norm = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(features, eps=eps, momentum=1 - momentum)
    if not scale:
        # Not None, which changes no bit on the CPU: on CUDA torch then leaves cuDNN for a kernel of
        # its own that returns no gradient for the bias of channels-last maps.
        ones = norm.weight.detach()
        del norm.weight
        norm.register_buffer("weight", ones, persistent=False)
        norm.register_load_state_dict_post_hook(_fill_ones)
    return norm


def _fill_ones(norm: nn.Module, _keys) -> None:
    """No file has them, and a network that was built on the meta device begins without values."""
    if norm._buffers.get("weight") is None:  # made a parameter, for SyncBatchNorm say
        return
    if norm.weight.is_meta:
        norm.weight = torch.ones_like(norm.bias.detach())
    norm.weight.fill_(1)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel: Keras's default on NHWC maps.

    Args:
        features: number of channels.
        eps: added to the variance (default: 1e-3, Keras's).

    Inputs are (N, C, H, W) or (N, C); ``weight`` and ``bias`` are (C,).
    """

    def __init__(self, features: int, eps: float = 1e-3):
        super().__init__(features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (N, C, H, W) as TensorFlow's SAME does: an odd pixel goes to the bottom and the right.

    What follows is a convolution or pooling of this kernel and stride without padding; its output
    is ceil(size / stride). Pooling by maximum pads with ``value=-inf``.
    """
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def avg_pool_same(x: Tensor) -> Tensor:
    """2x2 average pooling, SAME: windows that cross the edge average what is inside."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def flatten_hwc(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H * W * C), Keras's order; free for channels-last maps."""
    return x.permute(0, 2, 3, 1).flatten(1)
