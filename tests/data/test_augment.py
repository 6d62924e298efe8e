"""Augmentation and normalisation, against a twin that goes through the images one by one."""

import numpy as np
import pytest
import torch

from bop2ndorder.study.data.augment import crop_and_flip, draw_crops, normalise


def slow_crop_and_flip(images, pad, offsets, flips):
    results = []
    for image, (top, left), flip in zip(images.numpy(), offsets.tolist(), flips, strict=True):
        height, width, _ = image.shape
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        crop = padded[top : top + height, left : left + width]
        results.append(crop[:, ::-1] if flip else crop)
    return torch.from_numpy(np.stack(results))


def random_images(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (40, 7, 5, 3), (25, 32, 32, 3)])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_batched_crops_equal_crops_one_by_one(shape, pad):
    images = random_images(*shape)
    drawn = draw_crops(len(images), pad, True, torch.Generator().manual_seed(1))
    assert torch.equal(crop_and_flip(images, pad, *drawn), slow_crop_and_flip(images, pad, *drawn))


def test_the_border_is_black_in_the_raw_image():
    white = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    corner = crop_and_flip(white, 2, torch.tensor([[0, 0]]), torch.tensor([False]))[0, :, :, 0]
    assert corner.tolist() == [[0] * 4, [0] * 4, [0, 0, 255, 255], [0, 0, 255, 255]]


def test_crops_are_drawn_for_each_image_and_uniformly():
    count, pad = 40_000, 2
    offsets, flips = draw_crops(count, pad, True, torch.Generator().manual_seed(3))
    cells = torch.bincount(offsets[:, 0] * 10 + offsets[:, 1] * 2 + flips, minlength=50)
    assert len(cells) == 2 * (2 * pad + 1) ** 2
    # 50 equal cells: chi-square with 49 degrees of freedom exceeds 94.6 once in 10,000 seeds.
    expected = count / 50
    assert ((cells - expected) ** 2 / expected).sum() < 94.6
    # Rows, columns and flips are drawn apart: nothing of one image tells about the next one.
    assert abs(torch.corrcoef(torch.stack([offsets[:-1, 0], offsets[1:, 0]]).float())[0, 1]) < 0.02


def test_nothing_is_flipped_unless_asked_and_crops_do_not_depend_on_it():
    with_flips = draw_crops(100, 4, True, torch.Generator().manual_seed(3))
    without = draw_crops(100, 4, False, torch.Generator().manual_seed(3))
    assert with_flips[1].any() and not without[1].any()
    assert torch.equal(with_flips[0], without[0])


def test_normalise_scales_channels_to_channels_last_floats():
    images = random_images(2, 4, 5, 3)
    mean, std = torch.tensor([1.0, 20.0, 127.5]), torch.tensor([2.0, 58.0, 127.5])
    result = normalise(images, mean.expand(4, 5, 3), std.expand(4, 5, 3))
    expected = ((images.double() - mean.double()) / std.double()).permute(0, 3, 1, 2)
    assert result.dtype == torch.float32 and result.shape == (2, 3, 4, 5)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-7)
