"""Short trainings, watched: what the code at hand does, put into digests that can be compared.

`same` holds two versions of the code against each other by it, `make test-processors` processors.
What is asked for and answered are JSON files, so that both sides may be of another time.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from ...store import file_sha256, read_json, write_json
from ..data import open_data, prepare
from .evaluate import TIMES, last_epoch, read_history, score
from .train import train


def exercise(task: Path, out: Path) -> None:
    """Do what a task asks for.

    Args:
        task: a JSON file that holds
            prepare: name -> {settings, folder}, data sets to make as `prepare` takes them;
            train: name -> {settings, data}, runs to train, `data` being the folder of a data set;
            resume: a folder that another exercise has filled, whose checkpoints after the first
                epoch are taken up as well, or null.
        out: folder for what comes out: the data sets; NAME.pt, a run's checkpoint after the first
            epoch; and NAME.json: of a data set {files: name -> SHA-256}; of a run what `_watched`
            gives, the same under `resumed`; of what fails {error: its text}.
    """
    asked = read_json(task)
    for name, data in asked["prepare"].items():
        write_json(out / f"{name}.json", _or_error(_prepared, data, out / name))
    for name, run in asked["train"].items():
        start = asked["resume"] and Path(asked["resume"], f"{name}.pt")
        write_json(out / f"{name}.json", _or_error(_trained, run, out / name, start))


def _or_error(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return function(*arguments)
    except Exception as error:  # of code that is being worked on: any
        return {"error": f"{type(error).__name__}: {error}"}


def _prepared(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    source = data["folder"] and Path(data["folder"])
    prepare(data["settings"], folder, source, progress=False)
    return {"files": {path.name: file_sha256(path) for path in sorted(folder.iterdir())}}


def _trained(run: dict[str, Any], folder: Path, start: Path | None) -> dict[str, Any]:
    found = _watched(run, folder, None)
    if start:
        found["resumed"] = _watched(run, folder, start)
    shutil.rmtree(folder)
    return found


def _watched(run: dict[str, Any], folder: Path, start: Path | None) -> dict[str, Any]:
    """Train a run, from a checkpoint where one is given.

    Returns:
        steps: for each step of each optimizer its number and digests of the weights, their
            gradients, and the optimizer's state by name; history, metrics: as in a record, without
            times; files: digests of the packed weights and of each tensor of the predictions.
    """
    checkpoint = folder.with_suffix(".partial")
    steps: list[dict[str, Any]] = []
    counts: Counter[int] = Counter()
    if start:
        shutil.copyfile(start, checkpoint)

    def watch(optimizer: Optimizer, *_: Any) -> None:
        counts[id(optimizer)] += 1
        steps.append({"step": counts[id(optimizer)], **_state(optimizer)})

    def keep(row: dict[str, Any]) -> None:
        if row["epoch"] == 1:
            shutil.copyfile(checkpoint, folder.with_suffix(".pt"))

    hook = register_optimizer_step_post_hook(watch)
    try:
        train(run["settings"], open_data(run["data"]), folder, checkpoint, on_epoch=keep)
    finally:
        hook.remove()
        checkpoint.unlink(missing_ok=True)
    history = read_history((folder / "history.csv").read_text(encoding="utf-8"))
    predictions = folder / "predictions.safetensors"
    tensors = load_file(predictions)
    return {
        "steps": steps,
        "history": [{k: v for k, v in row.items() if k != TIMES} for row in history],
        "metrics": {**score(predictions), **last_epoch(history)},
        "files": {
            "weights": file_sha256(folder / "weights.safetensors"),
            **{f"predictions.{name}": _digest([tensors[name]]) for name in sorted(tensors)},
        },
    }


def _state(optimizer: Optimizer) -> dict[str, str]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states = [optimizer.state[p] for p in parameters if p in optimizer.state]
    return {
        "weights": _digest(parameters),
        "gradients": _digest([p.grad for p in parameters]),
        **{
            f"state.{name}": _digest([state.get(name) for state in states])
            for name in sorted({name for state in states for name in state})
        },
    }


def _digest(values: list[Tensor | float | None]) -> str:
    """Hash of values in any order, since the order of an optimizer's parameters means nothing."""
    parts = []
    for value in values:
        if isinstance(value, Tensor):
            array = value.detach().cpu().contiguous()
            value = f"{array.dtype} {tuple(array.shape)} ".encode() + array.numpy().tobytes()
        else:
            value = repr(value).encode()
        parts.append(hashlib.sha256(value).digest())
    return hashlib.sha256(b"".join(sorted(parts))).hexdigest()[:16]
