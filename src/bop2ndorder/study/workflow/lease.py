"""A GPU of its own for each of the processes that share a machine.

Snakemake counts GPUs but does not hand them out: every process would take the first. Here each
holds the lock of one, on a file named after the card, in the user's own folder on this machine. The
system takes locks back when a process ends, in whatever way, so nothing has to be tidied up.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

VISIBLE = "CUDA_VISIBLE_DEVICES"
INTERVAL = 0.5  # seconds between two looks at the locks


@contextmanager
def leased_gpu(count: int = 1) -> Iterator[str | None]:
    """Hold GPUs, and let CUDA see no others until the block ends.

    To be entered before CUDA starts. Takes all at once or none, so that no two processes wait for
    each other. Waits while too few are free, and says so on stderr. Does nothing where there is no
    GPU, and within a Slurm job, to which Slurm gives GPUs of its own.

    Args:
        count: how many.

    Yields:
        the GPUs, as CUDA_VISIBLE_DEVICES names them, or None.

    Raises:
        ValueError: the process may use fewer GPUs than that.
    """
    gpus = {} if "SLURM_JOB_ID" in os.environ else visible_gpus()
    if not gpus:
        yield None
        return
    if count > len(gpus):
        raise ValueError(
            f"the run takes {count} GPUs and {len(gpus)} can be used here ({', '.join(gpus)}): "
            "lower its `gpus` in params.yaml, or train it elsewhere"
        )
    outer = os.environ.get(VISIBLE)
    taken = _take(gpus, count)
    os.environ[VISIBLE] = ",".join(taken)
    try:
        yield os.environ[VISIBLE]
    finally:
        for lock in taken.values():
            lock.release()
        os.environ.pop(VISIBLE)
        if outer is not None:
            os.environ[VISIBLE] = outer


def visible_gpus() -> dict[str, str]:
    """The GPUs that this process may use, found without starting CUDA.

    Returns:
        the name of each, as CUDA_VISIBLE_DEVICES takes it -> its UUID. Where that variable is set,
        the names are those it holds, up to the first that fits no GPU, as CUDA reads it. Its
        numbers are taken for those of nvidia-smi: where GPUs of several kinds are mixed, that needs
        CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if not shutil.which("nvidia-smi"):
        return {}
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    found = re.findall(r"^ *(GPU|MIG) .*\(UUID: (\S+)\)", listing, re.MULTILINE)
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


def _take(gpus: dict[str, str], count: int) -> dict[str, "FileLock"]:
    """The first GPUs that are free or become so, and the lock of each."""
    # Not above: where there is no GPU, its tenth of a second is not spent.
    from filelock import FileLock, Timeout

    folder = Path(tempfile.gettempdir(), f"bop2ndorder-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    files = {gpu: folder / uuid for gpu, uuid in gpus.items()}
    locks = {gpu: FileLock(file) for gpu, file in files.items()}
    waiting = False
    while True:
        taken: dict[str, FileLock] = {}
        for gpu, lock in locks.items():
            if len(taken) < count:
                with suppress(Timeout):
                    lock.acquire(blocking=False)
                    taken[gpu] = lock
        if len(taken) == count:
            for gpu in taken:
                files[gpu].write_text(str(os.getpid()), encoding="utf-8")
            print(f"on GPU {', '.join(taken)}", file=sys.stderr, flush=True)
            return taken
        for lock in taken.values():
            lock.release()
        if not waiting:
            held = (
                f"{gpu} by process {file.read_text()}"
                for gpu, file in files.items()
                if gpu not in taken
            )
            what = "a GPU" if count == 1 else f"{count} GPUs"
            print(f"waiting for {what}, held are {', '.join(held)}", file=sys.stderr, flush=True)
        waiting = True
        time.sleep(INTERVAL)
