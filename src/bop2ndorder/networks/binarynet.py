"""BinaryNet, the VGG-like network for 32x32 images (Courbariaux et al. 2016, arXiv 1602.02830)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..binary import BinaryConv2d, BinaryLinear, ste_sign
from .layers import ChannelLayerNorm, batch_norm, flatten_hwc

__all__ = ["BinaryNet", "binarynet"]


class BinaryNet(nn.Module):
    """The network of :func:`binarynet`: its layers, in order, and the forward pass."""

    def __init__(
        self,
        *,
        width: int,
        dense: int,
        norm: str,
        num_classes: int,
        image_size: int,
        latent: bool,
    ):
        super().__init__()
        map_size = (image_size - 2) // 8
        if map_size < 1:
            raise ValueError(f"binarynet needs images of at least 10 pixels, got {image_size}")
        for name, count in (("width", width), ("dense", dense)):
            if not (isinstance(count, int) and count >= 1):
                raise ValueError(
                    f"binarynet: {name} is a number of units, an integer from 1 on, got {count!r}"
                )
        if norm not in ("batch", "layer"):
            raise ValueError(f"binarynet: norm must be 'batch' or 'layer', got {norm!r}")

        def normalization(features: int, spatial: bool) -> nn.Module:
            if norm == "layer":
                return ChannelLayerNorm(features)
            return batch_norm(features, eps=1e-3, momentum=0.99, scale=False, spatial=spatial)

        f = width
        signs = {"latent": latent, "binary_input": True}
        self.conv1 = BinaryConv2d(3, f, 3, latent=latent)  # of the images
        self.norm1 = normalization(f, spatial=True)
        self.conv2 = BinaryConv2d(f, f, 3, padding=1, **signs)
        self.norm2 = normalization(f, spatial=True)
        self.conv3 = BinaryConv2d(f, 2 * f, 3, padding=1, **signs)
        self.norm3 = normalization(2 * f, spatial=True)
        self.conv4 = BinaryConv2d(2 * f, 2 * f, 3, padding=1, **signs)
        self.norm4 = normalization(2 * f, spatial=True)
        self.conv5 = BinaryConv2d(2 * f, 4 * f, 3, padding=1, **signs)
        self.norm5 = normalization(4 * f, spatial=True)
        self.conv6 = BinaryConv2d(4 * f, 4 * f, 3, padding=1, **signs)
        self.norm6 = normalization(4 * f, spatial=True)
        self.dense1 = BinaryLinear(4 * f * map_size**2, dense, **signs)
        self.norm7 = normalization(dense, spatial=False)
        self.dense2 = BinaryLinear(dense, dense, **signs)
        self.norm8 = normalization(dense, spatial=False)
        self.dense3 = BinaryLinear(dense, num_classes, **signs)
        self.norm9 = normalization(num_classes, spatial=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x))
        x = self.norm2(F.max_pool2d(self.conv2(ste_sign(x)), 2))
        x = self.norm3(self.conv3(ste_sign(x)))
        x = self.norm4(F.max_pool2d(self.conv4(ste_sign(x)), 2))
        x = self.norm5(self.conv5(ste_sign(x)))
        x = self.norm6(F.max_pool2d(self.conv6(ste_sign(x)), 2))
        x = flatten_hwc(x)
        x = self.norm7(self.dense1(ste_sign(x)))
        x = self.norm8(self.dense2(ste_sign(x)))
        return self.norm9(self.dense3(ste_sign(x)))


def binarynet(
    width: int = 128,
    dense: int = 1024,
    norm: str = "batch",
    num_classes: int = 10,
    image_size: int = 32,
    latent: bool = False,
) -> BinaryNet:
    """Six binary convolutions and three binary dense layers, each followed by normalization.

    Args:
        width: filters f of the first convolution; the maps have f, f, 2f, 2f, 4f, 4f channels.
        dense: units of the two hidden dense layers.
        norm: "batch" (offset only, no scale) or "layer" (over the channels of each pixel, with
            scale and offset), both with eps 1e-3.
        num_classes: number of logits.
        image_size: height and width of the images, at least 10.
        latent: real-valued weights behind the signs, the papers' baseline.

    Returns:
        A module from float (N, 3, image_size, image_size) to logits (N, num_classes).

    Raises:
        ValueError: for images that are too small, an unknown norm, or a width or dense that is no
            integer from 1 on.

    Source: section 5.1 and the released code. The first convolution has no padding, all others pad
    with zeros; the input is not binarized; pooling comes before normalization.
    """
    return BinaryNet(
        width=width,
        dense=dense,
        norm=norm,
        num_classes=num_classes,
        image_size=image_size,
        latent=latent,
    )
