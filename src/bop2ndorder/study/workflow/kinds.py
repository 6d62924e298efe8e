"""The kinds of run that a study has, cut short: for what holds code or processors together."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..config.document import SCALES
from ..config.study import Study

# Five steps an epoch. One folder of images serves all sources that read folders.
IMAGES, VALIDATION, BATCH, EPOCHS, CLASSES = 40, 20, 8, 2, 10
NARROW = {
    "binarynet": {"width": 12, "dense": 96},
    "xnornet": {"width": 0.0625},
    "birealnet": {"width": 0.125},
}
# Within the third epoch, and after a step that is audited.
STOP = 12
# Enough weights in a layer for the optimizers to cut them into blocks.
LARGE = {"width": 16, "dense": 768}

Short = dict[str, dict[str, Any]]


def kinds(study: Study) -> Short:
    """A short run, as `Settings.model_dump()` gives it, for each kind of run of all scales.

    Two runs are of one kind where they differ in numbers only: not in network, normalization,
    optimizer, correction, kinds of schedule, source, augmentation, or any other choice. Shadows are
    told apart by their rules, and runs that are stopped are a kind. Each rule of flipping comes a
    second time with a large layer, on two threads.
    """
    found: Short = {}
    for scale in SCALES:
        for run in study.runs(scale).values():
            settings = run.settings.model_dump()
            short = found.setdefault(_kind(settings), _short(settings))
            if settings["network"]["name"] == "binarynet":
                large = {**short, "network": {**short["network"], **LARGE}, "threads": 2}
                found.setdefault(f"large-{_rule(settings['optimizer'])}", large)
    return found


def task(short: Short, images: Path, data: Path) -> dict[str, Any]:
    """All that `exercise` can do with short runs: prepare their data, and train them.

    Args:
        short: name -> settings of a run.
        images: a folder that `draw` has filled.
        data: where the prepared data sets lie when it is trained.
    """
    return {
        "prepare": {
            _data_name(settings): {
                "settings": {k: v for k, v in settings["data"].items() if k != "augment"},
                "folder": None if settings["data"]["source"] == "digits" else str(images),
            }
            for settings in short.values()
        },
        "train": {
            name: {"settings": settings, "data": str(data / _data_name(settings))}
            for name, settings in short.items()
        },
        "resume": None,
    }


def draw(folder: Path) -> None:
    """Fill a folder with images of noise: train/CLASS/* and val/CLASS/*."""
    random = np.random.default_rng(0)
    for part, count in (("train", IMAGES + VALIDATION), ("val", VALIDATION)):
        for place in range(count):
            path = folder / part / f"class{place % CLASSES}" / f"{place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(random.integers(0, 256, (9, 10, 3), np.uint8))
            small.resize((80, 72), Image.Resampling.BICUBIC).save(path, quality=90)


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    """The run with few images, two epochs and narrow layers; its schedules run their course."""

    def shorter(value: Any) -> Any:
        if isinstance(value, dict) and "every" in value:
            return {**value, "every": value["every"] * EPOCHS / settings["epochs"]}
        return value

    def shorter_rule(rule: dict[str, Any]) -> dict[str, Any]:
        return {key: shorter(value) for key, value in rule.items()}

    data, network, stopped = settings["data"], settings["network"], settings["stop_after"]
    size = min(64, data["image_size"])
    return {
        **settings,
        "data": {**data, "validation": VALIDATION, "limit": IMAGES, "image_size": size},
        "network": {**network, **NARROW[network["name"]]},
        "optimizer": shorter_rule(settings["optimizer"]),
        "lr": shorter(settings["lr"]),
        "epochs": EPOCHS + bool(stopped),
        "stop_after": stopped and STOP,
        "shadows": {name: shorter_rule(rule) for name, rule in settings["shadows"].items()},
        "batch_size": BATCH,
        "threads": 1,
        "numerics": "native",  # whoever calls decides what is pinned
        "gpus": 1,
    }


def _kind(settings: dict[str, Any]) -> str:
    """What makes a kind, as a name that a file can have."""
    network, optimizer = settings["network"], settings["optimizer"]
    scheduled = {key: optimizer[key] for key in ("gamma", "sigma", "threshold") if key in optimizer}
    parts = [
        _data_name(settings),
        *(f"{key}_{value}".lower() for key, value in (settings["data"]["augment"] or {}).items()),
        network["name"],
        network.get("norm"),
        _rule(optimizer),
        *(f"{key}_{_form(v)}" for key, v in {**scheduled, "lr": settings["lr"]}.items()),
        settings["train_on"],
        settings["judged_on"] == "test" and "on_test",
        settings["norm_statistics"],
        settings["stop_after"] and "stopped",
        *sorted({f"beside_{_rule(rule)}" for rule in settings["shadows"].values()}),
    ]
    return "-".join(part for part in parts if part)


def _rule(optimizer: dict[str, Any]) -> str:
    return f"{optimizer['name']}_{optimizer.get('bias_correction', '')}".rstrip("_")


def _data_name(settings: dict[str, Any]) -> str:
    return f"{settings['data']['source']}{min(64, settings['data']['image_size'])}"


def _form(value: Any) -> str:
    """The form of a number or schedule: what may choose a path through the code."""
    if not isinstance(value, dict):
        return "number" if value else "zero"
    if not value.get("times", 1):
        return f"{value['kind']}_zero"
    return value["kind"] + ("_until" if value.get("until", 1) < 1 else "")
