"""Bi-Real Net with 18 layers, for ImageNet (Liu et al. 2018, arXiv 1808.00278)."""

import math
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from ..binary import BinaryConv2d, approx_sign
from .layers import avg_pool_same, batch_norm, pad_same, scaled

__all__ = ["BiRealNet", "birealnet"]


def _norm(features: int) -> nn.Module:
    return batch_norm(features, eps=1e-3, momentum=0.8)


def _real_conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, bias=False)
    nn.init.xavier_normal_(conv.weight)
    return conv


class Block(nn.Module):
    """BN(conv3x3(approx_sign(x))) + shortcut: each binary convolution has a real bypass.

    The shortcut is x itself, or, where the block halves the map, a real 1x1 convolution of the
    pooled x with a normalization of its own.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, latent: bool):
        super().__init__()
        self.stride = stride
        if stride == 2:
            self.shortcut = nn.Sequential(
                OrderedDict(conv=_real_conv(inputs, outputs, 1), norm=_norm(outputs))
            )
        self.conv = BinaryConv2d(
            inputs, outputs, 3, stride=stride, latent=latent, binary_input=True
        )
        self.norm = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(avg_pool_same(x)) if self.stride == 2 else x
        return self.norm(self.conv(pad_same(approx_sign(x), 3, self.stride))) + shortcut


class BiRealNet(nn.Module):
    """The network of :func:`birealnet`: its layers, in order, and the forward pass."""

    def __init__(self, *, num_classes: int, width: float, image_size: int, latent: bool):
        super().__init__()
        if image_size < 64:
            raise ValueError(f"birealnet needs images of at least 64 pixels, got {image_size}")
        filters = scaled("birealnet", width, (64, 128, 256, 512))
        self.conv1 = _real_conv(3, filters[0], 7, stride=2)
        self.norm1 = _norm(filters[0])
        inputs = filters[0]
        for stage, outputs in enumerate(filters, start=1):
            blocks = OrderedDict()
            for block in range(1, 5):
                stride = 2 if stage > 1 and block == 1 else 1
                blocks[f"block{block}"] = Block(inputs, outputs, stride, latent)
                inputs = outputs
            self.add_module(f"stage{stage}", nn.Sequential(blocks))
        self.classifier = nn.Linear(inputs, num_classes)
        nn.init.xavier_normal_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(pad_same(x, 7, 2)))
        x = F.max_pool2d(pad_same(x, 3, 2, value=-math.inf), 3, 2)
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.classifier(x.mean((2, 3)))


def birealnet(
    num_classes: int = 1000, width: float = 1.0, image_size: int = 224, latent: bool = False
) -> BiRealNet:
    """Sixteen binary 3x3 convolutions with real shortcuts, a real first one, a real classifier.

    Args:
        num_classes: number of logits.
        width: factor of all numbers of filters (64, 128, 256, 512).
        image_size: height and width of the images, at least 64.
        latent: real-valued weights behind the signs, the papers' baseline.

    Returns:
        A module from float (N, 3, image_size, image_size) to logits (N, num_classes).

    Raises:
        ValueError: for images that are too small, or a width that leaves a layer without filters.

    Source: section 5.3 and the released code. Real kernels start Glorot normal (Keras cuts that
    distribution at two standard deviations; torch does not).
    """
    return BiRealNet(num_classes=num_classes, width=width, image_size=image_size, latent=latent)
