"""Processes that train one run together, each on its slice of every batch.

torchrun starts them and gives each its rank, 0 ... size - 1. All start from the same weights and
take the same steps, as the gradients are the same to the bit in all of them:

- The gradients of all parameters are one flat tensor, and every element of it is summed in the
  order of the ranks, by sums that stand here. An all_reduce leaves the order to the library, and
  neither Gloo nor NCCL promises one: NCCL's in-switch sums (NVLS) differ from call to call
  (github.com/NVIDIA/nccl/issues/1497). The collectives used here only copy.
- DistributedDataParallel would put gradients into other buckets after its first step, so that a
  run that is taken up would sum in another order than one that is not.

Batch norm sees a rank's own slice. Its running statistics are read at evaluation only, which is
rank 0's affair, as is all that is written: so those of rank 0 are the run's.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .deterministic import use_deterministic_kernels

# The others wait while rank 0 evaluates. That a rank has died is for torchrun to notice.
PATIENCE = timedelta(days=7)
GRACE = 60.0  # seconds in which torchrun ends those that a dead rank has left


class Ranks:
    """This process among those that train a run; by default it is alone, and nothing is exchanged.

    Attributes:
        rank: its number; rank 0 evaluates and writes.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        self._flat: Tensor | None = None  # and _received: made by the first gradients, used by all

    def threads(self, threads: int) -> int:
        """This process's part of a run's CPU threads, at least 1."""
        return max(1, threads // self.size)

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set each parameter's gradient to its mean over the ranks, in place.

        Args:
            parameters: the same in all ranks, in the same order; all have a gradient.
        """
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters]
        sizes = [gradient.numel() for gradient in gradients]
        # As many elements for each rank to sum; those beyond the gradients stay 0.
        count = -(-sum(sizes) // self.size) * self.size
        if self._flat is None or len(self._flat) != count:
            self._flat = gradients[0].new_zeros(count)
            self._received = gradients[0].new_empty(count)
        gathered = self._flat[: sum(sizes)]
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=gathered)
        self._sum(self._flat, self._received)
        for gradient, total in zip(gradients, gathered.split(sizes), strict=True):
            torch.div(total.view_as(gradient), self.size, out=gradient)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks of a tensor of one dimension."""
        if self.size == 1:
            return values
        # A copy for each rank to sum.
        copies = values.repeat(self.size)
        self._sum(copies, torch.empty_like(copies))
        return copies[: len(values)]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.size > 1:
            dist.barrier()

    def _sum(self, flat: Tensor, received: Tensor) -> None:
        """Sum a tensor over the ranks, in place: each sums its part and hands it round.

        Args:
            flat: (size * n,); rank r sums the n elements from r * n on.
            received: of the same shape; overwritten by the parts of all ranks.
        """
        try:
            dist.all_to_all_single(received, flat)
            total, *others = received.chunk(self.size)
            for other in others:
                total += other
            dist.all_gather(list(flat.chunk(self.size)), total)
        except RuntimeError:
            # Another rank is gone. torchrun, which knows which and why, is about to end this one.
            time.sleep(GRACE)
            raise


ALONE = Ranks()


@contextmanager
def joined(size: int, device: str) -> Iterator[Ranks]:
    """Be one of the processes that train a run, until the block ends.

    Args:
        size: how many GPUs the run takes; 1 needs no torchrun.
        device: "cpu", where the processes share the CPU, or "cuda", where each takes its own GPU.

    Raises:
        ValueError: torchrun has started another number of processes, or there are fewer GPUs.
    """
    if size == 1:
        yield ALONE
        return
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != size:
        raise ValueError(
            f"gpus is {size}, and the run is trained by as many processes, but here are {started}: "
            f"`bop2ndorder train` starts them, or torchrun --standalone --nproc-per-node={size}"
        )
    card = None
    if device != "cpu":
        use_deterministic_kernels(device)  # which is to be before CUDA is used
        if torch.cuda.device_count() < size:
            raise ValueError(
                f"gpus is {size}, but CUDA sees {torch.cuda.device_count()} GPUs: lower gpus in "
                "params.yaml, or let CUDA_VISIBLE_DEVICES name more"
            )
        card = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(card)
    backend = "gloo" if device == "cpu" else "nccl"
    dist.init_process_group(backend, timeout=PATIENCE, device_id=card)
    if device == "cpu" and dist.get_rank() == 0:
        print(f"gpus: {size} processes on the CPU, since there is no GPU", file=sys.stderr)
    yield Ranks(dist.get_rank(), size)
    # Not after an error: then others may still wait for this one, and are ended by torchrun.
    dist.destroy_process_group()
