"""DVC beside Snakemake: versions, branches, remotes, experiments, scales; real tools, tiny runs."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from studies import ROOT

pytestmark = pytest.mark.slow
METRICS = "results/quick/metrics.json"
ALL = "results/quick/metrics_all.json"


def set_gamma(project, *values):
    """Change the grid of one arm, which one run has."""

    def change(study):
        study["experiments"]["cifar10"]["arms"]["bop"]["grid"]["optimizer.gamma"] = list(values)

    project.change(change)


def rows(table):
    """The lines below the heading of a table of DVC's, as words."""
    return [line.split() for line in table.splitlines()[1:]]


def changed_points(project):
    """(arm, chart) of what `dvc plots diff main` draws apart for the two versions."""
    drawn = project.folder.parent / "drawn"
    found = json.loads(project.call("dvc", "plots", "diff", "main", "--json", "--out", str(drawn)))
    changed = set()
    for chart, (plot,) in found["data"].items():
        points = {"main": [], "workspace": []}
        for row in plot["content"]["data"]["values"]:
            points[row["rev"]].append((row["arm"], row.get("epoch"), row["accuracy"]))
        assert min(map(len, points.values())) > 2
        apart = set(points["main"]) ^ set(points["workspace"])
        changed |= {(arm, Path(chart).stem) for arm, *_ in apart}
    return changed


# Versions


def test_a_clone_with_pull_has_nothing_to_do(built, tmp_path):
    """The remote's path has a space, those of the projects a letter beyond ASCII, too."""
    clone = built.clone(tmp_path / "a clone ö")
    clone.add_remote(built.folder.parent / "a remote")
    clone.dvc("pull")
    assert clone.is_current()
    assert "4 of 4 records reproduced" in clone.call("bop2ndorder", "verify")


def test_a_clone_that_trains_anew_at_another_commit_modifies_nothing(built, tmp_path):
    """Neither a record nor dvc.lock, though the trainings took other times."""
    clone = built.clone(tmp_path / "a clone")
    clone.edit("README.md", "#", "# Another title:")
    clone.commit("another commit")
    assert clone.snakemake("--cores", "1")["train"] == 4
    clone.dvc("repro")
    assert clone.git("status", "--porcelain") == "" and clone.is_current()
    assert "4 of 4 records reproduced" in clone.call("bop2ndorder", "verify")
    notes = [
        [json.loads(text) for text in project.files("runs/.provenance/quick/*.json").values()]
        for project in (built, clone)
    ]
    for fact in ("commit", "images_per_second"):
        one, other = ([note[fact] for note in found] for found in notes)
        assert len(one) == len(other) == 4 and one != other


def test_runs_that_came_without_their_records_are_recorded_without_an_origin(built, tmp_path):
    """Only results are in DVC; what else is known of a run is in git."""
    clone = built.clone(tmp_path / "a clone")
    clone.add_remote(built.folder.parent / "a remote")
    clone.dvc("pull")
    shutil.rmtree(clone.folder / "results" / "quick" / "runs")
    made = clone.snakemake()
    assert made["evaluate"] == 4 and made["page"] == 1 and not made["train"]
    for name in ("metrics.json", "history.csv"):
        pattern = f"results/quick/runs/*/{name}"
        assert clone.files(pattern) == built.files(pattern)
    for text in clone.files("results/quick/runs/*/provenance.json").values():
        facts = json.loads(text)
        assert facts["settings"] and facts["commit"] is facts["processor"] is None


