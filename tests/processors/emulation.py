"""Commands on this processor and on emulated ones, as many at a time as there are cores."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
HOST = "this processor"
# Intel of two generations, and AMD: other vendors and caches lead libraries to other kernels.
EMULATED = ("Haswell", "Skylake-Client", "EPYC-Rome")
TOOLS = ("qemu-x86_64", "as", "ld")


def missing_tools() -> str:
    """A sentence that says how to get what is missing, empty where nothing is."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return missing and (
        f"{' and '.join(missing)} not found: emulating processors needs qemu-user and binutils, "
        "on Debian and Ubuntu `apt-get install qemu-user binutils`"
    )


class Processors:
    """Runs Python on processors by name.

    Args:
        folder: for what is needed to emulate, and what the commands print.
        pool: what they wait in.
    """

    def __init__(self, folder: Path, pool: ThreadPoolExecutor):
        self.folder, self.pool = folder, pool
        subprocess.run(["as", HERE / "fma.s", "-o", folder / "fma.o"], check=True)
        subprocess.run(["ld", "-shared", folder / "fma.o", "-o", folder / "fma.so"], check=True)

    def python(
        self, processor: str, *arguments: object, variables: Mapping[str, str], folder: Path
    ) -> Future[None]:
        """Start `python ARGUMENTS` in a folder; the future raises where it fails."""
        command = [sys.executable, *map(str, arguments)]
        if processor != HOST:
            variables = {**variables, "LD_PRELOAD": str(self.folder / "fma.so")}
            command = ["qemu-x86_64", "-U", "LD_PRELOAD", "-cpu", processor, *command]
        return self.pool.submit(self._run, processor, command, variables, folder)

    def _run(
        self, processor: str, command: list[str], variables: Mapping[str, str], folder: Path
    ) -> None:
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **variables}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = [line for line in done.stdout.splitlines() if not line.startswith("qemu-x86_64: w")]
        print(f"{processor}: {command[-3:]}, {time.monotonic() - started:.0f} s")
        if done.returncode:
            raise RuntimeError(f"{command} on {processor}:\n" + "\n".join(said[-20:]))


@contextmanager
def processors(folder: Path) -> Iterator[Processors]:
    """Processors; what waits still at the end is not begun."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            yield Processors(folder, pool)
        finally:
            pool.shutdown(cancel_futures=True)
