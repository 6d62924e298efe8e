"""What changed is made again and nothing else: real git, Snakemake and DVC on four tiny runs.

The project's folder has a space and a letter beyond ASCII in its name, DVC's remote a space.
"""

import json
import os
import shutil

import pytest
from project import Project, four_runs
from studies import write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The whole workflow, run once by Snakemake, recorded by DVC, pushed, committed."""
    folder = tmp_path_factory.mktemp("workflow")
    project = Project.of_this_project(folder / "a study ä")
    write(four_runs(), project.folder)
    project.commit("code")
    made = project.snakemake()
    assert made["train"] == made["evaluate"] == 4, "a run that two experiments share is one run"
    assert (made["prepare"], made["analyse"], made["notebook"], made["page"]) == (1, 2, 2, 1)
    assert not project.dvc("repro"), "DVC finds all made"
    add_remote(project, folder / "a remote")
    project.dvc("push")
    project.commit("results")
    return project


def add_remote(project, folder):
    """Name the remote in the file that git does not track, as each user does."""
    project.dvc("remote", "add", "--local", "--default", "storage", str(folder))


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project."""
    return built.copy(tmp_path / "a study ä")


def runs(project):
    return sorted(path.name for path in (project.folder / "runs" / "quick").iterdir())


def run_of(project, part):
    """The one run whose id holds a text."""
    (run,) = (run for run in runs(project) if part in run)
    return run


# Nothing to do


def test_again_nothing_runs(project):
    assert not project.snakemake() and "Nothing to be done" in project.output
    assert not project.dvc("repro")
    assert project.is_current()
    assert project.git("status", "--porcelain") == ""
    assert "4 of 4 records reproduced bit for bit" in project.call("bop2ndorder", "verify")
    assert "4 runs, those shared counted once: 4 trained" in project.call("bop2ndorder", "plan")


def test_file_times_decide_nothing(project):
    for number, path in enumerate(sorted(project.folder.rglob("*"))):
        if ".git" not in path.parts and ".dvc" not in path.parts and path.is_file():
            os.utime(path, (1e9 + 7919 * number % 1e6,) * 2)
    assert project.is_current()


def test_a_clone_with_pull_has_nothing_to_do(built, project, tmp_path):
    clone = project.clone(tmp_path / "clone")
    add_remote(clone, built.folder.parent / "a remote")
    clone.dvc("pull")
    assert clone.is_current()
    assert "4 of 4 records reproduced" in clone.call("bop2ndorder", "verify")


def test_a_clone_without_pull_trains_all_but_reports_without_training(project, tmp_path):
    clone = project.clone(tmp_path / "clone")
    assert clone.snakemake("-n")["train"] == 4
    assert not clone.snakemake("report")
    before = clone.files("results/**/*")
    for path in (clone.folder / "results" / "quick").iterdir():
        if path.is_dir() and path.name != "runs":
            shutil.rmtree(path)
    made = clone.snakemake("report")
    parts = {"metrics": 1, "claims": 1, "page": 1, "report": 1}
    assert made == {"analyse": 2, "notebook": 2, **parts}
    assert clone.files("results/**/*") == before, "the same bytes"
    assert clone.git("status", "--porcelain") == ""


# The study changes


def test_one_value_of_a_grid_trains_what_it_touches_and_taken_back_nothing(project):
    project.git("switch", "-q", "-c", "other")
    before, tables = runs(project), project.files("results/quick/*/table.csv")
    old = run_of(project, "constant")

    def new_sigma(study):
        study["experiments"]["normalization"]["grid"] = {"optimizer.sigma": [1e-3, 1e-2]}

    project.change(new_sigma)
    made = project.dvc("repro")
    new = run_of(project, "s0.01")
    assert project.trained() == [new] and (made["prepare"], made["evaluate"]) == (0, 1)
    assert (made["analyse"], made["notebook"]) == (1, 1), "cifar10 is as it was"
    assert set(runs(project)) == {*before, new} - {old}
    assert (project.folder / ".stale" / "runs" / "quick" / old / "done.json").exists()
    changed = project.files("results/quick/*/table.csv")
    assert changed["results/quick/cifar10/table.csv"] == tables["results/quick/cifar10/table.csv"]
    assert changed != tables and project.is_current()
    assert "normalization" in project.call("dvc", "metrics", "diff", "main")
    assert "optimizer.sigma" in project.call("dvc", "params", "diff", "main")
    project.commit("other")

    project.git("switch", "-q", "main")
    project.dvc("checkout")
    assert project.is_current(), "on main again"
    project.git("switch", "-q", "other")
    project.dvc("checkout")
    assert project.is_current(), "and back"

    project.git("checkout", "-q", "main", "--", "params.yaml")
    made = project.dvc("repro")
    assert not made["train"] and made["page"] == 1 and runs(project) == before
    assert project.files("results/quick/*/table.csv") == tables
    project.git("add", "-A")
    assert project.git("diff", "--cached", "--stat", "main") == "", "all as it was, dvc.lock too"


def test_a_criterion_changed_judges_the_claims_anew_and_nothing_else(project):
    def wider_margin(study):
        study["claims"]["margins"]["accuracy"] = 99.0

    project.change(wider_margin)
    assert project.snakemake("-n", "report") == {"claims": 1, "page": 1, "outdated": 2, "report": 1}
    assert "results" in project.call("dvc", "status"), "DVC sees it, too"


def test_a_new_seed_trains_the_new_runs_only(project):
    project.change(lambda study: study["experiments"]["cifar10"]["seeds"].append(7))
    made = project.snakemake("-n")
    assert made["train"] == made["evaluate"] == 3
    assert all(run.rpartition("-")[0].endswith("seed7") for run in project.trained())


