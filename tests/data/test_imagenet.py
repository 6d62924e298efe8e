"""ImageNet: the list of files, the published crops, decoding workers."""

import itertools
import math
import os
import re

import numpy as np
import psutil
import pytest
import torch
from image_folders import settings, write_folder
from PIL import Image

from bop2ndorder.study.data import imagenet, open_data, prepare
from bop2ndorder.study.data.imagenet import central_box, random_box
from bop2ndorder.study.data.workers import Workers

AUGMENT = {"crop": "random_resized", "flip": True}
MEAN, STD = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255


def prepared(tmp_path, name="out", **arguments):
    folder = tmp_path / "images"
    if not folder.exists():
        write_folder(folder, test_name="val", extension=".JPEG", width=50, height=40)
    prepare(settings("imagenet", image_size=32, **arguments), tmp_path / name, folder)
    return open_data(tmp_path / name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """8 training, 4 validation and 6 test JPEGs of 50x40 pixels."""
    return prepared(tmp_path_factory.mktemp("imagenet"))


def same(first, second):
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def test_the_list_holds_paths_labels_and_sizes(data):
    assert [data.count(split) for split in ("train", "validation", "all", "test")] == [8, 4, 12, 6]
    paths = [path.decode() for path in np.load(data.path / "test_paths.npy")]
    numbers = ("000", "001", "002")
    assert paths == [f"val/{name}/{n}.JPEG" for name in ("ant", "cat") for n in numbers]
    assert np.load(data.path / "test_labels.npy").tolist() == [0] * 3 + [1] * 3
    sizes = [(data.path.parent / "images" / path).stat().st_size for path in paths]
    assert np.load(data.path / "test_bytes.npy").tolist() == sizes


def test_evaluation_takes_the_central_crop(data):
    images, labels = next(data.batches("test", 6))
    assert labels.tolist() == [0] * 3 + [1] * 3 and labels.dtype == torch.int64
    # 32 / (32 + 32) of the short side, 40, is 20: 15 pixels are cut left and right, 10 above.
    image = Image.open(data.path.parent / "images" / "val" / "cat" / "001.JPEG")
    crop = image.crop((15, 10, 35, 30)).resize((32, 32), Image.BICUBIC)
    expected = ((np.asarray(crop) - MEAN) / STD).transpose(2, 0, 1)
    # Cut first, the border's pixels have no neighbours beyond it; inside it must be the same.
    inside = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(images[4].numpy()[inside], expected[inside], atol=0.03)
    assert images.shape == (6, 3, 32, 32) and images.dtype == torch.float32


def test_the_published_evaluation_crop_of_a_common_size():
    # 224 / 256 of 375 is 328.1: a square of 328, 86 from the left and 24 from the top.
    assert central_box(500, 375, 224) == (86, 24, 414, 352)
    left, top, right, bottom = central_box(7, 3000, 224)
    assert right - left == bottom - top == 6


def test_random_crops_keep_to_the_published_ranges_and_use_all_of_them():
    width, height, count = 500, 400, 20_000
    draw = np.random.default_rng(0)
    boxes = np.array([random_box(width, height, 224, draw) for _ in range(count)])
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width).all() and (bottom <= height).all()
    across, down = right - left, bottom - top
    area, aspect = across * down / (width * height), across / down
    assert 0.078 < area.min() < 0.09 and area.max() > 0.95
    assert 0.74 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.345
    # Small crops always fit, so below half of the area nothing distorts: uniform area and log
    # aspect. Standard errors of the two means are 0.001 and 0.002.
    small = area < 0.5
    assert abs(area[small].mean() - (0.08 + 0.5) / 2) < 0.006
    assert abs(np.log(aspect[small]).mean()) < 0.01
    assert abs(np.log(aspect[small]).std() - 2 * math.log(4 / 3) / math.sqrt(12)) < 0.005
    # All of the image is used: the free room is split evenly on average.
    assert abs((left / np.maximum(width - across, 1))[small].mean() - 0.5) < 0.01


def test_a_random_crop_that_never_fits_is_the_central_one():
    assert random_box(1000, 2, 224, np.random.default_rng(0)) == central_box(1000, 2, 224)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """40 training images that are all alike: black on the left, white on the right."""
    root = tmp_path_factory.mktemp("ramps")
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
    for part in ("train", "val"):
        for name in ("ant", "cat"):
            (root / "images" / part / name).mkdir(parents=True)
            for number in range(20):
                Image.fromarray(ramp).save(root / "images" / part / name / f"{number}.png")
    return prepared(root, validation=0)


def children():
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("chunk", [1, 5, 32])
def test_neither_workers_nor_chunks_change_an_image(data, ramps, monkeypatch, chunk):
    cases = [
        (data, ("test", 5), {}),  # the last batch is a single image
        (data, ("train", 3), {"seed": 3, "augment": AUGMENT}),
        (ramps, ("train", 36), {"seed": 3, "augment": AUGMENT}),  # chunks of 32 and 4
    ]
    whole = [list(images.batches(*which, **more)) for images, which, more in cases]
    assert whole[0][-1][0].shape == (1, 3, 32, 32)
    monkeypatch.setattr(imagenet, "CHUNK", chunk)
    for workers in (0, 1, 2, 3):
        anew = {images: open_data(images.path) for images in (data, ramps)}
        for (images, which, more), expected in zip(cases, whole, strict=True):
            assert same(expected, anew[images].batches(*which, workers=workers, **more))


