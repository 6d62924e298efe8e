"""The plan: how many images and how much time it counts, and on what that rests."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import call, workflow
from image_folders import write_folder
from studies import PARAMS, ROOT, cut_down, keep, read, write

from bop2ndorder.study.config import load_study
from bop2ndorder.study.run.record import read_record
from bop2ndorder.study.workflow.plan import guessed_speed, images_kind, known_images


def test_the_plan_of_the_paper_needs_no_data(tmp_path, monkeypatch):
    write(read(ROOT), tmp_path)
    monkeypatch.chdir(tmp_path)
    text = call("--scale", "paper", "plan")
    runs = len(load_study().runs("paper"))
    assert f"scale paper: {runs} runs" in text and f"{runs} to train" in text
    assert "left to train" in text and " h (all runs" in text
    assert "; estimated, not measured: assuming " in text
    assert (
        " sustained operations per second of an H100, at least 0.001 s a step, and 440 image "
        in text
    )
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_speeds_on_a_gpu_are_those_it_was_estimated_to_have():
    """BinaryNet in batches of 50, by hand; ImageNet as fast as eight cores decode it."""
    runs = load_study(PARAMS).runs("paper").values()
    by_hand = {"float32": 11_000, "tf32": 29_000, "float16": 50_000}
    for run in runs:
        speed = guessed_speed(run, gpu=True)
        if run.settings.data.source == "imagenet":
            assert speed == 8 * 440
        elif (run.settings.network.norm, run.settings.network.width) == ("batch", 128):
            assert speed == pytest.approx(by_hand[run.settings.precision], rel=0.01)
        elif run.settings.network.width == 8:
            assert speed == 50_000, "a step of 50 images takes a millisecond, however narrow"


# How many images


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_images_are_counted_in_the_data_or_else_in_a_record_or_else_as_published(here):
    """At a hundredth of an image a second; a record of the run says 30 images in an epoch."""
    work = workflow()
    data, record = work.data(work.runs[here].data), work.record(here)
    change(record / "provenance.json", images_per_second=[0.01])
    change(record / "metrics.json", images_seen=30)
    change(data / "data.json", counts={"train": 47, "validation": 20, "test": 20})

    def planned():
        line, *lines = call("plan", "--list").splitlines()
        [basis] = [text for text in lines if text.startswith("left to train: ")]
        return line.partition(here)[0].split(maxsplit=1)[1].strip(), basis

    by_speed = "one run at a time; by the speed in the records"
    time, basis = planned()
    assert time == "66.7 min" and basis.endswith(by_speed), "four batches of ten"
    shutil.rmtree(data)
    time, basis = planned()
    assert time == "50.0 min" and basis.endswith(by_speed)
    (record / "metrics.json").unlink()
    assert planned()[1].endswith("; with as many images of digits16 as are published")


def test_images_held_out_are_counted_where_they_are_trained_on(here):
    work = workflow()
    run = work.runs[here]
    every = replace(run, settings=run.settings.model_copy(update={"train_on": "all"}))
    assert (work.images(run), work.images(every)) == (20, 40)
    assert images_kind(run) != images_kind(every)


def test_a_record_of_a_run_that_was_to_stop_tells_no_number_of_images(here):
    run, record = workflow().runs[here], read_record(workflow().record(here))
    stopped = replace(run, settings=run.settings.model_copy(update={"stop_after": 1}))
    for planned, expected in ((run, {images_kind(run): 20}), (stopped, {})):
        without_data = SimpleNamespace(runs={here: planned}, images=lambda _: None)
        assert known_images(without_data, {here: record}) == expected


def test_a_run_on_fewer_images_than_published_shows_the_epochs_that_it_has(tmp_path, monkeypatch):
    """Of 50,000 images three steps of five would be the first epoch; here an epoch has two."""
    study = keep(cut_down(), "normalization")
    study["data"]["mine"] = {"source": "cifar10", "image_size": 16, "validation": 2}
    study["local"] = {"cifar10": str(write_folder(tmp_path / "images"))}
    chosen = {"data": "mine", "batch_size": 5, "epochs": 4, "stop_after": 3}
    quick = study["scales"]["quick"]["experiments"]["normalization"]
    quick["set"] |= chosen
    study["experiments"]["normalization"]["grid"] = {}
    write(study, tmp_path)
    monkeypatch.chdir(tmp_path)
    [(run, planned)] = workflow().runs.items()
    call("prepare", planned.data)
    first, *epochs = call("train", run).splitlines()
    assert first == f"{run}: 2 epochs"
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert epochs[1].endswith(" left 0 s")
