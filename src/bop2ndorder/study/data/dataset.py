"""A prepared data set: its facts, its splits and its batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...store import read_json
from .augment import normalise

SPLITS = ("train", "validation", "all", "test")


class Data:
    """A prepared data set, made by `open_data`.

    Attributes:
        path: its folder.
        source: "digits", "cifar10", "imagenette" or "imagenet".
        classes: names of the classes; a label is a place in this list.
        num_classes: how many there are.
        image_size: height and width of the images in pixels.
        origin: "embedded", "download" or "folder".
        sha256: hash of all that training and evaluation read.
    """

    def __init__(self, path: Path, facts: dict) -> None:
        self.path = path
        self.source: str = facts["source"]
        self.classes: list[str] = facts["classes"]
        self.num_classes = len(self.classes)
        self.image_size: int = facts["image_size"]
        self.origin: str = facts["origin"]
        self.sha256: str = facts["sha256"]
        shape = (self.image_size, self.image_size, 3)
        self._mean = torch.tensor(facts["mean"]).expand(shape).contiguous()
        self._std = torch.tensor(facts["std"]).expand(shape).contiguous()
        recorded = read_json(path / "splits.json")
        train, validation = (
            np.array(recorded[split], dtype=np.int64) for split in ("train", "validation")
        )
        self._places = {
            "train": train,
            "validation": validation,
            "all": np.union1d(train, validation),
            "test": np.arange(facts["counts"]["test"]),
        }

    def count(self, split: str) -> int:
        """How many images a split has: "train", "validation", "all" (both of them) or "test"."""
        return len(self._split(split))

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        augment: dict | None = None,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one pass over a split. The result depends on the arguments only.

        With a seed (training) the images are shuffled and a last partial batch is dropped; one call
        is one epoch, and each epoch takes another seed. Without one (evaluation) they come in their
        order and the last batch may be smaller.

        Args:
            split: "train", "validation", "all" (train and validation) or "test".
            batch_size: images in a batch, at least 1, with a seed at most those of the split.
            device: where the batches shall be.
            seed: decides the order and every random draw; None for no shuffling.
            augment: how training images are varied, drawn anew for each image, or None. Arrays take
                {"pad": pixels, "flip": bool}, ImageNet takes {"crop": "random_resized",
                "flip": bool}. Needs a seed.
            workers: processes that decode images (ImageNet only; arrays need none). Their number
                does not change the batches. They stay for the passes that follow, of which the
                next ends the one before, and end with this object.
            share: (r, n) for the r-th of n processes that share the work, counted from 0: of each
                batch of `batch_size` images only its r-th part of n is made. Order and draws are
                those of the whole batch.

        Returns:
            iterator of images float32 (B, 3, H, W), normalised, and labels int64 (B,), where B is
            the slice's part of batch_size.

        Raises:
            ValueError: unknown split or augmentation, augmentation without a seed, batch size out
                of range or, with a seed, not divisible among those who share it; for ImageNet an
                image that cannot be read.
        """
        places = torch.from_numpy(self._split(split))
        if batch_size < 1 or (seed is not None and batch_size > len(places)):
            raise ValueError(
                f"batch_size is {batch_size}; the split '{split}' of {self.path} has {len(places)} "
                f"images, so that batches of 1 to {len(places)} can be drawn"
            )
        if augment is not None and seed is None:
            raise ValueError("augmentation is drawn at random: batches() needs a seed for it")
        if seed is not None and batch_size % share[1]:
            raise ValueError(
                f"batch_size is {batch_size}, gpus is {share[1]}: each takes as large a part of a "
                f"batch, so batch_size must be a multiple of {share[1]}"
            )
        self._check_augment(augment)
        generator = torch.Generator()
        if seed is not None:
            generator.manual_seed(seed)
            order = torch.randperm(len(places), generator=generator)
            places = places[order[: len(places) // batch_size * batch_size]]
        slices = list(_slices(len(places), batch_size, *share))
        return self._scaled(
            self._batches(split, places, slices, torch.device(device), generator, augment, workers)
        )

    def _split(self, split: str) -> np.ndarray:
        if split not in SPLITS:
            raise ValueError(f"split '{split}' is unknown; allowed are {', '.join(SPLITS)}")
        return self._places[split]

    def _stored(self, split: str) -> str:
        """Name of the stored part that holds a split."""
        return "test" if split == "test" else "train"

    def _scaled(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        mean, std = self._mean, self._std
        for images, labels in batches:
            # Copied to the device by the first batch only.
            mean, std = mean.to(images.device), std.to(images.device)
            yield normalise(images, mean, std), labels

    def _check_augment(self, augment: dict | None) -> None:
        raise NotImplementedError

    def _batches(
        self, split, places, slices, device, generator, augment, workers
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A batch for each slice of the places, on the device: images uint8 (B, H, W, 3), which are
        used before the next batch is asked for, and labels int64 (B,)."""
        raise NotImplementedError


def _slices(count: int, batch_size: int, rank: int, ranks: int) -> Iterator[slice]:
    """Where the share of each batch lies among `count` images; the last batch may be smaller."""
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        yield slice(start + size * rank // ranks, start + size * (rank + 1) // ranks)
