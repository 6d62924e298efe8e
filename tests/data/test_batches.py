"""Batches from arrays: order, shuffling, augmentation, determinism."""

import numpy as np
import pytest
import torch
from image_folders import settings, write_folder

from bop2ndorder.study.data import open_data, prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """38 training, 10 validation and 6 test images of 8x8."""
    folder = tmp_path_factory.mktemp("batches")
    images = write_folder(folder / "images", train=24, test=3, width=8, height=8)
    prepare(settings(validation=10), folder / "out", images, progress=False)
    return open_data(folder / "out")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """20 training images as files."""
    folder = tmp_path_factory.mktemp("files")
    images = write_folder(folder / "images", train=10, test_name="val")
    prepare(settings("imagenet", validation=0), folder / "out", images, progress=False)
    return open_data(folder / "out")


def raw(images):
    """Pixels 0 ... 255 (B, H, W, 3) of normalised images."""
    return (images * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def same(first, second):
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def test_without_a_seed_all_images_come_in_their_order(data):
    batches = list(data.batches("test", 4))
    assert [len(labels) for _, labels in batches] == [4, 2]
    images = torch.cat([raw(images) for images, _ in batches]).numpy()
    assert (images == np.load(data.path / "test_images.npy")).all()
    labels = torch.cat([labels for _, labels in batches])
    assert labels.dtype == torch.int64
    assert labels.tolist() == np.load(data.path / "test_labels.npy").tolist()


def test_images_are_scaled_as_the_paper_says(data):
    images, _ = next(data.batches("test", 6))
    pixels = torch.from_numpy(np.load(data.path / "test_images.npy")).permute(0, 3, 1, 2)
    assert images.dtype == torch.float32 and images.shape == (6, 3, 8, 8)
    torch.testing.assert_close(images, pixels / 127.5 - 1, rtol=0, atol=2e-7)


def test_imagenette_is_scaled_by_imagenets_mean_and_deviation(tmp_path):
    folder = write_folder(tmp_path / "images", width=8, height=8, test_name="val")
    prepare(settings("imagenette"), tmp_path / "out", folder, progress=False)
    data = open_data(tmp_path / "out")
    images, _ = next(data.batches("test", 6))
    pixels = torch.from_numpy(np.load(data.path / "test_images.npy")).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # the published constants
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(images, (pixels - mean) / std, rtol=1e-5, atol=1e-5)


def identities(data, split, batch_size, **arguments):
    return [
        [image.numpy().tobytes() for image in raw(images)]
        for images, _ in data.batches(split, batch_size, **arguments)
    ]


def test_an_epoch_shows_each_image_once_at_most_and_drops_the_partial_batch(data):
    batches = identities(data, "train", 8, seed=7)
    assert [len(batch) for batch in batches] == [8] * 4  # of 38 images
    shown = sum(batches, [])
    train = sum(identities(data, "train", 64), [])
    assert len(set(shown)) == 32 and set(shown) < set(train)
    assert shown != train[:32]


def test_splits_share_no_image_and_all_is_train_and_validation(data):
    train, validation, everything, test = (
        set(sum(identities(data, split, 64), []))
        for split in ("train", "validation", "all", "test")
    )
    assert [len(train), len(validation), len(everything), len(test)] == [38, 10, 48, 6]
    assert train | validation == everything
    assert not train & validation and not test & everything


AUGMENT = {"pad": 2, "flip": True}


def test_the_seed_decides_every_bit(data):
    for augment in (None, AUGMENT):
        first, again = (data.batches("train", 8, seed=7, augment=augment) for _ in range(2))
        assert same(first, again)
        first, other = (data.batches("train", 8, seed=seed, augment=augment) for seed in (7, 8))
        assert not same(first, other)


def test_torchs_global_generator_is_neither_used_nor_moved(data):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = list(data.batches("train", 8, seed=7, augment=AUGMENT))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, data.batches("train", 8, seed=7, augment=AUGMENT))


def test_augmented_images_are_crops_of_their_own_padded_image(data):
    plain = list(data.batches("train", 8, seed=7))
    augmented = list(data.batches("train", 8, seed=7, augment=AUGMENT))
    found = set()
    for (images, labels), (varied, varied_labels) in zip(plain, augmented, strict=True):
        assert torch.equal(labels, varied_labels)
        for image, crop in zip(raw(images).numpy(), raw(varied).numpy(), strict=True):
            padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
            places = [
                (top, left, flip)
                for top in range(5)
                for left in range(5)
                for flip in (1, -1)
                if (padded[top : top + 8, left : left + 8][:, ::flip] == crop).all()
            ]
            assert len(places) == 1
            found.update(places)
    assert len(found) > 20  # of 50 possible: images of a batch are not cropped alike


def test_crops_follow_the_image_and_not_the_size_of_the_batches(data):
    small, large = (
        torch.cat([images for images, _ in data.batches("train", size, seed=7, augment=AUGMENT)])
        for size in (8, 16)
    )
    assert torch.equal(small, large)


def test_shares_of_a_batch_are_the_batch(data, files):
    for images, augment in ((data, AUGMENT), (files, {"crop": "random_resized", "flip": True})):
        for which, more in (
            (("train", 6), {"seed": 7, "augment": augment}),
            (("train", 7), {}),  # neither the batches nor the last one can be shared evenly
        ):
            whole = list(images.batches(*which, **more))
            shares = [list(images.batches(*which, **more, share=(r, 3))) for r in range(3)]
            assert {len(labels) for share in shares for _, labels in share[:-1]} <= {2, 3}
            joined = [
                [torch.cat(parts) for parts in zip(*batch, strict=True)]
                for batch in zip(*shares, strict=True)
            ]
            assert same(whole, joined)


def test_the_stored_images_are_not_written_to(data):
    before = (data.path / "train_images.npy").read_bytes()
    for images, _ in data.batches("train", 8, seed=7, augment=AUGMENT):
        images.zero_()
    assert (data.path / "train_images.npy").read_bytes() == before
    assert next(data.batches("train", 8, seed=7))[0].abs().max() > 0


def test_mistakes_are_one_sentence(data):
    with pytest.raises(ValueError, match="split 'val' is unknown; allowed are train, validation"):
        data.batches("val", 8)
    with pytest.raises(ValueError, match="split 'val' is unknown"):
        data.count("val")
    with pytest.raises(ValueError, match="batch_size is 39; the split 'train' of .* has 38 images"):
        data.batches("train", 39, seed=1)
    with pytest.raises(ValueError, match="batch_size is 0"):
        data.batches("train", 0)
    with pytest.raises(ValueError, match="batch_size is 8, gpus is 3: .* must be a multiple of 3"):
        data.batches("train", 8, seed=1, share=(0, 3))
    with pytest.raises(ValueError, match=r"cifar10 takes \{'pad': pixels, 'flip': bool\}"):
        data.batches("train", 8, seed=1, augment={"crop": "random_resized", "flip": True})
    with pytest.raises(ValueError, match="needs a seed"):
        data.batches("train", 8, augment=AUGMENT)


def test_no_validation_images_are_no_batches(tmp_path):
    folder = write_folder(tmp_path / "images")
    prepare(settings(validation=0), tmp_path / "out", folder, progress=False)
    data = open_data(tmp_path / "out")
    assert data.count("validation") == 0 and list(data.batches("validation", 8)) == []
    assert data.count("train") == data.count("all") == 12
