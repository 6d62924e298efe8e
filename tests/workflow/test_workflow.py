"""What changed is made again and nothing else: real git and Snakemake on four tiny runs.

What DVC adds to it is in test_dvc.py.
"""

import json
import os
import re
import shutil

import pytest

from bop2ndorder.study.config.codes import MODULES
from bop2ndorder.study.config.keys import import_closure
from bop2ndorder.study.numerics import PORTABLE, runs_avx2

pytestmark = pytest.mark.slow


# Nothing to do


def test_again_nothing_runs(project):
    assert not project.snakemake() and "Nothing to be done" in project.output
    assert not project.dvc("repro")
    cache = project.folder / "src" / "bop2ndorder" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "optim.cpython-311.pyc").write_bytes(b"with the time of its source")
    assert project.is_current()
    assert project.git("status", "--porcelain") == ""
    assert "4 of 4 records reproduced bit for bit" in project.call("bop2ndorder", "verify")
    assert "4 runs, those shared counted once: 4 trained" in project.call("bop2ndorder", "plan")


def test_file_times_decide_nothing(project):
    for number, path in enumerate(sorted(project.folder.rglob("*"))):
        if ".git" not in path.parts and ".dvc" not in path.parts and path.is_file():
            os.utime(path, (1e9 + 7919 * number % 1e6,) * 2)
    assert project.is_current()


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


@pytest.fixture
def fresh(built, tmp_path):
    """A clone of the code alone, made whole on one core; the built project had two."""
    clone = built.clone(tmp_path / "a clone")
    clone.git("checkout", "-q", "HEAD~1")
    assert not (clone.folder / "results").exists()
    assert clone.snakemake("--cores", "1")["train"] == 4
    return clone


def test_two_clones_make_the_same_bytes_on_one_core_and_on_two(built, fresh):
    """Data, runs, records, tables, figures, notebooks, report: all but the times of training."""

    def products(project):
        patterns = ("data/**/*", "runs/quick/**/*", "results/**/*")
        files = {k: v for pattern in patterns for k, v in project.files(pattern).items()}
        return {path: without_times(path, content) for path, content in files.items()}

    def without_times(path, content):
        if path.endswith("provenance.json"):
            return json.loads(content) | {"train_seconds": 0, "images_per_second": 0}
        if path.endswith("report.html"):
            return re.sub(rb"<dt>Training time</dt>\s*<dd>.*?</dd>", b"", content, flags=re.S)
        return content

    jobs = re.findall(r"^(?:local)?rule (train|evaluate):", fresh.output, re.M)
    assert jobs == ["train", "evaluate"] * 4, "a run has its record before the next one is trained"
    one, two = products(fresh), products(built)
    assert one.keys() == two.keys()
    assert [path for path in one if one[path] != two[path]] == []
    kinds = {path.rpartition(".")[2] for path in one}
    assert kinds > {"npy", "safetensors", "json", "csv", "md", "png", "svg", "ipynb", "html"}


# The study changes


def test_a_criterion_changed_judges_the_claims_anew_and_nothing_else(project):
    def wider_margin(study):
        study["claims"]["margin"] = 99.0

    project.change(wider_margin)
    assert project.snakemake("-n", "report") == {"claims": 1, "page": 1, "outdated": 2, "report": 1}
    assert "results" in project.call("dvc", "status"), "DVC sees it, too"


def test_a_new_seed_trains_the_new_runs_only(project):
    project.change(lambda study: study["experiments"]["cifar10"]["seeds"].append(7))
    made = project.snakemake("-n")
    assert made["train"] == made["evaluate"] == 3
    assert all(run.rpartition("-")[0].endswith("seed7") for run in project.trained())


def test_a_new_experiment_trains_the_new_runs_only(project):
    """It shares a run with the two others."""

    def add(study):
        known = study["experiments"]["normalization"]
        arms = {"known": {"set": {"optimizer": {"bias_correction": "none"}}}, "new": {}}
        arms["new"]["set"] = {"lr": 0.5}
        study["experiments"]["mine"] = {"set": known["set"], "seeds": [0], "arms": arms}
        quick = study["scales"]["quick"]["experiments"]
        quick["mine"] = quick["normalization"]

    project.change(add)
    made = project.snakemake("-n")
    assert {rule: made[rule] for rule in made if rule not in ("outdated", "all")} == dict.fromkeys(
        ("train", "evaluate", "analyse", "notebook", "metrics", "claims", "page"), 1
    )


# Code changes