def test_one_value_of_a_grid_trains_what_it_touches_and_taken_back_nothing(project):
    project.git("switch", "-q", "-c", "other")
    before, old = project.runs(), project.run_of("bop-g")
    tables, metrics = project.files("results/quick/*/table.csv"), project.files(METRICS)
    set_gamma(project, 0.5)
    made = project.dvc("repro")
    new = project.run_of("bop-g")
    assert project.trained() == [new] and "g0.5" in new
    assert (made["prepare"], made["evaluate"]) == (0, 1)
    assert (made["analyse"], made["notebook"]) == (1, 1), "normalization is as it was"
    assert set(project.runs()) == {*before, new} - {old}
    assert (project.folder / ".stale" / "runs" / "quick" / old / "done.json").exists()
    changed = project.files("results/quick/*/table.csv")
    assert {path for path in tables if changed[path] != tables[path]} == {
        "results/quick/cifar10/table.csv"
    }
    assert project.files(METRICS) != metrics and project.is_current()
    assert rows(project.call("dvc", "params", "diff", "main")) == [
        ["params.yaml", "experiments.cifar10.arms.bop.grid.optimizer.gamma", "[0.0001]", "[0.5]"]
    ]
    ((file, name, *_),) = rows(project.call("dvc", "metrics", "diff", "main"))
    assert (file, name) == (METRICS, "cifar10.bop.val_top1")
    assert changed_points(project) == {("Bop", "accuracy"), ("Bop", "convergence")}
    project.commit("other")

    project.git("switch", "-q", "main")
    project.dvc("checkout")
    assert project.is_current(), "on main again"
    project.git("switch", "-q", "other")
    project.dvc("checkout")
    assert project.is_current(), "and back"

    project.git("checkout", "-q", "main", "--", "params.yaml")
    made = project.dvc("repro")
    assert not made["train"] and made["page"] == 1 and project.runs() == before
    assert project.files("results/quick/*/table.csv") == tables
    project.git("add", "-A")
    assert project.git("diff", "--cached", "--stat", "main") == "", "all as it was, dvc.lock too"


def test_data_that_an_experiment_newly_names_are_prepared(project):
    """The data set is declared already: no other part of params.yaml changes."""

    def declare(study):
        study["data"]["digits64"] = study["scales"]["quick"]["data"]["digits64"] | {"limit": None}

    def name(study):
        study["experiments"]["cifar10"]["arms"]["bop"]["set"]["data"] = "digits64"

    project.change(declare)
    assert not project.dvc("repro", "prepare")["prepare"]
    project.change(name)
    assert project.dvc("repro", "prepare")["prepare"] == 1
    assert [*project.folder.glob("data/quick/digits64-*/done.json")]


def test_a_comment_trains_nothing_and_code_all_of_its_runs_and_taken_back_none(project):
    """In all that `dvc repro` calls, not in plans alone."""
    before, files = project.runs(), project.files("runs/quick/**/*")
    project.edit("src/bop2ndorder/optim.py", "import", "# A comment.\nimport")
    assert not project.dvc("repro", "train")
    project.edit(
        "src/bop2ndorder/optim.py", "gamma: float | Tensor = 1e-4", "gamma: float | Tensor = 2e-4"
    )
    project.dvc("repro", "train")
    assert sorted(project.trained()) == project.runs() and not {*project.runs()} & {*before}
    project.git("checkout", "-q", "--", "src")
    assert not project.dvc("repro", "train")["train"]
    assert project.files("runs/quick/**/*") == files
    assert project.git("status", "--porcelain") == "" and project.is_current()


@pytest.mark.parametrize("file, least, most", [(METRICS, 8, 16), (ALL, 60, 150)])
def test_names_of_all_metrics_are_readable_and_of_the_headline_few(project, file, least, most):
    """Those of the whole study, when every number changes."""
    numbers = json.loads((ROOT / file).read_text(encoding="utf-8"))
    path = project.folder / file

    def write(change):
        text = json.dumps(numbers)
        path.write_text(re.sub(r"-?\d+\.\d+", lambda n: str(change(float(n[0]))), text))

    write(lambda number: number)
    project.commit("the whole study")
    write(lambda number: number + 1.5)
    found = rows(project.call("dvc", "metrics", "diff", "--targets", file))
    assert least < len(found) < most
    for shown, name, *values in found:
        experiment, *setting, metric = name.split(".")
        assert shown == file and experiment in numbers and len(values) == 3
        assert all(re.fullmatch("[a-z][a-z0-9_]{2,40}", word) for word in (*setting, metric))


