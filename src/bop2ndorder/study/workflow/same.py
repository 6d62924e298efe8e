"""Show that the code at hand does what the first of its class does, bit for bit, and note it.

Both train short versions of every kind of run that the study has, with native and with portable
numerics, the older one out of git's history. Equal means: the same prepared files; after every step
of every optimizer the same weights, gradients and states; the same histories, metrics, weights and
predictions; and the same again where the code at hand takes up the other's checkpoint. The code at
hand may say more than the first: new columns of a history, new tensors of a state.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...store import read_json, write_json
from ..config.codes import MODULES, code_at_hand, find_class, hash_of, read_classes, write_classes
from ..config.keys import PACKAGE
from ..config.settings import Settings
from ..config.study import Study
from ..numerics import PINS
from .kinds import Short, draw, kinds, task
from .processes import CALLER, available_cores

CHUNK = 12  # kinds that a process trains; to start one takes as long as some of them
# Settings that decide no bit on the CPU: a code that lacks them trains the same there.
OF_GPUS = {"precision", "gpus"}
SECONDS = 2.0  # of a core, for one kind by both codes with both numerics


def begin() -> str:
    """Begin a class with the committed code, which is meant to do something new; a sentence.

    Raises:
        ValueError: the code is in a class already, or it is not that of HEAD.
    """
    classes, code = read_classes(), code_at_hand()
    if find_class(classes, code):
        raise ValueError("the code at hand is known already; a new class begins with new code")
    entry = _entry(code)
    with tempfile.TemporaryDirectory() as scratch:
        _extract(entry, Path(scratch))
    write_classes([*classes, [entry]])
    return f"A class of codes begins with {_short(entry)}: commit codes.json."


def same(study: Study, only: str = "", check: bool = False) -> tuple[bool, str]:
    """Hold the code at hand against the first of its class; of the newest where it is in none.

    Args:
        study: whose kinds of run are trained.
        only: only kinds with this text in their names; then nothing is noted.
        check: prove it though it is noted already.

    Returns:
        whether they do the same, and sentences for the user.

    Raises:
        ValueError: there is no class, git lacks its commit, or no kind has that name.
    """
    classes, code = read_classes(), code_at_hand()
    known = find_class(classes, code)
    if known and not (check or only):
        noted = f"that the code at hand does the same as {_short(known[0])}."
        return True, f"It is noted already {noted}"
    if not classes:
        raise ValueError("no code is known yet: commit, and call `bop2ndorder same --begin`")
    entries = known or classes[-1]
    chosen = {name: settings for name, settings in kinds(study).items() if only in name}
    if not chosen:
        names = [*kinds(study)]
        some = f"{', '.join(names[:3])} and {len(names) - 3} more"
        raise ValueError(f"no kind of run has {only!r} in its name; there are {some}")
    with tempfile.TemporaryDirectory(prefix="same-") as scratch:
        found = _compare(entries[0], chosen, Path(scratch))
    new = [name for name, what in found.items() if what is NEW]
    differences = [f"  {name}: {what}" for name, what in found.items() if what and what is not NEW]
    if differences or len(new) == len(found):
        head = f"{len(differences)} of {len(found)} differ from {_short(entries[0])}"
        return False, "\n".join([f"{head}, nothing is noted; what differs first:", *differences])
    equal = f"{len(found) - len(new)} kinds of run and data do the same as {_short(entries[0])}"
    text = f"{equal}, bit for bit on the CPU{f'; {len(new)} are new to it' if new else ''}."
    if known or only:
        return True, text
    entries.append({**_entry(code), "kinds": len(found) - len(new), "device": "cpu"})
    write_classes(classes)
    return True, f"{text} It is noted: commit codes.json."


NEW = "the first code does not have it"


def _compare(entry: dict[str, Any], short: Short, scratch: Path) -> dict[str, str | None]:
    """Kind of run or data set -> what the code at hand does otherwise first, if anything."""
    cores = available_cores()
    seconds = 10 + SECONDS * len(short) / cores
    print(f"{len(short)} kinds of run by two codes: about {seconds:.0f} s", file=sys.stderr)
    packages = {"first": _extract(entry, scratch / "code"), "here": PACKAGE}
    draw(scratch / "images")
    work = task(short, scratch / "images", scratch / "first-native")
    running: set[subprocess.Popen] = set()

    def exercised(part: str, names: list[str], numerics: str) -> dict[str, str | None]:
        folders = {code: scratch / f"{code}-{numerics}" for code in packages}
        for code, package in packages.items():
            asked = {"prepare": {}, "train": {}, part: {name: work[part][name] for name in names}}
            asked["resume"] = str(folders["first"]) if code == "here" else None
            pins = PINS["torch"] if numerics == "portable" else {}
            _exercise(package, asked, folders[code], names[0], pins, running)
        bar.update(len(names))
        answers = ([read_json(f / f"{name}.json") for f in folders.values()] for name in names)
        return {name: _difference(*both) for name, both in zip(names, answers, strict=True)}

    names = [name for name in work["train"] if _known(packages["first"], short[name])]
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with (
        tqdm(total=len(work["prepare"]) + 2 * len(names), unit="kind") as bar,
        ThreadPoolExecutor(cores) as pool,
    ):
        try:
            found = exercised("prepare", list(work["prepare"]), "native")
            for numerics in ("native", "portable"):
                each = partial(exercised, "train", numerics=numerics)
                for part in pool.map(each, chunks):
                    found |= {name: found.get(name) or what for name, what in part.items()}
            found |= dict.fromkeys(work["train"].keys() - set(names), NEW)
        finally:  # where it is interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(running):
                process.kill()
    return found


def _known(package: Path, settings: dict[str, Any]) -> bool:
    """Whether a package has all settings that decide what a run does here, but for defaults."""
    [place] = package.rglob("settings.py")  # it was in another folder once
    text = place.read_text(encoding="utf-8")
    fields = Settings.model_fields
    return all(
        value == fields[name].default or re.search(rf"^    {name}: ", text, re.MULTILINE)
        for name, value in settings.items()
        if name not in OF_GPUS
    )


def _exercise(
    package: Path,
    asked: dict[str, Any],
    out: Path,
    name: str,
    pins: dict[str, str],
    running: set[subprocess.Popen],
) -> None:
    """Have a package's own code do what is asked for, in a process of its own."""
    out.mkdir(exist_ok=True)
    request = out.with_name(f"{out.name}-{name}.json")
    write_json(request, asked)
    variables = {
        **os.environ,
        **pins,
        "PYTHONPATH": str(package.parent),
        # Threads that wait for others shall not keep the cores from them.
        "OMP_WAIT_POLICY": "passive",
        CALLER: str(os.getpid()),
    }
    command = [sys.executable, "-m", package.name, "exercise", str(request), str(out)]
    process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    running.add(process)
    _, errors = process.communicate()
    running.discard(process)
    if process.returncode:
        raise RuntimeError(f"the code in {package} cannot be exercised: {errors.strip()[-500:]}")


