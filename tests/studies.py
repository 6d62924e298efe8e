"""params.yaml cut down to what a test can train, and written as the tools read it."""

import json
from pathlib import Path

from bop2ndorder.config.document import read_yaml

ROOT = Path(__file__).resolve().parents[1]


def real() -> dict:
    """The content of the project's params.yaml."""
    return read_yaml(ROOT / "params.yaml")


def cut_down(limit: int = 20, batch_size: int = 10) -> dict:
    """The whole study, but at the scale `quick` one epoch on so many images of each split."""
    study = real()
    quick = study["scales"]["quick"]
    for data in quick["data"].values():
        data["limit"] = limit
    sizes = {"epochs": 1, "batch_size": batch_size}
    for experiment in quick["experiments"].values():
        experiment["set"] |= sizes
        for arm in experiment.get("arms", {}).values():
            chosen = arm.get("set", {})
            chosen |= {key: sizes[key] for key in sizes.keys() & chosen.keys()}
    return study


def keep(study: dict, *experiments: str) -> dict:
    """The study with only these experiments, at every scale."""
    for sizes in (study, *study["scales"].values()):
        found = sizes.get("experiments", {})
        for name in found.keys() - set(experiments):
            del found[name]
    return study


def write(study: dict, folder: Path) -> Path:
    """Write params.yaml (JSON is YAML) to a folder; its path."""
    path = folder / "params.yaml"
    path.write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    return path
