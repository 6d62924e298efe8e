"""Contestants: processes that set up, then do a measured piece of work each time they are told to.

Each stands in a process of its own, with its own libraries and number of threads, and sleeps while
another one works: so all can take turns within one run, whatever the machine's mood.

Standard library only, since the larq contestant runs in another environment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ANSWER = "contestant: "


def serve(step: Callable[[], None], units: int, seconds: float, at_least: int = 3) -> None:
    """Within a contestant: for each line on the standard input, work and print units per second.

    Args:
        step: does one step.
        units: what a step gets done, such as images.
        seconds: about how long a turn shall take.
        at_least: steps of a turn.
    """
    for _ in range(2):
        step()
    started = time.perf_counter()
    step()
    steps = max(at_least, round(seconds / (time.perf_counter() - started)))
    print(ANSWER, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        print(f"{ANSWER}{steps * units / (time.perf_counter() - started)}", flush=True)


class Contestant:
    """A contestant's process, ready to be told to work."""

    def __init__(
        self,
        name: str,
        script: str,
        arguments: Sequence[object],
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
    ):
        self.name = name
        threads = str(arguments[-1])
        self.process = subprocess.Popen(
            [python, str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": threads,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                **(variables or {}),
            },
        )  # fmt: skip
        self._answer()

    def work(self) -> float:
        """Units per second of one turn."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._answer())

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> str:
        # What libraries print goes to the same place; what a contestant says starts like this.
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return line.removeprefix(ANSWER)
        raise RuntimeError(f"the contestant {self.name} ended with {self.process.wait()}")


def take_turns(contestants: Sequence[Contestant], turns: int) -> dict[str, list[float]]:
    """Units per second of each in each turn, working one after the other; all end after that."""
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for _ in range(turns):
        for contestant in contestants:
            rates[contestant.name].append(contestant.work())
    for contestant in contestants:
        contestant.stop()
    return rates