def test_draws_that_depend_on_the_worker_would_be_seen(ramps, monkeypatch):
    generator = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: generator([*seed, os.getpid()]))
    passes = (ramps.batches("train", 36, seed=3, augment=AUGMENT, workers=n) for n in (1, 2))
    assert not same(*map(list, passes))


def test_an_epoch_alone_is_that_epoch_of_a_whole_run(ramps):
    """As after a resume; validation and a pass that is broken off come between the epochs."""
    whole, alone = open_data(ramps.path), open_data(ramps.path)

    def epoch(data, seed):
        return list(data.batches("train", 12, seed=seed, augment=AUGMENT, workers=2))

    first = [epoch(whole, 0)]
    next(whole.batches("train", 12, seed=9, augment=AUGMENT, workers=2))
    list(whole.batches("test", 12, workers=2))
    first += [epoch(whole, 1), epoch(whole, 2)]
    assert same(first[2], epoch(alone, 2)) and not same(first[2], first[1])


def test_workers_start_once_and_end_with_the_data(ramps):
    before, data = children(), open_data(ramps.path)
    list(data.batches("train", 12, seed=0, augment=AUGMENT, workers=2))
    started = children() - before
    assert len(started) == 2
    for seed in (1, 2):
        broken_off = data.batches("train", 12, seed=seed, augment=AUGMENT, workers=2)
        assert len(list(itertools.islice(broken_off, 2))) == 2
        list(data.batches("test", 12, workers=2))
        assert children() - before == started
    with pytest.raises(RuntimeError, match="given other tasks meanwhile"):
        next(broken_off)
    del broken_off, data
    assert children() == before


def test_after_the_death_of_a_worker_new_ones_start(ramps):
    before, data = children(), open_data(ramps.path)
    broken = data.batches("train", 2, seed=0, augment=AUGMENT, workers=2)
    next(broken)
    for pid in children() - before:
        psutil.Process(pid).kill()
    with pytest.raises(RuntimeError, match="worker .* (exited unexpectedly|killed by signal)"):
        list(data.batches("test", 2, workers=2))
    del broken
    expected = list(ramps.batches("test", 2))
    assert same(expected, data.batches("test", 2, workers=2))


def test_eight_workers_share_82_megabytes_whatever_the_batch():
    """Two chunks of 32 images a worker and one in use, 224 x 224 x 3 bytes an image."""
    workers = Workers(imagenet._decode, (imagenet.CHUNK, 224, 224, 3), 8)
    assert workers.slots.nbytes == (2 * 8 + 1) * 32 * 224 * 224 * 3 == 81_887_232


def test_each_image_is_cropped_by_draws_of_its_own_anew_in_each_epoch(ramps):
    first, again, other = (
        next(ramps.batches("train", 40, seed=seed, augment=AUGMENT))[0] for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    crops = {image.numpy().tobytes() for image in torch.cat([first, other])}
    assert len(crops) > 70  # of 80; crops of full height may be alike


def test_half_of_the_training_images_are_mirrored_if_asked(ramps):
    def mirrored(augment):
        images, _ = next(ramps.batches("train", 40, seed=0, augment=augment))
        return (images[..., 0] > images[..., -1]).all(dim=(1, 2)).sum().item()

    assert 8 <= mirrored(AUGMENT) <= 32  # fails for a fair coin once in 10,000 seeds
    assert mirrored({"crop": "random_resized", "flip": False}) == 0


def test_torchs_global_generator_is_neither_used_nor_moved(data):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for workers in (0, 1):
        first = list(data.batches("train", 4, seed=3, augment=AUGMENT, workers=workers))
        assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, data.batches("train", 4, seed=3, augment=AUGMENT))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named_in_one_sentence(tmp_path, workers):
    data = prepared(tmp_path)
    bad = tmp_path / "images" / "val" / "cat" / "002.JPEG"
    sound = bad.read_bytes()
    bad.write_bytes(sound[:-500])
    with pytest.raises(ValueError, match=f"^{re.escape(str(bad))} cannot be read as") as caught:
        list(data.batches("test", 3, workers=workers))
    assert "\n" not in str(caught.value)
    bad.write_bytes(sound)  # once it is mended all goes on
    assert sum(len(labels) for _, labels in data.batches("test", 3, workers=workers)) == 6


def test_the_hash_follows_the_list_and_not_the_place(tmp_path):
    first = prepared(tmp_path).sha256
    (tmp_path / "images").rename(tmp_path / "moved")
    prepare(settings("imagenet", image_size=32), tmp_path / "again", tmp_path / "moved")
    assert open_data(tmp_path / "again").sha256 == first
    with pytest.raises(FileNotFoundError, match="images of .*out are no longer in .*images"):
        open_data(tmp_path / "out")

    (tmp_path / "moved").rename(tmp_path / "images")
    image = tmp_path / "images" / "train" / "ant" / "000.JPEG"
    image.rename(image.with_name("0000.JPEG"))
    assert prepared(tmp_path, "renamed").sha256 != first
    image.with_name("0000.JPEG").rename(image)
    image.write_bytes(image.read_bytes() + b"\0")
    assert prepared(tmp_path, "longer").sha256 != first


def test_mistakes_are_one_sentence(data, tmp_path):
    for augment in ({"pad": 4, "flip": True}, {"crop": "central", "flip": True}):
        with pytest.raises(ValueError, match="imagenet takes {'crop': 'random_resized', 'flip'"):
            data.batches("train", 4, seed=1, augment=augment)
    folder = write_folder(tmp_path / "images", test_name="test")
    with pytest.raises(FileNotFoundError, match=r"train/CLASS/\* and val/CLASS/\*; one of these"):
        prepare(settings("imagenet"), tmp_path / "out", folder)