def _difference(first: dict[str, Any], here: dict[str, Any]) -> str | None:
    if "error" in first:
        return NEW
    if "error" in here:
        return f"fails with {here['error']}"
    resumed = here.get("resumed")
    return _differs(first, here) or (resumed and _differs(_end(first, resumed), resumed, RESUMED))


RESUMED = " where it takes up the first's checkpoint"


def _end(first: dict[str, Any], resumed: dict[str, Any]) -> dict[str, Any]:
    """The first's trace, with as many of its last steps as were made after a checkpoint."""
    steps = first["steps"][-len(resumed["steps"]) :]
    numbers = [step["step"] for step in resumed["steps"]]
    return {**first, "steps": [{**s, "step": n} for s, n in zip(steps, numbers, strict=False)]}


def _differs(first: dict[str, Any], here: dict[str, Any], when: str = "") -> str | None:
    """The first thing that one trace says and the other does not, in the order of training."""
    for part, place in (("steps", "step"), ("history", "epoch")):
        for one, other in zip_longest(first.get(part, []), here.get(part, []), fillvalue={}):
            for key in one or other:
                if one.get(key) != other.get(key):
                    return f"{place} {(one or other)[place]:g}: {key}{when}"
    for part in ("metrics", "files"):
        for key, value in first.get(part, {}).items():
            if here.get(part, {}).get(key) != value:
                return f"{part}: {key}{when}"
    return None


def _extract(entry: dict[str, Any], folder: Path) -> Path:
    """Take an entry's code out of git's history; the folder of its package.

    Raises:
        ValueError: the history lacks it, or the commit does not hold the code that the entry names.
    """
    commit = entry["commit"]
    folder.mkdir(exist_ok=True)
    try:
        _git("merge-base", "--is-ancestor", commit, "HEAD")
        archive = _git("archive", commit, "src")
    except subprocess.CalledProcessError as error:
        raise ValueError(
            f"commit {commit[:10]}, which codes.json names, is not in the history of HEAD; a "
            f"shallow clone needs `git fetch --unshallow` ({error.stderr.decode().strip()})"
        ) from None
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    package = folder / "src" / PACKAGE.name
    for part in MODULES:
        if hash_of(entry, part, package) != entry[part]["hash"]:
            raise ValueError(
                f"commit {commit[:10]} does not hold the {part} code that is named for it"
            )
    return package


def _entry(code: dict[str, Any]) -> dict[str, Any]:
    return {"commit": _git("rev-parse", "HEAD").decode().strip(), "date": str(date.today()), **code}


def _short(entry: dict[str, Any]) -> str:
    return f"commit {entry['commit'][:10]} of {entry['date']}"


def _git(*arguments: str) -> bytes:
    top = ["git", "-C", str(PACKAGE.parents[1])]
    return subprocess.run([*top, *arguments], check=True, capture_output=True).stdout