BOP = "src/bop2ndorder/optim.py"
SHOWN = {"analyse": 2, "notebook": 2, "metrics": 1, "claims": 1, "page": 1}
TRAINED = {"train": 4, "evaluate": 4, **SHOWN}
EDITS = {
    "comment": (BOP, "import", "# A comment.\nimport", {}),
    "layout": (BOP, "(self, ", "(\n        self,\n        ", {}),
    "docstring": (BOP, "Args:", "Arguments:", {}),
    "training": (BOP, "float | Tensor = 1e-4", "float | Tensor = 2e-4", TRAINED),
    "preparation": ("src/bop2ndorder/study/data/digits.py", "255 / 16", "254 / 16",
                    {"prepare": 1, **TRAINED}),
    "analysis": ("src/bop2ndorder/study/analysis/style.py", "\n\n", "\nX = 1\n\n", SHOWN),
    "section": ("src/bop2ndorder/study/analysis/sections/normalization.py", "\n\n", "\nX = 1\n\n",
                {"analyse": 1, "notebook": 1, "metrics": 1, "page": 1}),
    "verdicts": ("src/bop2ndorder/study/analysis/verdicts/claims.py", "\n\n", "\nX = 1\n\n",
                 {"claims": 1, "page": 1}),
    "notebook": ("notebooks/comparison.ipynb", '"source": [', '"source": [\n    "\\n",',
                 {"notebook": 1, "page": 1}),
    "command line": ("src/bop2ndorder/study/cli.py", "import sys", "import sys  # !\nX = 1", {}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_code_makes_what_depends_on_it(project, edit):
    path, old, new, expected = EDITS[edit]
    project.edit(path, old, new)
    made = project.snakemake("-n")
    assert {rule: made[rule] for rule in made if rule not in ("outdated", "all")} == expected
    project.git("checkout", "-q", "--", path)
    assert not project.snakemake("-n"), "taken back"


# Rooms and modules of a training process that decide nothing of its result: they find the settings,
# which are in the run's id, say how far it is, and note its origin.
AROUND = ("__main__", "study.cli", "study.sentences", "study.config", "study.workflow",
          "study.analysis", "study.run.progress", "study.run.provenance", "study.run.record",
          "study.run.tensorboard")  # fmt: skip
# What the key covers for the data sets of other runs.
ELSEWHERE = {"study.data.imagenet", "study.data.decode", "study.data.workers"}


def test_the_training_key_covers_what_a_training_loads(project):
    """Compared with the modules that Python lists while Snakemake's own jobs run."""
    run = project.run_of("bop-g")
    for part in ("runs/quick", "results/quick/runs"):
        shutil.rmtree(project.folder / part / run)
    record = f"results/quick/runs/{run}/metrics.json"
    project.call("env", "PYTHONPROFILEIMPORTTIME=1", "snakemake", "--", record)
    logs = [f"logs/quick/{rule}/{run}.log" for rule in ("train", "evaluate")]
    text = "".join((project.folder / log).read_text() for log in logs)
    loaded = set(re.findall(r"import time: .*\| +bop2ndorder\.?(\S*)", text))
    decisive = {name for name in loaded if not name.startswith(AROUND)}
    assert {"study.run.train", "study.run.evaluate", "optim"} <= decisive
    assert decisive == set(import_closure(MODULES["training"])) - ELSEWHERE


# Files are damaged


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_damaged_run_is_trained_again_and_no_other(project, damage):
    run = project.run_of("bop-g")
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


def test_data_that_are_gone_are_made_again_for_new_runs_and_train_no_others(project):
    shutil.rmtree(project.folder / "data" / "quick")
    assert not project.snakemake("-n"), "nothing needs them"
    project.change(lambda study: study["experiments"]["cifar10"]["seeds"].append(7))
    made = project.snakemake("-n", "train_all")
    assert made["prepare"] == 1 and made["train"] == 3


DAMAGES = {
    "normalization/table.md": "analyse",
    "cifar10/notebook.html": "notebook",
    "plots/convergence.csv": "metrics",
    "sensitivity.csv": "claims",
    "report.html": "page",
}


@pytest.mark.parametrize("damage", ["deleted", "altered"])
def test_damaged_results_are_made_again_and_no_others(project, damage):
    before = project.files("results/**/*")
    for name in DAMAGES:
        path = project.folder / "results" / "quick" / name
        if damage == "deleted":
            path.unlink()
        else:
            path.write_text("no longer")
    made = project.snakemake()
    assert {rule: made[rule] for rule in made if rule not in ("outdated", "all")} == dict.fromkeys(
        DAMAGES.values(), 1
    )
    assert project.files("results/**/*") == before
    assert project.is_current()


def test_the_record_of_other_hardware_is_replaced_with_all_that_follows(project):
    """Here as if this machine's weights were not those of the record in git."""
    path = project.folder / "results" / "quick" / "runs" / project.run_of("bop-g")
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
    assert "--config takes scale and tensorboard only, found profile" in project.output
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
        assert facts["data"]["origin"] == "embedded" and facts["settings"]["numerics"] == "portable"
        if runs_avx2():
            assert facts["numerics"] == {"in_force": "portable", **PORTABLE, "numpy": "baseline"}
