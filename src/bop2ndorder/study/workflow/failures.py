"""Failures: the sentence and the log that each leaves, and what is missing for it."""

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ...store import DONE
from ..run.evaluate import RECORD

if TYPE_CHECKING:
    from ..config.runs import Run
    from .products import Workflow

# Numbers of errors that a file gives which cannot be written, mostly for want of space.
UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Failed(Exception):
    """A sentence for the user: of a mistake in what was asked for, or naming a failure's log."""


# Errors whose text is a sentence; of others the type is said too.
SPEAKING = (Failed, ValueError, OSError, RuntimeError, FloatingPointError)


@contextmanager
def noted(note: Path, folder: Path | None = None) -> Iterator[None]:
    """Say in one sentence why the block failed, and leave the traceback in a file.

    Args:
        note: the file: the sentence, below it the traceback. That of an earlier attempt is removed.
        folder: what the block makes; named where the disk is full, for the system names no file.

    Raises:
        Failed: names the note, or comes from within the block, where all has been said.
    """
    try:
        with suppress(OSError):  # a medium may be read-only
            note.unlink(missing_ok=True)
        yield
    except Failed:
        raise
    except Exception as error:
        text = sentence(error, folder)
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{text}\n\n{traceback.format_exc()}", encoding="utf-8")
        except OSError:  # the disk may be full
            with suppress(OSError):
                note.unlink(missing_ok=True)
            raise Failed(text) from error
        raise Failed(f"{text} (traceback in {note})") from error


def sentence(error: Exception, folder: Path | None) -> str:
    """What an exception says, in one line: of several, as a notebook's, the first and the last.

    Args:
        folder: as `noted` takes it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    text = " ... ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))
    unwritten = isinstance(error, OSError) and error.errno in UNWRITTEN and error.filename is None
    if folder and (unwritten or isinstance(error, SafetensorError)):
        if "deserializing" in text:
            return f"a file of {folder.name} is not what was written ({text})"
        return f"a file in {folder} cannot be written, is the disk full? ({text})"
    return text if isinstance(error, SPEAKING) and text else f"{type(error).__name__}: {text}"


def missing_runs(workflow: "Workflow") -> list[dict[str, str]]:
    """The runs of the scale that have no record, in the order of params.yaml.

    Returns:
        for each its id (run), experiment and arm (joined by commas where there are several), seed,
        and the reason, as far as one is known.
    """
    entries: dict[str, list] = {}
    for entry in workflow.study.entries(workflow.scale):
        if not workflow.recorded(entry.run.id):
            entries.setdefault(entry.run.id, []).append(entry)
    return [
        {
            "run": run,
            "experiment": ", ".join(dict.fromkeys(entry.experiment for entry in found)),
            "arm": ", ".join(dict.fromkeys(entry.arm for entry in found)),
            "seed": str(found[0].run.settings.seed),
            "reason": _reason(workflow, found[0].run),
        }
        for run, found in entries.items()
    ]


def _reason(workflow: "Workflow", run: "Run") -> str:
    for name in (run.id, run.data):
        with suppress(FileNotFoundError, ValueError):  # a kill may have left it empty
            text, *_ = workflow.note(name).read_text(encoding="utf-8").splitlines()
            return text if name == run.id else f"its data set {name}: {text}"
    folder, record, log = (f(run.id) for f in (workflow.run, workflow.record, workflow.log))
    if (record / RECORD[0]).exists():
        return f"a file in {record} is damaged: `git checkout {record}` restores it"
    if (folder / DONE).exists():
        return "trained, but not evaluated yet"
    if log.exists() and not workflow.origin(run.id).exists():
        return f"its training is at work, or was stopped by a kill or for want of memory: see {log}"
    return "not trained yet"
