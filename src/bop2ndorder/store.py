"""Folders that are made whole or not at all, and the done.json that vouches for their files."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DONE = "done.json"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that takes the place of `out` once the block has ended.

    An exception in the block removes the half-made folder and leaves an earlier `out` as it was.
    The half-made folder has a fixed name, so that what a killed process left is removed by the
    next attempt; two processes must therefore not make the same `out` at once.
    """
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value) -> None:
    """Write `value` as JSON: sorted keys, a line break at the end."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path):
    """Read a JSON file; `ValueError` names it where it holds something else."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def write_done(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write done.json, last of all: size and SHA-256 of the files of `folder`.

    Args:
        folder: the folder to vouch for.
        names: files that count; by default all that are there.
    """
    paths = sorted(folder.iterdir() if names is None else (folder / name for name in names))
    files = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in paths
    }
    write_json(folder / DONE, {"files": files})


def damaged_file(folder: Path, hashes: bool = False) -> str | None:
    """Name of the first file of `folder` that is not as its done.json says, or None.

    Sizes are compared, and with `hashes` the contents too. A missing or unreadable done.json is
    the damaged file itself.
    """
    try:
        files = read_json(folder / DONE)["files"]
        expected = {name: (facts["size"], facts["sha256"]) for name, facts in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DONE
    for name, (size, sha256) in expected.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return name
        if hashes and file_sha256(path) != sha256:
            return name
    return None
