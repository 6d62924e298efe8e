"""GPUs for each of the processes that share a machine.

Snakemake counts GPUs but does not hand them out: every process would take the first. Here a card
has as many places as runs may share it, and a process holds the locks of its places, on files named
after card and place, in the user's own folder on this machine. The system takes locks back when a
process ends, in whatever way, so nothing has to be tidied up.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = "/dev/nvidia[0-9]*"  # one for each card, where NVIDIA's driver is at work
INTERVAL = 0.5  # seconds between two looks at the locks
UNLISTED = (
    "NVIDIA's driver is at work here, but nvidia-smi is missing or lists no GPU: GPUs cannot be "
    "shared out, and every run uses the first. nvidia-smi comes with the driver; in a container "
    "it is there if NVIDIA_DRIVER_CAPABILITIES names `utility`"
)


@contextmanager
def leased_gpus(count: int = 1, runs_per_gpu: int = 1) -> Iterator[list[str]]:
    """Hold GPUs, and let CUDA see no others until the block ends.

    To be entered before CUDA starts. A run of one GPU takes a place on the card that the fewest
    share; one of several takes whole cards, all at once or none, so that no two wait for each
    other. Waits while too few are free, and says so on stderr. Does nothing where there is no GPU,
    and within a Slurm job, to which Slurm gives GPUs of its own.

    Args:
        count: GPUs of the run.
        runs_per_gpu: how many runs of one GPU may share a card; the same in all processes that the
            user has on the machine.

    Yields:
        the GPUs, as CUDA_VISIBLE_DEVICES names them; none where nothing was done.

    Raises:
        ValueError: the process may use fewer GPUs than the run takes.
    """
    gpus = {} if "SLURM_JOB_ID" in os.environ else visible_gpus()
    if not gpus:
        yield []
        return
    cards = {uuid: name for name, uuid in gpus.items()}
    if count > len(cards):
        raise ValueError(
            f"the run takes {count} GPUs and {len(cards)} can be used here "
            f"({', '.join(cards.values())}): lower its `gpus` in params.yaml, or train it elsewhere"
        )
    outer = os.environ.get(VISIBLE)
    taken, locks = _take(cards, count, runs_per_gpu)
    os.environ[VISIBLE] = ",".join(taken)
    try:
        yield taken
    finally:
        for lock in locks:
            lock.release()
        os.environ.pop(VISIBLE)
        if outer is not None:
            os.environ[VISIBLE] = outer


def places(gpus: int, runs_per_gpu: int) -> int:
    """What a run takes of Snakemake's resource gpu, which counts places: `runs_per_gpu` a card.

    Args:
        gpus: cards of the run; several are taken whole.
        runs_per_gpu: as in `leased_gpus`.
    """
    return 1 if gpus == 1 else gpus * runs_per_gpu


def visible_gpus() -> dict[str, str]:
    """The GPUs that this process may use, found without starting CUDA.

    Says on stderr where CUDA may find some that nvidia-smi does not list.

    Returns:
        the name of each, as CUDA_VISIBLE_DEVICES takes it -> its UUID. Where that variable is set,
        the names are those it holds, up to the first that fits no GPU, as CUDA reads it. Its
        numbers are taken for those of nvidia-smi: where GPUs of several kinds are mixed, that needs
        CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    listing = ""
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    found = re.findall(r"^ *(GPU|MIG) .*\(UUID: (\S+)\)", listing, re.MULTILINE)
    if not found and glob(DEVICES) and os.environ.get(VISIBLE) not in ("", "-1"):
        print(UNLISTED, file=sys.stderr, flush=True)
    cards = [uuid for kind, uuid in found if kind == "GPU"]
    if VISIBLE not in os.environ:
        # Of a card that is split (MIG), CUDA takes the parts only.
        pairs = pairwise([*found, ("", "")])
        return {uuid: uuid for (kind, uuid), (after, _) in pairs if (kind, after) != ("GPU", "MIG")}
    gpus = {}
    for name in map(str.strip, os.environ[VISIBLE].split(",")):
        if name.isdecimal():
            fits = cards[int(name) : int(name) + 1]
        else:
            fits = [uuid for _, uuid in found if name and uuid.startswith(name)]
        if len(fits) != 1:
            break
        gpus[name] = fits[0]
    return gpus


def _take(
    cards: dict[str, str], count: int, runs_per_gpu: int
) -> tuple[list[str], list["FileLock"]]:
    """Take a place on a card, or whole cards, once there are enough; their names, and the locks.

    Args:
        cards: UUID of each -> its name.
        count, runs_per_gpu: as in `leased_gpus`.
    """
    # Not above: where there is no GPU, its tenth of a second is not spent.
    from filelock import FileLock

    folder = Path(tempfile.gettempdir(), f"bop2ndorder-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    each = 1 if count == 1 else runs_per_gpu  # places taken of a card
    waiting = False
    while True:
        # One process looks at a time: what it finds locked is held by a run.
        with FileLock(folder / "choice"):
            free, held = {}, []
            for uuid, name in cards.items():
                free[uuid], others = _lock(folder / f"{uuid}.{i}" for i in range(runs_per_gpu))
                held += [f"{name} by process {other.read_text()}" for other in others]
            emptiest = sorted(cards, key=lambda uuid: len(free[uuid]), reverse=True)[:count]
            taken = []
            if all(len(free[uuid]) >= each for uuid in emptiest):
                taken = [free[uuid].pop(0) for uuid in emptiest for _ in range(each)]
            for lock in itertools.chain(*free.values()):
                lock.release()
            for lock in taken:
                Path(lock.lock_file).write_text(str(os.getpid()), encoding="utf-8")
        what = "a GPU" if count == 1 else f"{count} GPUs"
        if taken:
            names = [name for uuid, name in cards.items() if uuid in emptiest]
            print(f"on GPU {', '.join(names)}", file=sys.stderr, flush=True)
            return names, taken
        if not waiting:
            print(f"waiting for {what}, held are {', '.join(held)}", file=sys.stderr, flush=True)
        waiting = True
        time.sleep(INTERVAL)


def _lock(files: Iterable[Path]) -> tuple[list["FileLock"], list[Path]]:
    """Lock those of the files that nobody else holds; the locks, and the files of the others."""
    from filelock import FileLock, Timeout

    locks, others = [], []
    for file in files:
        try:
            lock = FileLock(file)
            lock.acquire(blocking=False)
            locks.append(lock)
        except Timeout:
            others.append(file)
    return locks, others
