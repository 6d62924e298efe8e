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

from bop2ndorder.study.numerics import PINS
from bop2ndorder.study.workflow.processes import available_cores

HERE = Path(__file__).parent
HOST = "this processor"
# Intel of two generations, and AMD: other vendors and caches lead libraries to other kernels.
EMULATED = ("Haswell", "Skylake-Client", "EPYC-Rome")
TOOLS = ("qemu-x86_64", "as", "ld")
# The tests' own process has set all pins.
ALL_PINS = PINS["torch"] | PINS["numpy"]
UNPINNED = {name: value for name, value in os.environ.items() if name not in ALL_PINS}


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
        folder: for what is needed to emulate.
        pool: what they wait in.
    """

    def __init__(self, folder: Path, pool: ThreadPoolExecutor):
        self.pool, self.running = pool, set()
        self.fma = folder / "fma.so"
        subprocess.run(["as", HERE / "fma.s", "-o", folder / "fma.o"], check=True)
        subprocess.run(["ld", "-shared", folder / "fma.o", "-o", self.fma], check=True)

    def python(
        self, processor: str, *arguments: object, variables: Mapping[str, str], folder: Path
    ) -> Future[None]:
        """Have `python ARGUMENTS` run in a folder.

        Args:
            processor: `HOST` or a name that `qemu-x86_64 -cpu help` lists.
            variables: of the environment, which else holds none of the pins.

        Returns:
            what raises `RuntimeError` if the command fails.
        """
        command = [sys.executable, *map(str, arguments)]
        if processor != HOST:
            variables = {**variables, "LD_PRELOAD": str(self.fma)}
            command = ["qemu-x86_64", "-U", "LD_PRELOAD", "-cpu", processor, *command]
        return self.pool.submit(self._run, processor, command, {**UNPINNED, **variables}, folder)

    def _run(
        self, processor: str, command: list[str], variables: dict[str, str], folder: Path
    ) -> None:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.add(process)
        said, _ = process.communicate()
        self.running.discard(process)
        if process.returncode:
            raise RuntimeError(f"{command} on {processor}:\n{said[-2000:]}")
        print(f"{processor}, {folder.parent.name}: {time.monotonic() - started:.0f} s")


@contextmanager
def processors(folder: Path) -> Iterator[Processors]:
    """Processors; what still runs or waits at the end is given up."""
    with ThreadPoolExecutor(available_cores()) as pool:
        on = Processors(folder, pool)
        try:
            yield on
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(on.running):
                process.kill()
