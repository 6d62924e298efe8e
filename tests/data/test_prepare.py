"""`prepare` on digits and on generated folders: content, splits, hashes, damaged images."""

import json
import os
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from image_folders import noise, settings, write_folder
from PIL import Image

from bop2ndorder.study.data import open_data, prepare
from bop2ndorder.study.data import preparation as preparation_module
from bop2ndorder.study.data.decode import read_rgb, square
from bop2ndorder.study.data.splits import limited, stratified


def prepared(tmp_path, name="out", folder=None, **changes):
    out = tmp_path / name
    prepare(settings(**changes), out, folder, progress=False)
    return out


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepared(
        tmp_path_factory.mktemp("digits"), source="digits", image_size=16, validation=200
    )


def test_digits_are_the_embedded_ones(digits, tmp_path):
    from sklearn.datasets import load_digits

    out = prepared(tmp_path, source="digits", image_size=8, validation=0)
    images = np.concatenate([np.load(out / f"{part}_images.npy") for part in ("train", "test")])
    labels = np.concatenate([np.load(out / f"{part}_labels.npy") for part in ("train", "test")])
    assert images.shape == (1797, 8, 8, 3) and images.dtype == np.uint8
    assert (images == images[..., :1]).all()
    original = load_digits()
    # Every image once, with its label, whatever the order.
    ours = sorted(
        (label, pixels[..., 0].tobytes()) for label, pixels in zip(labels, images, strict=True)
    )
    theirs = sorted(
        (label, np.rint(pixels * 255 / 16).astype(np.uint8).tobytes())
        for label, pixels in zip(original.target, original.images, strict=True)
    )
    assert ours == theirs


def test_digits_splits_are_a_fifth_for_test_and_stratified(digits):
    data = open_data(digits)
    assert [data.count(split) for split in ("train", "validation", "all", "test")] == [
        1238,
        200,
        1438,
        359,
    ]
    facts = json.loads((digits / "data.json").read_text())
    assert facts["counts"] == {"train": 1238, "validation": 200, "test": 359}
    labels = np.load(digits / "train_labels.npy")
    splits = json.loads((digits / "splits.json").read_text())
    assert sorted(splits["train"] + splits["validation"]) == list(range(1438))
    share = np.bincount(labels[splits["validation"]]) / np.bincount(labels)
    assert abs(share - 200 / 1438).max() < 0.005
    share = np.bincount(np.load(digits / "test_labels.npy")) / 1797
    assert abs(share - 0.02).max() < 0.001


def test_preparing_twice_gives_the_same_bytes(digits, tmp_path):
    again = prepared(tmp_path, source="digits", image_size=16, validation=200)
    assert sorted(os.listdir(again)) == sorted(os.listdir(digits))
    for name in os.listdir(again):
        assert (again / name).read_bytes() == (digits / name).read_bytes(), name


def test_a_folder_becomes_sorted_classes_and_decoded_images(tmp_path):
    folder = write_folder(tmp_path / "images", width=8, height=8)
    data = open_data(prepared(tmp_path, folder=folder))
    assert (data.classes, data.num_classes, data.image_size) == (["ant", "cat"], 2, 8)
    assert (data.source, data.origin) == ("cifar10", "folder")
    images, labels = (np.load(data.path / f"train_{kind}.npy") for kind in ("images", "labels"))
    assert labels.tolist() == [0] * 6 + [1] * 6
    for number in range(6):  # "cat" was written first, with seeds from 0, and "ant" from 1000
        assert (images[number] == np.asarray(noise(1000 + number, 8, 8))).all()
        assert (images[6 + number] == np.asarray(noise(number, 8, 8))).all()


@pytest.mark.parametrize("size", [(21, 14), (14, 21), (14, 14), (4, 6)])
def test_images_are_cut_in_the_centre_and_resized(size):
    width, height = size
    short = min(size)
    image = noise(0, width, height)
    left, top = (width - short) / 2, (height - short) / 2
    expected = image.resize((8, 8), Image.BICUBIC, box=(left, top, left + short, top + short))
    assert (np.asarray(square(image, 8)) == np.asarray(expected)).all()


