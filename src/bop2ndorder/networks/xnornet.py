"""XNOR-Net, the AlexNet-like network for ImageNet (Rastegari et al. 2016, arXiv 1603.05279)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..binary import BinaryConv2d, ste_sign
from .layers import batch_norm, flatten_hwc, pad_same, scaled

__all__ = ["XNORNet", "xnornet"]


class XNORNet(nn.Module):
    """The network of :func:`xnornet`: its layers, in order, and the forward pass."""

    # The released loss adds 5e-7 times the sum of squares of these two; see `networks.adam_groups`.
    l2 = {"conv1.weight": 5e-7, "classifier.weight": 5e-7}

    def __init__(self, *, num_classes: int, width: float, image_size: int, latent: bool):
        super().__init__()
        if image_size < 64:
            raise ValueError(f"xnornet needs images of at least 64 pixels, got {image_size}")
        map_size = -(-image_size // 4)  # after conv1, stride 4
        for _ in range(3):
            map_size = (map_size - 3) // 2 + 1  # after each pooling
        f1, f2, f3, f4 = scaled("xnornet", width, (96, 256, 384, 4096))

        def norm(features: int, eps: float = 1e-4) -> nn.Module:
            return batch_norm(features, eps=eps, momentum=0.9)

        signs = {"latent": latent, "binary_input": True}
        self.conv1 = nn.Conv2d(3, f1, 11, stride=4, bias=False)
        self.norm1 = norm(f1, eps=1e-5)
        self.norm2 = norm(f1)
        self.conv2 = BinaryConv2d(f1, f2, 5, padding=2, **signs)
        self.norm3 = norm(f2)
        self.conv3 = BinaryConv2d(f2, f3, 3, padding=1, **signs)
        self.norm4 = norm(f3)
        self.conv4 = BinaryConv2d(f3, f3, 3, padding=1, **signs)
        self.norm5 = norm(f3)
        self.conv5 = BinaryConv2d(f3, f2, 3, padding=1, **signs)
        self.norm6 = norm(f2)
        self.conv6 = BinaryConv2d(f2, f4, map_size, **signs)
        self.norm7 = norm(f4)
        self.conv7 = BinaryConv2d(f4, f4, 1, **signs)
        self.norm8 = norm(f4, eps=1e-3)
        self.classifier = nn.Linear(f4, num_classes, bias=False)
        nn.init.xavier_uniform_(self.conv1.weight)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(pad_same(x, 11, 4))))
        x = self.norm2(F.max_pool2d(x, 3, 2))
        x = self.norm3(F.max_pool2d(self.conv2(ste_sign(x)), 3, 2))
        x = self.norm4(self.conv3(ste_sign(x)))
        x = self.norm5(self.conv4(ste_sign(x)))
        x = self.norm6(F.max_pool2d(self.conv5(ste_sign(x)), 3, 2))
        x = self.norm7(self.conv6(ste_sign(x)))
        x = F.relu(self.norm8(self.conv7(ste_sign(x))))
        return self.classifier(flatten_hwc(x))


def xnornet(
    num_classes: int = 1000, width: float = 1.0, image_size: int = 224, latent: bool = False
) -> XNORNet:
    """Six binary convolutions between a real first one and a real classifier.

    Args:
        num_classes: number of logits.
        width: factor of all numbers of filters (96, 256, 384, 384, 256, 4096, 4096).
        image_size: height and width of the images, at least 64. The kernel of conv6 has the size
            of the map there: 6 at 224, 3 at 128, 2 at 96, 1 at 64.
        latent: real-valued weights behind the signs, the papers' baseline.

    Returns:
        A module from float (N, 3, image_size, image_size) to logits (N, num_classes).

    Raises:
        ValueError: for images that are too small, or a width that leaves a layer without filters.

    Source: section 5.3 and the released code. Real kernels start Glorot uniform, with an L2 penalty
    that is in :func:`bop2ndorder.networks.adam_groups`.
    """
    return XNORNet(num_classes=num_classes, width=width, image_size=image_size, latent=latent)