def test_a_run_that_is_lost_or_altered_is_restored(project):
    folder = project.folder / "runs" / "quick" / project.run_of("bop-g")
    path = folder / "history.csv"
    content = path.read_bytes()
    other = b"8" if content[-2:] == b"9\n" else b"9"
    path.write_bytes(content[:-2] + other + b"\n")  # the same size: planning does not see it
    text = project.call("bop2ndorder", "verify", fails=True)
    assert "history.csv is missing or damaged" in text and "3 of 4 records reproduced" in text
    text = project.call("bop2ndorder", "evaluate", folder.name, fails=True)
    assert "history.csv is missing or damaged" in text and "Traceback" not in text
    project.dvc("checkout", "--force")
    assert path.read_bytes() == content
    shutil.rmtree(folder)
    project.dvc("checkout")
    assert path.read_bytes() == content and project.is_current()


# Experiments


def test_experiments_beside_in_the_queue_and_in_place_train_what_is_new(built, tmp_path):
    """In a folder of ASCII letters: DVC's copies of a project cannot be made in another."""
    project = built.copy(tmp_path / "a study")
    before = project.files("runs/**/*") | project.files("results/**/*")

    def experiment(name, gamma, *options):
        grid = f"experiments.cifar10.arms.bop.grid={{optimizer.gamma:[{gamma}]}}"
        return project.dvc("exp", "run", "--name", name, "-S", grid, *options)

    def trained(gamma):
        (run,) = project.trained()
        return f"bop-g{gamma}-" in run

    assert experiment("beside", 0.5, "--temp")["page"] == 1 and trained(0.5)
    assert not experiment("queued", 0.25, "--queue", "train")
    project.dvc("exp", "run", "--run-all")
    assert trained(0.25)
    assert project.files("runs/**/*") | project.files("results/**/*") == before
    assert project.git("status", "--porcelain") == "" and project.is_current()
    experiment("place", 0.125, "train")
    assert trained(0.125) and "g0.125" in project.run_of("bop-g")
    project.dvc("exp", "apply", "beside")
    assert "g0.5" in project.run_of("bop-g") and project.is_current()

    shown = csv.DictReader(project.call("dvc", "exp", "show", "--csv").splitlines())
    accuracies = {row["Experiment"]: row["cifar10.bop.val_top1"] for row in shown}
    assert accuracies.keys() >= {"beside", "queued", "place"}
    metrics = json.loads((project.folder / METRICS).read_text())
    assert float(accuracies["beside"]) == metrics["cifar10"]["bop"]["val_top1"]


# Scales


def test_scales_do_not_touch_each_other(project, tmp_path):
    """Neither when Snakemake makes one beside the other, nor in what DVC pushes and pulls."""

    def files(scale):
        return {
            path: content
            for part in ("data", "runs", "results")
            for path, content in project.files(f"{part}/{scale}/**/*").items()
        }

    quick = files("quick")
    run = f"runs/small/{project.run_of('bop-g')}/done.json"
    made = project.snakemake("--config", "scale=small", "--", run)
    assert (made["prepare"], made["train"]) == (1, 1)
    small = files("small")
    assert run in small and files("quick") == quick and project.is_current()
    project.dvc("push")
    project.dvc("checkout", "--force")
    shutil.rmtree(project.folder / "runs" / "quick")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    project.dvc("pull")
    assert files("quick") == quick and files("small") == small and project.is_current()

    project.git("switch", "-q", "-c", "other")
    project.change(lambda study: study.update(scale="small"))
    made = project.dvc("repro", "train")
    assert made["train"] == 3 and files("quick") == quick
    small = files("small")
    assert len(project.runs("small")) == 4 and small.keys() > {run}
    project.dvc("push")
    project.commit("small")
    project.git("switch", "-q", "main")
    project.dvc("checkout")
    assert files("quick") == quick and project.is_current()
    project.git("switch", "-q", "other")
    project.dvc("checkout")
    assert files("small") == small, "nothing is lost"
    assert not project.snakemake("train_all")
