"""Failures: what a command says of them, the note that each leaves, and what is missing for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ...store import DONE

if TYPE_CHECKING:
    from ..config import Run
    from .products import Workflow

# What a command says in one sentence instead of a traceback: bad input, a full disk, a lost file.
EXPECTED = (ValueError, OSError, RuntimeError, FloatingPointError, SafetensorError)


@contextmanager
def noted(note: Path, folder: Path) -> Iterator[None]:
    """Leave a note of why the block failed; one of an earlier attempt is removed.

    Args:
        note: the file for it.
        folder: what the block makes; named where the system names no file, as for a full disk.
    """
    note.unlink(missing_ok=True)
    try:
        with _place(folder):
            yield
    except Exception as error:
        reason = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(reason + "\n", encoding="utf-8")
        except OSError:  # the disk may be full
            note.unlink(missing_ok=True)
        raise


@contextmanager
def _place(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and (error.errno is None or error.filename is not None):
            raise
        if "deserializing" in str(error):
            sentence = f"a file of {folder.name} is not what was written ({error})"
            raise ValueError(sentence) from error
        sentence = f"a file in {folder} cannot be written, is the disk full? ({error})"
        raise OSError(sentence) from error


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
        with suppress(FileNotFoundError):
            text = workflow.note(name).read_text(encoding="utf-8").strip()
            return text if name == run.id else f"its data set {name}: {text}"
    folder, record, log = (f(run.id) for f in (workflow.run, workflow.record, workflow.log))
    if (record / "metrics.json").exists():
        return f"a file in {record} is damaged: `git checkout {record}` restores it"
    if (folder / DONE).exists():
        return "trained, but not evaluated yet"
    if log.exists() and not workflow.origin(run.id).exists():
        return f"its training was stopped, by a kill or for want of memory: see {log}"
    return "not trained yet"
