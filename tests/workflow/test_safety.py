"""What comes from data is not executed, reaches no shell, and names no place elsewhere."""

import copy
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from commands import call, sentence, workflow
from image_folders import write_folder
from project import Project
from studies import ROOT, cut_down, keep, one_run, read, write

from bop2ndorder import load_run
from bop2ndorder.store import write_done
from bop2ndorder.study.config import ParamsError
from bop2ndorder.study.config.study import check


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def bomb(tmp_path):
    """A bomb that must not have gone off by the end of the test."""
    folder = tmp_path / "gone off"
    pickle.loads(pickle.dumps(Bomb(folder)))
    folder.rmdir()  # so the bomb works
    yield Bomb(folder)
    assert not folder.exists(), "something has unpickled it"


# Files that execute what they hold, for whom unpickles them


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_checkpoint_is_not_executed(here, bomb, form):
    path = workflow().checkpoint(here)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "torch":
        torch.save({"history": bomb}, path)
    else:
        path.write_bytes(pickle.dumps(bomb))
    text = call("train", here, fails=True)
    assert f"Error: train {here}: the checkpoint {path} is damaged" in text
    assert "remove it to train from the start" in text and "Traceback" not in text


@pytest.mark.parametrize("name", ["weights.safetensors", "predictions.safetensors"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_weights_and_predictions_are_not_executed(here, bomb, form, name):
    """Also where done.json vouches for them."""
    folder = workflow().run(here)
    if form == "torch":
        torch.save(bomb, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(bomb))
    damaged = f"{folder / name} is missing or damaged"
    assert damaged in sentence("evaluate", here) and damaged in call("verify", fails=True)
    with pytest.raises(ValueError, match="is damaged"):
        load_run(here)
    write_done(folder, [name])
    if name.startswith("weights"):
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            load_run(here)
    else:
        assert f"a file of {here} is not what was written" in sentence("evaluate", here)
        assert f"not reproduced\n  {here}: " in call("verify", fails=True)


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "test_labels.npy"])
@pytest.mark.parametrize("form", ["array", "pickle"])
def test_prepared_data_are_not_executed(here, bomb, form, name):
    """Also where done.json vouches for them."""
    folder = workflow().data(workflow().runs[here].data)
    if form == "array":
        np.save(folder / name, np.array([bomb], dtype=object), allow_pickle=True)
    else:
        (folder / name).write_bytes(pickle.dumps(bomb))
    assert f"{folder / name} is missing or damaged" in sentence("train", here)
    write_done(folder, [path.name for path in folder.iterdir()])
    assert sentence("train", here).startswith(f"Error: train {here}: ")


TAGS = ["!!python/object/apply:os.mkdir [x]", "!!python/name:os.mkdir", "!mkdir x"]


@pytest.mark.parametrize("tag", TAGS)
def test_tags_of_yaml_are_refused(tmp_path, monkeypatch, tag):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("local: {}", f"local: {tag}", 1))
    monkeypatch.chdir(tmp_path)
    first, *lines = call("plan", fails=True).splitlines()
    assert first == "Error: plan: params.yaml is not valid, 1 mistake:"
    assert lines and "Traceback" not in lines and os.listdir() == ["params.yaml"]


# Names that lead elsewhere, or that a shell would take for more than a name

NAMES = ["../x", "..", "/tmp/x", "$(touch x)", "`touch x`", "a;touch x", "a b", "-rf", "x\n", "",
         "a'b", 'a"b', "{run}", "Ä"]  # fmt: skip


def with_name(place, name):
    """A study in which a data set, an experiment or an arm has this name."""
    study = copy.deepcopy(one_run())
    if place == "data":
        study["scales"]["quick"]["data"][name] = study["scales"]["quick"]["data"]["digits16"]
        study["scales"]["quick"]["defaults"]["data"] = name
    elif place == "experiment":
        study["experiments"][name] = study["experiments"]["cifar10"]
    else:
        study["experiments"]["cifar10"]["arms"][name] = {"set": {"lr": 0.5}}
    return study


@pytest.mark.parametrize("place", ["data", "experiment", "arm"])
def test_names_are_letters_digits_and_underlines(place):
    check(with_name(place, "mine"))
    for name in NAMES:
        with pytest.raises(ParamsError) as caught:
            check(with_name(place, name))
        assert any(repr(name) in line or f".{name}: " in line for line in caught.value.lines)


TOOLS = [("snakemake",), ("dvc", "repro")]


@pytest.mark.slow
def test_the_tools_refuse_such_names_and_tags(tmp_path):
    project = Project.of_this_project(tmp_path / "a study")
    (tmp_path / "x").mkdir()  # where ../x leads
    study = keep(cut_down(), "normalization")
    for name in NAMES:
        study["experiments"][name] = study["experiments"]["normalization"]
        study["scales"]["quick"]["data"][name] = study["scales"]["quick"]["data"]["digits16"]
    study["scale"] = "../x"
    for tag in (None, *TAGS):
        write(study, project.folder)
        if tag:
            with (project.folder / "params.yaml").open("a") as file:
                file.write(f"more: {tag}\n")
        before = set(project.folder.rglob("*"))
        text = "".join(project.call(*command, fails=True) for command in TOOLS)
        assert "params.yaml is not valid" in text and "Traceback" not in text
        made = {path.relative_to(project.folder).parts[0] for path in
                set(project.folder.rglob("*")) - before}  # fmt: skip
        assert made <= {".snakemake", ".dvc", "src"}, text
        assert [path.name for path in tmp_path.iterdir()] and not any((tmp_path / "x").iterdir())


CLASSES = ("x..", "a;touch x", "$(touch x)", "-rf", "a'b\"c", "line\nbreak", "<script>alert(1)")


@pytest.mark.slow
def test_folders_and_files_of_images_may_have_any_name(tmp_path):
    """They are data: the whole workflow takes them, and neither a shell nor a page acts on them."""
    folder = write_folder(tmp_path / "$(touch x); `touch x`", 2, 1, CLASSES)
    for name in CLASSES:
        shutil.copy(folder / "train" / "-rf" / "000.png", folder / "train" / "-rf" / f"{name}.png")
    project = Project.of_this_project(tmp_path / "a study")
    study = keep(read(ROOT), "normalization")
    study["scale"] = "small"
    study["local"] = {"cifar10": str(folder)}
    study["data"]["cifar10"] |= {"image_size": 16, "validation": len(CLASSES)}
    experiment = study["experiments"]["normalization"]
    experiment["grid"] = {}
    study["scales"]["small"]["experiments"]["normalization"] = {
        "set": {"epochs": 1, "batch_size": 5, "network": {"width": 4, "dense": 8}},
        "seeds": [0],
    }
    write(study, project.folder)
    before = {path.name for path in project.folder.iterdir()}
    made = project.snakemake()
    assert (made["prepare"], made["train"], made["page"]) == (1, 1, 1)
    assert {path.name for path in project.folder.iterdir()} - before == {
        ".snakemake", "data", "logs", "results", "runs",
    }  # fmt: skip
    assert not list(tmp_path.rglob("x"))
    (facts,) = project.files("data/small/*/data.json").values()
    assert json.loads(facts)["classes"] == sorted(CLASSES)
    for page in project.files("results/small/**/*.html").values():
        assert b"<script>alert" not in page
