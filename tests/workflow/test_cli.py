"""The command line: every run of the study for two steps, every command, every mistake."""

import json
import math
import os
import shutil
import subprocess
import sys

import click
import pytest
from commands import call, prepare_and_train, sentence, trained_study, workflow
from image_folders import write_folder
from studies import ROOT, TEN_MISTAKES, changed, cut_down, keep, read, write

from bop2ndorder.study.cli import main
from bop2ndorder.study.workflow.products import Workflow

COMMANDS = sorted(name for name, command in main.commands.items() if not command.hidden)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with two runs, trained and recorded, and the records committed."""
    return trained_study(tmp_path_factory.mktemp("small study"), ["batch", "layer"])


@pytest.fixture
def here(small, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    folder = shutil.copytree(small, tmp_path / "study")
    monkeypatch.chdir(folder)
    return folder


# Every run


@pytest.mark.slow
def test_every_run_of_the_quick_study_trains_two_steps(tmp_path, monkeypatch):
    """Runs that differ in epochs only are one run here."""
    write(cut_down(), tmp_path)
    monkeypatch.chdir(tmp_path)
    found = prepare_and_train()
    runs = workflow().runs
    assert len(found) >= 55
    networks = {run.settings.network.name for run in runs.values()}
    assert networks == {"binarynet", "xnornet", "birealnet"}
    for run, metrics in found.items():
        settings = runs[run].settings
        held_out = settings.train_on == "train"
        own = "val" if held_out and settings.judged_on == "held_out" else "test"
        assert own == "test" or not any(name.startswith("test") for name in metrics), run
        seen = settings.epochs * (20 if held_out else 40)
        if settings.stop_after:
            seen = settings.stop_after * settings.batch_size
        assert (metrics["images_seen"], metrics[f"{own}_images"]) == (seen, 20)
        assert 0 <= metrics[f"{own}_top1_percent"] <= metrics[f"{own}_top5_percent"] <= 100
        assert math.isfinite(metrics[f"{own}_loss"]) and 0 <= metrics["flip_rate"] < 1
    # In two steps many settings make no difference yet; were they not read, none would.
    assert len({metrics["weights_sha256"] for metrics in found.values()}) > 25
    plan = call("plan").splitlines()
    assert plan[-2].endswith(f"{len(runs)} trained, 0 recorded, 0 to train")
    assert not list(tmp_path.glob("runs/.checkpoints/*/*"))


@pytest.mark.slow
def test_the_whole_path_of_the_paper_scale_on_twenty_jpegs(tmp_path, monkeypatch):
    """Both ImageNet networks, narrow, with the published crops, decoded by two workers."""
    folder = write_folder(
        tmp_path / "ILSVRC", train=7, test=3, test_name="val",
        extension=".JPEG", width=90, height=80,
    )  # fmt: skip
    study = keep(read(ROOT), "imagenet")
    study["local"] = {"imagenet": str(folder)}
    study["data"]["imagenet"] |= {"image_size": 64, "validation": 4}
    study["defaults"]["threads"] = 2
    experiment = study["experiments"]["imagenet"]
    experiment["set"]["batch_size"] = 7
    experiment["seeds"] = [0]
    for arm in experiment["arms"].values():
        arm["set"]["network"]["width"] = 0.0625
        arm["set"]["epochs"] = 1
    write(study, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = prepare_and_train("paper")
    assert len(found) == 4
    for run, metrics in found.items():
        assert (metrics["images_seen"], metrics["test_images"]) == (14, 6)
        assert math.isfinite(metrics["test_loss"])
        facts = json.loads((workflow("paper").record(run) / "provenance.json").read_text())
        assert facts["data"]["origin"] == "folder" and str(tmp_path) not in json.dumps(facts)
        assert facts["settings"]["data"]["augment"] == {"crop": "random_resized", "flip": True}


# Commands


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    assert call(command, "--help").startswith(f"Usage: main {command}")


def test_the_plan_counts_runs_and_estimates_their_time(here):
    lines = call("plan").splitlines()
    assert lines[0] == "normalization: 2 runs: 2 trained, 0 recorded, 0 to train"
    assert "2 runs, those shared counted once: 2 trained, 0 recorded, 0 to train" in lines[1]
    assert lines[2].startswith("left to train: 0 s") and lines[2].endswith("in the records")
    run, other = workflow().runs
    (workflow().run(run) / "weights.safetensors").write_bytes(b"truncated")
    for path in workflow().record(other).iterdir():
        path.unlink()
    states = {line.split()[-1]: line.split()[0] for line in call("plan", "--list").splitlines()[:2]}
    assert states == {run: "recorded", other: "trained"}
    assert "left to train: 0 s, for the weights of those recorded " in call("plan")


def test_a_reader_that_has_seen_enough_is_no_failure(here):
    """As in `plan | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bop2ndorder", "plan", "--list"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not (here / "logs" / "failed").exists()


def test_training_time_is_that_of_all_epochs(here):
    folder = workflow().record(next(iter(workflow().runs)))
    facts = json.loads((folder / "provenance.json").read_text())
    seconds = [20 / speed for speed in facts["images_per_second"]]
    assert json.loads((folder / "metrics.json").read_text())["images_seen"] == 20 * len(seconds)
    assert facts["train_seconds"] == pytest.approx(sum(seconds), abs=1e-3)


def test_what_the_study_no_longer_names_is_put_aside_and_taken_back(here):
    work = workflow()
    run, other = work.runs
    study = read(here)
    before = (work.run(other) / "weights.safetensors").read_bytes()
    study["experiments"]["normalization"]["grid"]["network.norm"] = ["batch"]
    write(study, here)
    moved = call("shelve").splitlines()
    assert len(moved) == 2 and all(other in line for line in moved)
    assert [path.name for path in work.run("").iterdir()] == [run]
    assert call("shelve") == ""
    shelf = here / ".stale" / "runs" / "quick" / other
    shutil.copytree(shelf, work.run(other))
    assert len(call("shelve").splitlines()) == 1, "what is there again replaces what was put aside"
    assert not any(path.is_dir() for path in shelf.iterdir())
    study["experiments"]["normalization"]["grid"]["network.norm"] = ["batch", "layer"]
    write(study, here)
    assert len(call("shelve").splitlines()) == 2
    assert (work.run(other) / "weights.safetensors").read_bytes() == before
    assert "2 trained" in call("plan")


def test_tables_of_what_is_no_experiment_any_more_are_put_aside_with_their_keys(here):
    results = workflow().results
    for name in ("normalization", "mine"):
        (results / name).mkdir(exist_ok=True)
        (results / name / "exhibits.json").touch()
        workflow().key_file(f"analysis-{name}").parent.mkdir(exist_ok=True)
        workflow().key_file(f"analysis-{name}").touch()
    assert call("shelve").splitlines() == ["quick/mine -> .stale/results/quick"]
    assert {path.name for path in results.iterdir()} >= {"runs", "normalization"}
    assert [path.name for path in (results / ".keys").iterdir()] == ["analysis-normalization"]
    study = read(here)
    study["experiments"]["mine"] = study["experiments"]["normalization"]
    quick = study["scales"]["quick"]["experiments"]
    quick["mine"] = quick["normalization"]
    write(study, here)
    assert call("shelve").splitlines() == ["quick/mine -> results/quick"]


def test_a_command_is_named_by_what_it_was_given(here):
    (here / "params.yaml").write_text("scale: [")
    assert call("same", fails=True).startswith("Error: same: params.yaml is not valid")


def test_training_again_gives_the_same_record(here):
    work = workflow()
    run = next(iter(work.runs))
    before = {path: path.read_bytes() for path in work.record(run).iterdir()}
    call("train", run)
    call("evaluate", run)
    assert {path: path.read_bytes() for path in work.record(run).iterdir()} == before


# Where the study is


def test_in_a_folder_below_the_study_commands_do_the_same(here, monkeypatch):
    plan = call("plan", "--list")
    before = sorted(here.rglob("*"))
    run = next(iter(workflow().runs))
    below = here / "notebooks" / "deeper"
    below.mkdir(parents=True)
    for command in (["plan", "--list"], ["--params", "params.yaml", "plan", "--list"]):
        monkeypatch.chdir(below)
        assert call(*command) == plan
    monkeypatch.chdir(below)
    call("evaluate", run)
    assert sorted({*here.rglob("*")} - {below, below.parent}) == before
    study = read(here)
    study["experiments"]["normalization"]["grid"]["network.norm"] = ["batch"]
    write(study, below)
    monkeypatch.chdir(below)
    assert "1 runs: 0 trained, 0 recorded, 1 to train, " in call("plan"), "the nearest counts"
    monkeypatch.chdir(below)
    assert call("--params", here / "params.yaml", "plan", "--list") != plan, "no runs are below"


def test_a_traceback_lies_in_the_study_and_the_next_attempt_removes_it(here, monkeypatch):
    """Called below the study, too."""

    def fail(*_):
        raise TypeError("a bug")

    below = here / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    note = here / "logs" / "failed" / "plan.txt"
    with monkeypatch.context() as patch:
        patch.setattr(Workflow, "runs", property(fail))
        assert sentence("plan").endswith(" (traceback in logs/failed/plan.txt)")
    assert "TypeError: a bug" in note.read_text()
    monkeypatch.chdir(below)
    call("plan")
    assert not note.exists() and not [*below.iterdir()]


def test_outside_of_a_study_a_sentence_says_where_it_was_looked_for(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    said = f"it is neither in {tmp_path / 'below'} nor in any folder above"
    assert said in call("plan", fails=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["below"], "no log of it"


# Mistakes


@pytest.mark.parametrize("command", COMMANDS)
def test_without_params_every_command_says_so(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    takes_name = any(isinstance(p, click.Argument) for p in main.commands[command].params)
    text = call(*([command, "x"] if takes_name else [command]), fails=True)
    assert text.startswith(f"Error: {command}")
    assert "params.yaml is not valid, 1 mistake:" in text and "cannot be read" in text


# Runs are many; of data sets and experiments the sentence names all.
NAMED = {
    "prepare": "it has digits16-",
    "train": "`bop2ndorder plan --list` lists them",
    "evaluate": "`bop2ndorder plan --list` lists them",
    "analyse": "it has normalization",
    "notebook": "it has normalization",
    "ship": "it has normalization",
}


@pytest.mark.parametrize("command", NAMED)
@pytest.mark.parametrize("name", ["unknown", "../../etc", "a b; rm x"])
def test_an_unknown_name_is_a_sentence(here, command, name):
    assert f"{name!r} in this scale of the study: {NAMED[command]}" in sentence(command, name)


def test_an_unknown_scale_is_a_sentence(here):
    text = call("--scale", "tiny", "plan", fails=True)
    assert "scale: found 'tiny'; must be 'quick', 'small' or 'paper'" in text


def test_missing_data_is_a_sentence(here):
    work = workflow()
    run = next(iter(work.runs))
    folder = work.data(work.runs[run].data)
    (folder / "test_labels.npy").write_bytes(b"")
    assert f"{folder / 'test_labels.npy'} is missing or damaged" in sentence("train", run)
    folder.rename("elsewhere")
    text = sentence("train", run)
    assert text.startswith(f"Error: train {run}: no prepared data in {folder}: `snakemake")