def test_another_scale_touches_nothing_of_this_one(project):
    before = project.files("runs/**/*") | project.files("results/**/*")
    planned = project.snakemake("-n", "--config", "scale=small")
    assert (planned["prepare"], planned["train"]) == (1, 4)
    run = f"runs/small/{run_of(project, 'bop-g')}/done.json"
    made = project.snakemake("--config", "scale=small", "--", run)
    assert (made["prepare"], made["train"]) == (1, 1) and (project.folder / run).exists()
    assert project.is_current()
    after = project.files("runs/**/*") | project.files("results/**/*")
    assert {path: after[path] for path in before} == before
    project.dvc("checkout", "--force")
    assert (project.folder / run).exists()


# Code changes

BOP = "src/bop2ndorder/optim.py"
EDITS = {
    "comment": (BOP, "import", "# A comment.\nimport", {}),
    "docstring": (BOP, "Args:", "Arguments:", {}),
    "training": (BOP, "gamma: float = 1e-4", "gamma: float = 2e-4", {"train": 4, "evaluate": 4}),
    "preparation": (
        "src/bop2ndorder/data/digits.py",
        "255 / 16",
        "254 / 16",
        {"prepare": 1, "train": 4},
    ),
    "analysis": ("src/bop2ndorder/analysis/style.py", "\n\n", "\nX = 1\n\n", {"analyse": 2}),
    "notebook": (
        "notebooks/cifar10.ipynb",
        '"source": [',
        '"source": [\n    "\\n",',
        {"notebook": 1},
    ),
    "command line": ("src/bop2ndorder/cli.py", "import os", "import os  # !\nX = 1", {}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_code_makes_what_depends_on_it(project, edit):
    path, old, new, expected = EDITS[edit]
    project.edit(path, old, new)
    made = project.snakemake("-n")
    trains = "train" in expected
    assert expected.items() <= made.items(), project.output
    if not trains:
        assert not made["train"] and not made["evaluate"]
    if not expected:
        assert not made
    project.git("checkout", "-q", "--", path)
    assert not project.snakemake("-n"), "taken back"


# Files are damaged


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_damaged_run_is_trained_again_and_no_other(project, damage):
    run = run_of(project, "bop-g")
    folder = project.folder / "runs" / "quick" / run
    weights = (folder / "weights.safetensors").read_bytes()
    if damage == "deleted":
        shutil.rmtree(folder)
    else:
        (folder / "weights.safetensors").write_bytes(weights[:-100])
    made = project.snakemake()
    assert project.trained() == [run] and not made["page"]
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert project.git("status", "--porcelain") == "", "the record is as it was"
    assert project.call("bop2ndorder", "verify")


def test_a_damaged_run_is_restored_by_dvc(project):
    path = project.folder / "runs" / "quick" / run_of(project, "bop-g") / "history.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"9\n")  # the same size: planning does not see it
    text = project.call("bop2ndorder", "verify", fails=True)
    assert "history.csv is missing or damaged" in text and "3 of 4 records reproduced" in text
    text = project.call("bop2ndorder", "evaluate", path.parent.name, fails=True)
    assert "history.csv is missing or damaged" in text and "Traceback" not in text
    project.dvc("checkout", "--force")
    assert path.read_bytes() == content and project.is_current()


def test_the_record_of_other_hardware_is_replaced_with_all_that_follows(project):
    """Here as if this machine's weights were not those of the record in git."""
    path = project.folder / "results" / "quick" / "runs" / run_of(project, "bop-g")
    before = project.files("results/**/*")
    path = path / "metrics.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"weights_sha256": "other", "test_top1_percent": 99.0}))
    assert not project.snakemake("train_all")
    made = project.snakemake()
    assert made["evaluate"] == made["analyse"] == made["notebook"] == made["page"] == 1
    assert not made["train"] and project.is_current()
    assert project.files("results/**/*") == before


# Mistakes and failures


def test_mistakes_are_sentences(project):
    project.snakemake("-n", "--config", "profile=paper", fails=True)
    assert "--config takes scale only, found profile" in project.output
    assert "Traceback" not in project.output
    project.snakemake("-n", "--config", "scale=tiny", fails=True)
    assert "scale: found 'tiny'; must be 'quick', 'small' or 'paper'" in project.output
    project.change(lambda study: study["defaults"].update(lr=-1, threads="one"))
    project.snakemake("-n", fails=True)
    assert "params.yaml is not valid, 2 mistakes:" in project.output
    assert "Traceback" not in project.output


def test_a_run_that_fails_does_not_stop_the_others(project):
    """It is named with its reason in Snakemake's output."""

    def diverge(study):
        arms = study["experiments"]["cifar10"]["arms"]
        arms["bop"]["set"]["lr"] = 1e38
        arms["biased"]["set"]["lr"] = 0.02

    project.change(diverge)
    made = project.snakemake(fails=True)
    assert made["train"] == 2 and made["evaluate"] == 1
    assert "Traceback" not in project.output
    assert "the training loss of epoch 1 is nan: the run has diverged" in project.output
    plan = project.call("bop2ndorder", "plan")
    assert "4 trained, 0 recorded, 1 to train" in plan


def test_records_say_where_they_come_from(built):
    head = built.git("rev-parse", "HEAD~1").strip()
    for text in built.files("results/quick/runs/*/provenance.json").values():
        facts = json.loads(text)
        assert (facts["commit"], facts["dirty"]) == (head, False)
        assert facts["data"]["origin"] == "embedded"
