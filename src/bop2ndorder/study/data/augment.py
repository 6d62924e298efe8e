"""Augmentation: pad, random crop and flip, drawn for each image, run on a whole batch at once."""

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_crops(
    count: int, pad: int, flip: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw where each of `count` images is cropped and whether it is flipped.

    Drawn on the CPU, so that the same seed gives the same crops on every device.

    Args:
        count: images.
        pad: width of the border in pixels; offsets are uniform on 0 ... 2 pad.
        flip: whether half of the images, by a fair coin, are mirrored left to right.
        generator: the CPU generator to draw from.

    Returns:
        offsets int64 (count, 2), rows then columns; flips bool (count,).
    """
    offsets = torch.randint(2 * pad + 1, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    return offsets, flips & flip


def crop_and_flip(images: Tensor, pad: int, offsets: Tensor, flips: Tensor) -> Tensor:
    """Pad a batch with zeros, cut each image's own crop of the original size, mirror those to flip.

    The border is black in the raw image (0 of 255, so -1 after scaling), as in the released code,
    which pads before it scales.

    Args:
        images: uint8 (B, H, W, C).
        pad: border in pixels.
        offsets: int64 (B, 2), top left corner of each crop in the padded image, 0 ... 2 pad.
        flips: bool (B,).

    Returns:
        uint8 (B, H, W, C).
    """
    count, height, width, channels = images.shape
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    # Where each pixel of the result lies in the padded batch seen as one long list of pixels.
    first = torch.arange(count, device=images.device) * (height + 2 * pad) + offsets[:, 0]
    rows = first[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + offsets[:, 1:]
    pixels = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    return padded.view(-1, channels).index_select(0, pixels.view(-1)).view(images.shape)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x - mean) / std.

    Args:
        images: uint8 (B, H, W, C).
        mean, std: float32 (H, W, C), in units of 0 ... 255; a value for each channel is repeated
            for all pixels, since broadcasting along rows of three is eight times slower.

    Returns:
        float32 (B, C, H, W), in channels_last memory.
    """
    return images.to(torch.float32).sub_(mean).div_(std).permute(0, 3, 1, 2)
