"""A run of several GPUs: as many processes of one command, of which none outlives another.

torchrun's own Python interface starts them. It ends those that are left as soon as one fails, and
all of them where the command is ended; where the command is killed they end by themselves
(processes.py). What they leave on the way is a whole checkpoint.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .failures import sentence
from .processes import CALLER


def is_rank() -> bool:
    """Whether torchrun has started this process."""
    return "RANK" in os.environ


def start_ranks(arguments: list[str], size: int) -> None:
    """Call `bop2ndorder` in several processes, and wait until all have ended.

    The first writes to this one's stderr. What the others write there is shown where they fail.

    Args:
        arguments: of the command.
        size: how many processes.

    Raises:
        RuntimeError: one has failed, and the others were ended; says which, and why.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM has ended this process, and it all ranks.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # All that torchrun has to say of a failure is in the exception that it raises.
    logger = logging.getLogger("torch.distributed.elastic")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    os.environ[CALLER] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="bop2ndorder-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=size,
            run_id="run",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # at a port that is free
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder, dict.fromkeys(range(1, size), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "bop2ndorder", *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            for log in Path(folder).glob(f"*/*/{rank}/stderr.log"):
                error.add_note(f"stderr of rank {rank}:\n{log.read_text('utf-8', 'replace')}")
            raise RuntimeError(_said(failure.message, failure.exitcode, rank, size)) from error
        except SignalException as end:
            if end.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + end.sigval)


def _said(message: str | dict, code: int, rank: int, size: int) -> str:
    """Why a rank failed: what it said itself (see `told`), or what ended it."""
    if isinstance(message, dict):
        return message["message"].partition(": ")[2]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"rank {rank} of the run's {size} {how}, so the others were ended, too; the next call goes "
        "on from the last checkpoint"
    )


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Let the process that has started this one say why the block failed, and end it at once.

    Args:
        folder: what the block makes, as `noted` takes it.

    Raises:
        SystemExit: it has failed.
    """
    # It passes Ctrl-C on: Python would wait for the others' gradients first.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    except Exception as error:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(RuntimeError(sentence(error, folder)))
        sys.exit(1)