def test_resizing_averages_rather_than_skips_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(square(Image.fromarray(stripes), 8)).astype(int)
    assert abs(small[:, 1:-1] - 127.5).max() < 5


@pytest.mark.parametrize("extension", [".jpg", ".JPG", ".JPEG", ".jpeg", ".png", ".PNG", ".Png"])
def test_extensions_in_any_case(tmp_path, extension):
    folder = write_folder(tmp_path / "images", extension=extension, test_name="val")
    assert open_data(prepared(tmp_path, folder=folder)).count("all") == 12


def test_classes_are_sorted_whatever_the_order_on_the_disk(tmp_path):
    names = ("eel", "cat", "bee", "ant", "dog", "Fox", "10", "9")
    folder = write_folder(tmp_path / "images", train=2, test=1, classes=names)
    data = open_data(prepared(tmp_path, folder=folder, validation=0))
    assert data.classes == ["10", "9", "Fox", "ant", "bee", "cat", "dog", "eel"]


def test_other_files_are_passed_over(tmp_path):
    folder = write_folder(tmp_path / "images")
    for name in ("notes.txt", ".DS_Store", "._000.png"):
        (folder / "train" / "cat" / name).write_bytes(b"no image")
    (folder / "train" / ".cache").mkdir()
    assert open_data(prepared(tmp_path, folder=folder)).count("all") == 12


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_kinds_of_images_become_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode).save(path)
    image = read_rgb(path)
    assert (image.mode, image.size) == ("RGB", (6, 5))
    assert np.asarray(image).min() >= 250


def test_the_hash_follows_content_and_neither_place_nor_times(tmp_path):
    first = open_data(prepared(tmp_path, folder=write_folder(tmp_path / "images"))).sha256
    elsewhere = write_folder(tmp_path / "other" / "place")
    for path in elsewhere.rglob("*.png"):
        os.utime(path, (1, 1))
    assert open_data(prepared(tmp_path, "again", elsewhere)).sha256 == first

    changed = elsewhere / "train" / "cat" / "000.png"
    pixels = np.array(Image.open(changed))
    pixels[5, 5] ^= 255
    Image.fromarray(pixels).save(changed)
    assert open_data(prepared(tmp_path, "changed", elsewhere)).sha256 != first
    for number, changes in enumerate(({"validation": 5}, {"image_size": 9}, {"limit": 4})):
        other = prepared(tmp_path, f"changed{number}", tmp_path / "images", **changes)
        assert open_data(other).sha256 != first, changes


def test_limit_keeps_so_many_of_each_split(tmp_path):
    folder = write_folder(tmp_path / "images", train=20, test=9)
    data = open_data(prepared(tmp_path, folder=folder, validation=10, limit=4))
    counts = [data.count(split) for split in ("train", "validation", "all", "test")]
    assert counts == [4, 4, 8, 4]
    labels = np.load(data.path / "train_labels.npy")
    assert np.bincount(labels).tolist() == [4, 4]
    # What is kept is part of the unlimited splits: a limit does not turn validation into training.
    whole = open_data(prepared(tmp_path, "whole", folder, validation=10))
    for split in ("train", "validation"):
        few, many = (
            {image.numpy().tobytes() for images, _ in part.batches(split, 64) for image in images}
            for part in (data, whole)
        )
        assert few < many


def test_stratified_parts_are_disjoint_fixed_and_complete():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rest, chosen = stratified(labels, 20, "validation")
    assert sorted([*rest, *chosen]) == list(range(100))
    assert np.bincount(labels[chosen]).tolist() == [12, 6, 2]
    assert (stratified(labels, 20, "validation")[1] == chosen).all()
    assert len(stratified(labels, 0, "validation")[1]) == 0
    assert (limited(rest, labels, None) == rest).all() and (limited(rest, labels, 80) == rest).all()


