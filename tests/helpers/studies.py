"""params.yaml cut down to what a test can train, and written as the tools read it."""

from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bop2ndorder.study.config import ParamsError, load_study
from bop2ndorder.study.config.document import read_yaml

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"


def cut_down(limit: int = 20, batch_size: int = 10) -> dict:
    """The whole study, but at the scale `quick` one epoch on so many images of each split.

    The arms of `length`, which differ in their epochs alone, keep them.
    """
    study = read(ROOT)
    quick = study["scales"]["quick"]
    for data in quick["data"].values():
        data["limit"] = limit
    sizes = {"epochs": 1, "batch_size": batch_size, "stop_after": None}
    for name, experiment in quick["experiments"].items():
        experiment["set"] = experiment.get("set", {}) | sizes
        arms = experiment.get("arms", {}) if name != "length" else {}
        for arm in filter(None, arms.values()):  # null: left out
            chosen = arm.get("set", {})
            chosen |= {key: sizes[key] for key in sizes.keys() & chosen.keys()}
    return study


def keep(study: dict, *experiments: str) -> dict:
    """The study with only these experiments, at every scale, and the comparisons of them."""
    for sizes in (study, *study["scales"].values()):
        found = sizes.get("experiments", {})
        for name in found.keys() - set(experiments):
            del found[name]
    study["claims"]["statements"] = {}
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


@cache
def one_run():
    """The study with one experiment and seed; all would take too long a thousand times."""
    study, claim = keep(read(ROOT), "cifar10"), read(ROOT)["claims"]["statements"]["C1"]
    study["claims"]["statements"] = {"C1": claim}
    study["experiments"]["cifar10"]["seeds"] = [0]
    quick = study["scales"]["quick"]
    quick["experiments"]["cifar10"]["seeds"] = [0]
    return {**study, "scales": {"quick": quick, "small": {}, "paper": {}}}


def changed(tmp_path, *changes):
    """params.yaml with the first occurrence of each text replaced."""
    text = PARAMS.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# Text, what takes its place, and how the mistake is named.
TEN_MISTAKES = [
    ("  train_on: train  ", "  trian_on: train  ", r"defaults\.trian_on: unknown key.*train_on\?"),
    (
        "gamma: 1.0e-7, sigma: 1.0e-3, threshold: 1.0e-6}   # [P 5.1.1]",
        "gamma: 0, sigma: 1e-3, threshold: -1.0e-6}",
        r"experiments\.normalization\.set\.optimizer\.gamma: found 0; must be greater than 0$",
    ),
    (None, None, r"optimizer\.threshold: found -1e-06; must be greater than or equal to 0$"),
    (None, None, r"optimizer\.sigma: found '1e-3'; .*write 0\.001"),
    (
        "{name: birealnet, width: 1.0}",
        "{name: alexnet}",
        r"network\.name: found 'alexnet'; must be",
    ),
    ("network.norm: [batch, layer]", "network.norm: []", r"grid\.network\.norm: found \[\]; must"),
    (
        "set: {epochs: 7}",
        "set: {batch_size: 5000}",
        r"batch_size: found 5000; must be at most 1258",
    ),
    (
        "scale: quick ",
        "scale: quik ",
        r"^scale: found 'quik'; must be 'quick', 'small' or 'paper'$",
    ),
    (
        "  threads: 8 ",
        "  threads: [8] ",
        r"^defaults\.threads: found \[8\]; must be a valid integer",
    ),
    (
        "epochs: 20}, seeds: [0, 1]}\n        seeds: [0, 1]\n",
        "epochs: 20}, seeds: [0, 1]}\n        seeds: [0, 0]\n",
        r"quick\.experiments\.cifar10\.seeds: lists 0 twice",
    ),
]


def mistakes(path) -> list[str]:
    """The sentences of a params.yaml that is not valid."""
    with pytest.raises(ParamsError) as caught:
        load_study(path)
    return caught.value.lines
