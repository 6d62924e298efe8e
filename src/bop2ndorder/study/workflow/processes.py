"""Processes of the workflow: none outlives the one that started it, no two work in one folder.

The Makefile calls this file by its path, before there is an environment: it needs nothing but
Python.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

# Process id of the caller, set for the processes that shall end with it.
CALLER = "BOP2NDORDER_CALLER"
INTERVAL = 0.5  # seconds


def end_with_caller() -> None:
    """End this process, as SIGTERM does, within a second after its caller has ended.

    The caller gives its process id in the environment and is the direct parent: shells on the way
    are replaced (`exec`). So it is noticed, too, when it ended before this was called.
    """
    caller = os.environ.pop(CALLER, "")
    if caller:
        threading.Thread(target=_watch, args=(int(caller),), daemon=True).start()


def _watch(caller: int) -> None:
    while os.getppid() == caller:
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)


def available_cores() -> int:
    """CPU cores that this process may use; where the system does not say, as macOS, all."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def stop_at_once() -> None:
    """Let SIGTERM and Ctrl-C end this process without further ado.

    For Snakemake: at SIGTERM it waits for running jobs, and for ever where the signal comes while
    it holds the lock that its handler takes. All that is there may be stopped at any moment, jobs
    end with their caller, and locks with their process: there is nothing to tidy up.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a script
            signal.signal(number, signal.SIG_DFL)


def tidy_at_sigterm() -> None:
    """Let SIGTERM end this process as an exception does, so that what is temporary is removed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def lock_folder(what: str) -> int:
    """Lock the current folder until this process ends, in whatever way.

    Args:
        what: the command that works here: make or snakemake.

    Returns:
        the descriptor of the lock's file. A process that inherits it keeps the lock up.

    Raises:
        BlockingIOError: another process has locked it.
    """
    path = Path(".snakemake", what + ".lock")
    path.parent.mkdir(exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 20).decode().strip()
        raise BlockingIOError(
            f"Another {what} is at work in {Path.cwd()}, process {holder}: wait until it has "
            f"ended, or end it with `kill {holder}`."
        ) from None
    os.pwrite(file, f"{os.getpid():<20}".encode(), 0)
    return file


if __name__ == "__main__":
    try:
        # What make starts inherits the lock: it is given up when the last of it has ended.
        os.set_inheritable(lock_folder("make"), True)
    except BlockingIOError as error:
        sys.exit(str(error))
    os.execvp(sys.argv[1], sys.argv[1:])
