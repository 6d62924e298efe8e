"""Where a run was trained: what is noted of a CPU, and of a card, which is pretended here."""

import ctypes
import json
import subprocess

import pytest
import torch
from commands import GIT
from tiny import settings

from bop2ndorder.study.run.evaluate import ORIGIN
from bop2ndorder.study.run.precision import use_precision
from bop2ndorder.study.run.provenance import code_in_use, commit, driver, origin
from bop2ndorder.study.run.train import train
from bop2ndorder.study.workflow.training import train_run

OF_A_CARD = {"cuda", "cudnn", "driver"}


class Nvml:
    """The driver's library, with the functions that are asked; `failing` is what it answers."""

    def __init__(self, failing=0):
        self.failing, self.running = failing, 0

    def nvmlInit_v2(self):
        self.running += 1

    def nvmlSystemGetDriverVersion(self, version, size):
        if self.running != 1 or self.failing:
            return 1
        assert size == len(version) == 80
        version.value = b"580.65.06"
        return 0

    def nvmlShutdown(self):
        self.running -= 1


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card of {device}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libnvidia-ml.so.1": Nvml()}[name])


@pytest.fixture
def run(digits, tmp_path):
    """A trained run: its folder and history."""
    folder = tmp_path / "run"
    return folder, train(settings(), digits, folder, tmp_path / "run.pt")[1]


def noted(run, device, **changes):
    folder, history = run
    asked = settings(**changes)
    use_precision(asked, device)
    return origin(folder, asked, history, device, code_in_use())


def test_of_a_cpu(run):
    found = noted(run, "cpu", graph="auto", precision="tf32")
    assert {*found} == {*ORIGIN, "weights_sha256"}
    assert found["device"] == "cpu" and found["capability"] is None
    assert not OF_A_CARD & {*found["versions"]}
    assert (found["precision"], found["graph"]) == ("float32", False), "what was in force"
    assert noted(run, "cpu", precision="float16")["precision"] == "float16"


def test_of_a_card(run, card, monkeypatch):
    # What it says of the CPU's kernels asks the libraries by ctypes, too.
    monkeypatch.setattr("bop2ndorder.study.run.provenance.in_force", lambda device: device)
    found = noted(run, "cuda:1", graph="auto", precision="tf32")
    assert {*found} == {*ORIGIN, "weights_sha256"}
    assert (found["device"], found["capability"]) == ("Card of cuda:1", "9.0")
    versions = {"cuda": "13.0", "cudnn": "91300", "driver": "580.65.06"}
    assert {name: found["versions"][name] for name in versions} == versions
    assert (found["precision"], found["graph"]) == ("tf32", True)
    found = noted(run, "cuda:1", graph="off")
    assert (found["precision"], found["graph"]) == ("float32", False)


def test_a_driver_that_says_nothing_is_not_known(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Nvml(failing=1))
    assert driver() is None

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert driver() is None


# Code


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository to work in, with a file in src and one beside it."""
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for path in ("src/code.py", "README.md"):
        (folder / path).write_text("first")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return folder


def git(*arguments):
    return subprocess.check_output([*GIT, *arguments], text=True).strip()


def test_the_commit_of_a_run_is_that_on_which_its_training_began(digits, repository, tmp_path):
    before = git("rev-parse", "HEAD")

    def on_epoch(row):
        (repository / "src" / "code.py").write_text(f"epoch {row['epoch']}")
        if row["epoch"] == 1:
            git("commit", "-qam", "while it is trained")

    places = tmp_path / "run", tmp_path / "run.pt", tmp_path / "origin.json"
    train_run("run", settings(), digits, *places, on_epoch=on_epoch)
    assert commit()["commit"] != before and commit()["dirty"]
    noted = json.loads(places[-1].read_text())
    assert (noted["commit"], noted["dirty"]) == (before, False)


def test_dirty_is_said_of_tracked_files_in_src_alone(repository):
    head = git("rev-parse", "HEAD")
    for path, dirty in (("README.md", False), ("src/new.py", False), ("src/code.py", True)):
        (repository / path).write_text("second")
        assert commit(repository) == {"commit": head, "dirty": dirty}, path


def test_outside_of_git_no_commit_is_known(tmp_path):
    assert commit(tmp_path) == {"commit": None, "dirty": None}
