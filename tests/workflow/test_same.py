"""`bop2ndorder same`: runs keep their names where edited code does the same, and only there."""

import json
import signal
import subprocess
import time

import pytest
from project import Project, four_runs
from studies import write

pytestmark = pytest.mark.slow

STUDY = "src/bop2ndorder/study"
TABLE = STUDY + "/config/codes.json"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A project of four trained runs, with whose code a class begins."""
    project = Project.of_this_project(tmp_path_factory.mktemp("same") / "project")
    study = four_runs()
    decay = {"kind": "polynomial", "start": 0.01, "end": 0.001}
    study["experiments"]["cifar10"]["arms"]["adam"]["set"]["lr"] = decay
    write(study, project.folder)
    (project.folder / TABLE).write_text("[]\n")
    project.commit("code")
    assert "begins with commit" in project.call("bop2ndorder", "same", "--begin")
    project.commit("its class")
    assert project.snakemake("train_all", "--cores", "2")["train"] == 4
    return project


@pytest.fixture
def project(begun, tmp_path):
    return begun.copy(tmp_path / "project")


def to_train(project) -> int:
    return project.snakemake("-n", "train_all")["train"]


EQUAL = [
    ("reworded message", "run/trainer.py", "is larger than the", "exceeds the"),
    ("renamed function", "run/trainer.py", "_epoch_seed(", "_seed_of("),
    (
        "faster step",
        "../flip_rules.py",
        "w.addcmul_(w, flipped, value=-2)",
        "w.sub_(w * flipped * 2)",
    ),
    ("moved module", "run/trainer.py", "from .predict", "from ..predicting"),
]


def test_code_that_does_the_same_trains_nothing(project):
    for _, file, old, new in EQUAL:
        path = project.folder / STUDY / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    moved = project.folder / STUDY / "predicting.py"
    (project.folder / STUDY / "run/predict.py").rename(moved)
    moved.write_text(moved.read_text().replace("from ..data", "from .data"))
    assert to_train(project) == 4, "what nobody has shown to be equal"
    assert "`bop2ndorder same`" in project.output
    assert "bit for bit" in project.call("bop2ndorder", "same")
    assert to_train(project) == 0
    assert "`bop2ndorder same`" not in project.output
    assert "noted already" in project.call("bop2ndorder", "same")


LATE = (
    '{"lr": self.schedules["lr"], ',
    '{"lr": lambda step: self.schedules["lr"](max(step - 1, 0)), ',
)
CHANGED = {
    "update rule": ("../flip_rules.py", ".gt_(threshold)", ".gt_(threshold + 1e-6)", "step 1: "),
    "schedule one step late": (
        "run/updates.py",
        *LATE,
        "-lr_polynomial-train-moving: step 2: ",
    ),
    "augmentation": ("data/augment.py", "2 * pad + 1, (count", "2 * pad, (count", "step 1: "),
    "order of images": ("run/trainer.py", "* 1_000_003", "* 1_000_003 + 1", "step 1: "),
    "preparation": (
        "data/splits.py",
        "random_state=0",
        "random_state=1",
        "digits16: files: ",
    ),
}


@pytest.mark.parametrize("change", CHANGED)
def test_code_that_does_something_else_is_refused(project, change):
    file, old, new, first = CHANGED[change]
    project.edit(f"{STUDY}/{file}", old, new)
    if change == "update rule":
        project.commit("A change that is committed before anybody asks")
    table = project.files(TABLE)
    kinds = {"update rule": "", "schedule one step late": "lr_polynomial"}  # "": all, to be noted
    only = ("--only", kinds.get(change, "batch-bop-"))
    said = project.call("bop2ndorder", "same", *only, fails=True)
    print(said)
    assert "nothing is noted" in said and first in said
    assert project.files(TABLE) == table
    assert to_train(project) == 4


def test_an_entry_written_by_hand_is_found(project):
    project.edit("src/bop2ndorder/flip_rules.py", ".gt_(threshold)", ".gt_(threshold + 1e-6)")
    path = project.folder / TABLE
    classes = json.loads(path.read_text())
    codes = "bop2ndorder.study.config.codes"
    code = f"import json; from {codes} import *; print(json.dumps(code_at_hand()))"
    classes[0].append(classes[0][0] | json.loads(project.call("python", "-c", code)))
    path.write_text(json.dumps(classes))
    assert to_train(project) == 0, "it is believed"
    assert "noted already" in project.call("bop2ndorder", "same")
    checked = ("same", "--check", "--only", "batch-bop-")
    assert "-bop-" in project.call("bop2ndorder", *checked, fails=True)


def test_a_shallow_clone_is_told_what_it_lacks(project, tmp_path):
    clone = Project(tmp_path / "shallow")
    source = f"file://{project.folder}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", source, clone.folder], check=True)
    assert "git fetch --unshallow" in clone.call("bop2ndorder", "same", "--check", fails=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(project, tmp_path, monkeypatch, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = project.start("bop2ndorder", "same", "--check")
    while not list(scratch.glob("same-*/first-*.json")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    process.wait(20)
    until = time.monotonic() + 20
    while project.processes() or list(scratch.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert project.git("status", "--porcelain") == ""
