"""A run's files, and its record in git, read as a whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .evaluate import RECORD

# What a training leaves, beside the done.json that vouches for it; the record is made of it.
RUN_FILES = ("weights.safetensors", "predictions.safetensors", "history.csv", "run.json")


@dataclass(frozen=True)
class Record:
    """What git keeps of a run.

    Attributes:
        metrics, provenance: the content of metrics.json and provenance.json.
        history: the text of history.csv, a line an epoch after the first.
    """

    metrics: dict[str, Any]
    provenance: dict[str, Any]
    history: str


def read_record(folder: Path) -> Record | None:
    """The record in a folder named after its run; None where a file is missing or damaged."""
    try:
        metrics, history, provenance = (folder.joinpath(n).read_text("utf-8") for n in RECORD)
        record = Record(json.loads(metrics), json.loads(provenance), history)
        header, *rows = record.history.split("\n")
        whole = (
            record.provenance["run"] == folder.name
            and header.startswith("epoch,")
            and (len(rows), rows[-1:]) == (record.metrics["epochs"] + 1, [""])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None
