"""Evaluation: a finished run's files, checked, in; its record for git out.

Training ends with the network's answers to the images that it is judged on; here they are judged.
So the judging of a run costs no start of torch, and works wherever the run's files are.
"""

import csv
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ...store import DONE, damaged_file, read_json, write_json

RECORD = ("metrics.json", "history.csv", "provenance.json")
TIMES = "images_per_second"
# What a record says of how its run was made, and what no other run of the same result repeats.
ORIGIN = (
    "code", "commit", "dirty", "versions", "device", "capability", "processor",
    "system", "threads", "numerics", "precision", "graph", "train_seconds", TIMES,
)  # fmt: skip
PREFIX = {"validation": "val", "test": "test"}


def evaluate(run: Path, record: Path, origin: Path) -> dict[str, Any]:
    """Write the record of a finished run.

    A record that is there already and has the same metrics and history is left as it is, so that
    reproducing a result changes nothing in git.

    Args:
        run: folder with weights, predictions, history, run.json and done.json.
        record: folder for metrics.json, history.csv and provenance.json.
        origin: what the training noted of its code, machine and times. Where that is lost, as for
            a run that `dvc pull` brought, or is of another result, the record says null of it.

    Returns:
        the metrics.

    Raises:
        ValueError: a file of the run is missing or is not what training wrote.
    """
    metrics, history = judge(run)
    if not _same(record, metrics, history):
        record.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "history.csv", record / "history.csv")
        facts = {**read_json(run / "run.json"), **_origin(origin, metrics["weights_sha256"])}
        write_json(record / "provenance.json", facts)
        write_json(record / "metrics.json", metrics)
    return metrics


def judge(run: Path) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Metrics and history of a finished run; raises `ValueError` where a file is damaged."""
    if damaged := damaged_file(run, hashes=True):
        raise ValueError(
            f"{run / damaged} is missing or damaged: restore it with `dvc checkout --force "
            f"{run.parent}`, or remove {run} and run `snakemake` to train it again"
        )
    history = read_history((run / "history.csv").read_text(encoding="utf-8"))
    metrics = {
        "run": run.name,
        **score(run / "predictions.safetensors"),
        **last_epoch(history),
        "weights_sha256": read_json(run / DONE)["files"]["weights.safetensors"]["sha256"],
    }
    return metrics, history


def score(predictions: Path) -> dict[str, float | int]:
    """Top-1 and top-5 accuracy in percent, and mean cross-entropy in nats.

    The names begin with test_, or with val_ where the answers are those to validation images.
    """
    with safe_open(predictions, "numpy") as found:
        prefix = PREFIX[found.metadata()["split"]]
        top, labels, loss = (found.get_tensor(name) for name in ("top", "labels", "loss"))
    hits = top == labels[:, None]
    return {
        f"{prefix}_top1_percent": 100 * float(hits[:, 0].mean()),
        f"{prefix}_top5_percent": 100 * float(hits.any(axis=1).mean()),
        f"{prefix}_loss": float(loss.astype("float64").mean()),
        f"{prefix}_images": len(hits),
    }


def last_epoch(history: list[dict[str, float | None]]) -> dict[str, float | int]:
    """What the last epoch says: the headline is never a best epoch."""
    last = history[-1]
    return {
        "train_loss": last["train_loss"],
        "train_accuracy_percent": 100 * last["train_accuracy"],
        "flip_rate": last["flip_rate"],
        "epochs": int(last["epoch"]),
        "images_seen": int(last["images_seen"]),
    }


def accuracy(metrics: dict[str, Any]) -> tuple[str, float]:
    """What a run was judged on, and its top-1 accuracy there in percent."""
    [found] = [
        (split, metrics[f"{prefix}_top1_percent"])
        for split, prefix in PREFIX.items()
        if f"{prefix}_top1_percent" in metrics
    ]
    return found


def read_history(text: str) -> list[dict[str, float | None]]:
    """Rows of a history.csv; empty fields are None."""
    return [
        {name: float(value) if value else None for name, value in row.items()}
        for row in csv.DictReader(text.splitlines())
    ]


def _same(record: Path, metrics: dict[str, Any], history: list[dict]) -> bool:
    if not all((record / name).exists() for name in RECORD):
        return False
    try:
        recorded = read_history((record / "history.csv").read_text(encoding="utf-8"))
        return read_json(record / "metrics.json") == metrics and recorded == history
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _origin(path: Path, weights: str) -> dict[str, Any]:
    try:
        noted = read_json(path)
    except (OSError, ValueError):
        noted = {}
    known = noted.get("weights_sha256") == weights
    return {name: noted.get(name) if known else None for name in ORIGIN}
