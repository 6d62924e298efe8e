"""params.yaml cut down to what a test can train, and written as the tools read it."""

from pathlib import Path

from ruamel.yaml import YAML

from bop2ndorder.study.config.document import read_yaml

ROOT = Path(__file__).resolve().parents[2]


def cut_down(limit: int = 20, batch_size: int = 10) -> dict:
    """The whole study, but at the scale `quick` one epoch on so many images of each split."""
    study = read(ROOT)
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


def read(folder: Path) -> dict:
    """The content of a folder's params.yaml."""
    return read_yaml(folder / "params.yaml")


def write(study: dict, folder: Path) -> None:
    """Write params.yaml to a folder."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(study, file)