def test_a_run_that_is_not_there_is_a_sentence(here):
    run = next(iter(workflow().runs))
    for path in workflow().run(run).iterdir():
        path.unlink()
    assert "done.json is missing or damaged: restore it with" in sentence("evaluate", run)


def test_a_diverged_run_is_named(here):
    study = read(here)
    study["experiments"]["normalization"]["set"]["lr"] = 1e38
    write(study, here)
    run = next(iter(workflow().runs))
    text = sentence("train", run)
    assert text.startswith(f"Error: train {run}: the training loss of epoch 1 is nan")


def test_a_damaged_checkpoint_is_named(here):
    run = next(iter(workflow().runs))
    path = workflow().checkpoint(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a check")
    assert f"the checkpoint {path} is damaged" in sentence("train", run)


def test_imagenet_without_a_folder_is_a_sentence(tmp_path, monkeypatch):
    write(read(ROOT), tmp_path)
    monkeypatch.chdir(tmp_path)
    (data,) = {run.data for run in workflow("paper").runs.values() if "imagenet" in run.data}
    text = sentence("--scale", "paper", "prepare", data)
    assert "set `local: {imagenet: FOLDER}` in params.yaml" in text
    assert not (tmp_path / "data" / "paper" / data).exists()


@pytest.mark.parametrize("command", ["plan", "metrics", "shelve"])
def test_ten_mistakes_give_ten_lines(tmp_path, monkeypatch, command):
    changed(tmp_path, *((old, new) for old, new, _ in TEN_MISTAKES if old))
    monkeypatch.chdir(tmp_path)
    lines = call(command, fails=True).splitlines()
    assert lines[0] == f"Error: {command}: params.yaml is not valid, 10 mistakes:"
    assert len(lines) == 11 and all(line.startswith("  ") for line in lines[1:])