@pytest.mark.parametrize("count", [1, 2, 98, 99, 101, -1])
def test_splits_that_would_lose_a_class_are_refused(count):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    with pytest.raises(ValueError, match=f"validation is {count}; of 100 images in 3 classes.*97"):
        stratified(labels, count, "validation")


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_text(path):
    path.write_text("<html>404</html>")


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("spoil", [spoil_truncated, spoil_empty, spoil_text])
def test_unreadable_images_are_named_and_leave_nothing(tmp_path, spoil, extension):
    folder = write_folder(tmp_path / "images", extension=extension)
    bad = folder / "test" / "ant" / f"001{extension}"
    spoil(bad)
    with pytest.raises(ValueError, match=f"{re.escape(str(bad))} cannot be read as an image"):
        prepared(tmp_path, "out", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_broken_chunks_and_decompression_bombs_are_named(tmp_path):
    path = tmp_path / "image.png"
    noise(0, 9, 9).save(path)
    sound = path.read_bytes()
    pixels = sound.index(b"IDAT") - 4  # a chunk starts with its length; cut it short by 20 bytes
    (length,) = struct.unpack_from(">I", sound, pixels)
    huge = b"IHDR" + struct.pack(">II", 60_000, 60_000) + sound[24:29]
    for spoiled in (
        sound[:pixels] + struct.pack(">I", length - 20) + sound[pixels + 4 :],
        sound[:12] + huge + struct.pack(">I", zlib.crc32(huge)) + sound[33:],
    ):
        path.write_bytes(spoiled)
        with pytest.raises(ValueError, match="image.png cannot be read as an image"):
            read_rgb(path)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_damaged_bytes_never_raise_anything_but_valueerror(tmp_path, extension):
    path = tmp_path / f"image{extension}"
    noise(0, 9, 9).save(path)
    sound = path.read_bytes()
    random = np.random.RandomState(0)
    failures = 0
    for _ in range(300):
        spoiled = bytearray(sound[: random.randint(1, len(sound) + 1)])
        for place in random.randint(0, len(spoiled), 3):
            spoiled[place] = random.randint(256)
        path.write_bytes(spoiled)
        try:
            read_rgb(path)
        except ValueError:
            failures += 1
    assert failures > 100


def test_an_exception_midway_leaves_nothing_and_keeps_the_earlier_set(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "images")
    out = prepared(tmp_path, folder=folder)
    before = open_data(out).sha256

    def fail(*args):
        assert (tmp_path / ".out.partial" / "train_images.npy").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation_module, "write_done", fail)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, folder=folder, image_size=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]
    assert open_data(out).sha256 == before


def test_mistakes_in_a_folder_are_one_sentence(tmp_path):
    folder = tmp_path / "images"
    with pytest.raises(FileNotFoundError, match="images must hold train/CLASS.*is missing"):
        prepared(tmp_path, folder=folder)
    write_folder(folder)
    (folder / "val").mkdir()
    with pytest.raises(ValueError, match="not test and val together"):
        prepared(tmp_path, folder=folder)
    (folder / "val").rmdir()
    (folder / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match="same classes; only one has: dog"):
        prepared(tmp_path, folder=folder)
    (folder / "test" / "dog").mkdir()
    with pytest.raises(ValueError, match="train/dog holds no image"):
        prepared(tmp_path, folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_mistakes_in_settings_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="source 'mnist' is unknown; allowed are digits, cifar10"):
        prepared(tmp_path, source="mnist")
    with pytest.raises(ValueError, match="digits come with scikit-learn"):
        prepared(tmp_path, source="digits", folder=tmp_path)
    with pytest.raises(ValueError, match=r"imagenet cannot be downloaded.*local: \{imagenet:"):
        prepared(tmp_path, source="imagenet")


def test_opening_names_what_is_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="no prepared data in .*`snakemake prepare_all`"):
        open_data(tmp_path / "out")
    out = prepared(tmp_path, folder=write_folder(tmp_path / "images"))
    labels = out / "test_labels.npy"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="test_labels.npy is missing or damaged: remove"):
        open_data(out)
    labels.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    open_data(out)
    with pytest.raises(ValueError, match="test_labels.npy is missing or damaged: remove"):
        open_data(out, hashes=True)
    (out / "done.json").unlink()
    with pytest.raises(ValueError, match="done.json is missing or damaged"):
        open_data(out)


def test_reading_batches_loads_nothing_that_only_prepare_needs(digits):
    code = (
        "import sys; from bop2ndorder.study.data import open_data\n"
        f"next(open_data({str(digits)!r}).batches('train', 5, seed=1))\n"
        "print([name for name in ('torchvision', 'sklearn', 'PIL') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
