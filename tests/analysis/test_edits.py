"""What params.yaml may say besides what it says: every section still shows what there is."""

import pytest
from studies import ROOT, keep, read
from synthetic import told, write_records

from bop2ndorder.study.analysis.exhibits import Picture
from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.sections import section_of
from bop2ndorder.study.analysis.sections.experiments import exhibits_of
from bop2ndorder.study.config.study import check

DOWN = {"kind": "polynomial", "start": 1e-3, "end": 1e-6}
TENTHS = {"kind": "exponential", "start": 1e-3, "rate": 0.1, "every": 2}
FLOOR = {"kind": "noise_floor", "times": 1.0}
STEPS = {"kind": "steps_of_m", "times": 10.0}
LATENT = {"optimizer": {"name": "latent"}}
SECOND = {"name": "bop2ndorder", "gamma": 1e-3, "sigma": 1e-3, "threshold": 1e-6}
CHOSEN = "optimizer.threshold"


def arm(**changes):
    return {"arms": {"other_12": {"set": changes}}}


# Experiment, what is laid over it, and what readers see of that.
EDITS = [
    ("schedules", arm(optimizer={"gamma": DOWN, "sigma": TENTHS}), "polynomial+exponential"),
    ("schedules", arm(optimizer={"threshold": FLOOR}), "noise_floor"),
    ("schedules", arm(optimizer={"threshold": STEPS}), "steps_of_m"),
    ("length", arm(**LATENT, epochs=4), "other"),
    ("length", arm(optimizer=SECOND, epochs=4), "other"),
    ("noise_floor", {"grid": {CHOSEN: [1e-6, FLOOR, STEPS]}}, "4 of 6 runs, with another"),
    ("noise_floor", {"grid": {CHOSEN: [1e-6]}}, "Every run"),
    ("rules", arm(**LATENT), "other"),
    ("grid", arm(optimizer=SECOND), "other"),
    ("mechanism", arm(**LATENT), "other"),
    ("normalization", {"grid": {"optimizer.bias_correction": ["adam"]}}, "Adam's correction"),
    ("hyperparameters", {"axes": {"optimizer.eps": [1e-8, 1e-7]}}, "eps 1e-7"),
    ("hyperparameters", {"axes": {"lr": [1e-3, 1e-2]}}, "lr 1e-3"),
    (
        "hyperparameters",
        {"axes": {"optimizer.bias_correction": ["none", "adam"]}},
        "bias_correction adam",
    ),
    ("cifar10", arm(optimizer=SECOND), "other"),
]


def edited(experiment, changes):
    document = keep(read(ROOT), experiment)
    sizes = document["scales"]["quick"]["experiments"][experiment]
    for key, value in changes.items():
        own = document["experiments"][experiment]
        own[key] = {**own.get(key, {}), **value}
        if key in ("grid", "axes") and key in sizes:
            sizes[key] = {**sizes[key], **value}
    return check(document)


@pytest.mark.parametrize(("experiment", "changes", "said"), EDITS)
def test_sections_show_what_params_yaml_accepts(tmp_path, experiment, changes, said):
    entries = edited(experiment, changes).entries("quick")
    write_records(entries, tmp_path)
    records = load_records(entries, tmp_path, "quick")
    shown = exhibits_of(records)
    section = section_of(experiment).load()
    section.headline(records)
    assert said in " ".join([told(section, records), *map(text_of, shown.values())])


JUDGED = ("normalization", "hyperparameters", "schedules", "rules", "length", "grid", "noise_floor")


LEFT_OUT = [
    ("grid", ["bop"]),
    ("grid", ["bop2ndorder"]),
    ("length", ["biased_12", "biased_40", "biased_gamma_12"]),
    ("rules", ["bop_published"]),
    ("cifar10", ["bop"]),
]


@pytest.mark.parametrize(("experiment", "arms"), LEFT_OUT)
def test_what_needs_an_arm_that_a_scale_leaves_out_is_not_said(tmp_path, experiment, arms):
    document = keep(read(ROOT), experiment)
    sizes = document["scales"]["quick"]["experiments"][experiment]
    sizes["arms"] = {**sizes.get("arms", {}), **dict.fromkeys(arms)}
    entries = check(document).entries("quick")
    write_records(entries, tmp_path)
    records = load_records(entries, tmp_path, "quick")
    section = section_of(experiment).load()
    assert exhibits_of(records)["runs"]
    section.headline(records)
    if experiment != "cifar10":  # whose other arms are compared all the same
        assert told(section, records) == ""


@pytest.mark.parametrize("experiment", JUDGED)
def test_what_is_judged_on_test_images_is_called_so(tmp_path, experiment):
    """The curves alone are of validation images, which they say otherwise."""
    entries = edited(experiment, {"set": {"judged_on": "test"}}).entries("quick")
    write_records(entries, tmp_path)
    records = load_records(entries, tmp_path, "quick")
    shown = exhibits_of(records).values()
    text = " ".join(map(text_of, shown))
    assert "alidation accuracy" not in text and "Test accuracy" in text
    pictures = [one for one in shown if isinstance(one, Picture) and one.name != "convergence"]
    labels = [axes.get_ylabel() for one in pictures for axes in one.figure.axes]
    assert not any("validation" in label for label in labels)
    assert "val_top1" not in str(section_of(experiment).load().headline(records))


def text_of(shown):
    """All that readers see of a table, or beside a picture."""
    said = shown.seen if isinstance(shown, Picture) else shown.shown.astype(str).to_csv()
    return f"{shown.title} {shown.caption} {said}"
