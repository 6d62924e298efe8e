"""Data sets that are stored decoded, as uint8 arrays."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .augment import crop_and_flip, draw_crops
from .dataset import Data


class ArrayData(Data):
    """Images as memory-mapped uint8 arrays; on another device than the CPU they are copied once."""

    def _check_augment(self, augment: dict | None) -> None:
        if augment is not None and set(augment) != {"pad", "flip"}:
            raise ValueError(
                f"augment is {augment}; {self.source} takes {{'pad': pixels, 'flip': bool}}"
            )

    def _batches(
        self, split, places, slices, device, generator, augment, workers
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self._arrays(self._stored(split), device)
        places = places.to(device)
        if augment is not None:
            pad = augment["pad"]
            # An epoch's draws are made at once, so that no batch waits for a copy to the device.
            offsets, flips = (
                drawn.to(device)
                for drawn in draw_crops(len(places), pad, augment["flip"], generator)
            )
        for here in slices:
            batch = images.index_select(0, places[here])
            if augment is not None:
                batch = crop_and_flip(batch, pad, offsets[here], flips[here])
            yield batch, labels.index_select(0, places[here])

    @cache  # noqa: B019  a data set lives as long as its process
    def _arrays(self, stored: str, device: torch.device) -> tuple[Tensor, Tensor]:
        # "c": torch wants writable memory; nothing is written, and the file would not change.
        images = np.load(self.path / f"{stored}_images.npy", mmap_mode="c")
        labels = np.load(self.path / f"{stored}_labels.npy")
        return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
