"""Processes that do small tasks, whose results come back in memory that all of them share."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from mmap import mmap
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

# Tasks that each worker has been given: one in work and one waiting.
AHEAD = 2

Work = Callable[[Any, np.ndarray], int]


class Workers:
    """Processes that are started once and work through one list of tasks after another.

    Results lie in slots of shared memory: two a worker and one that is being read, so the memory
    does not grow with the list, nor with how large a batch is made of the results. It is memory
    of the processes and not of /dev/shm, so that Docker's 64 MB for that do not matter.

    The processes end with this object, and where its process was killed.

    Attributes:
        count: how many processes there are.
        slots: the shared memory, uint8 (2 count + 1, *shape).
    """

    def __init__(self, work: Work, shape: tuple[int, ...], count: int) -> None:
        """
        Args:
            work: does a task: writes into the slot, uint8 of the shape, and returns how much of it
                is filled, counted along the first dimension.
            shape: of a slot.
            count: processes, at least 1.
        """
        self.count = count
        slots = (AHEAD * count + 1, *shape)
        self.slots = torch.frombuffer(mmap(-1, prod(slots)), dtype=torch.uint8).view(slots)
        self._tasks = _Tasks()
        self._loader = DataLoader(
            _Worker(work, self.slots.numpy()),
            batch_size=None,
            sampler=self._tasks,
            num_workers=count,
            prefetch_factor=AHEAD,
            persistent_workers=True,
            multiprocessing_context="fork",  # that the memory is shared
            worker_init_fn=partial(_end_without, os.getpid()),
            generator=torch.Generator(),  # or it would draw from torch's global generator
        )

    def results(self, tasks: Iterable[Any]) -> Iterator[Tensor]:
        """What is made of each task, in the tasks' order, whoever did it.

        A result is valid until the next one is asked for.

        Raises:
            RuntimeError: meanwhile the workers were given other tasks, or one of them died.
            Exception: what `work` raised; its text is preceded by the worker's traceback.
        """
        free = deque(range(len(self.slots)))
        given = ((free.popleft(), task) for task in tasks)
        self._tasks.given = given
        for slot, filled in self._loader:
            yield self.slots[slot, :filled]
            if self._tasks.given is not given:
                raise RuntimeError(
                    "the workers have been given other tasks meanwhile: finish one pass over "
                    "the images before the next, or open the data once for each"
                )
            free.append(slot)


def _end_without(parent: int, worker: int) -> None:
    """End a worker whose parent is gone: torch watches from now on, and would not miss it."""
    if os.getppid() != parent:
        os._exit(1)


class _Tasks:
    """What the loader hands to its workers: a sampler that is filled anew for each list."""

    given: Iterator[tuple[int, Any]]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self.given


class _Worker(Dataset):
    """Does the tasks; what travels between processes are numbers only."""

    def __init__(self, work: Work, slots: np.ndarray) -> None:
        self.work, self.slots = work, slots

    def __getitem__(self, item: tuple[int, Any]) -> tuple[int, int]:
        slot, task = item
        return slot, self.work(task, self.slots[slot])
