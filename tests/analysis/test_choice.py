"""The choice of hyperparameters: recomputed from the records, and held against the comparison."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from studies import ROOT, read, write
from synthetic import write_records

from bop2ndorder.study.cli import main
from bop2ndorder.study.config import load_study

GRIDS = {"tuning_cifar10": "cifar10", "tuning_imagenet": "imagenet"}
ARMS = {
    "cifar10": {"bop", "biased", "constant", "adam", "latent"},
    "imagenet": {"xnornet_bop", "xnornet_biased", "birealnet_bop", "birealnet_biased"},
}
CHOSEN = ("network", "optimizer", "lr", "batch_size")


@pytest.fixture(scope="module")
def study():
    """The study without the tuned arms, whether or not they have been written by now."""
    document = read(ROOT)
    experiments = document["scales"]["small"]["experiments"]
    for comparison in GRIDS.values():
        arms = experiments[comparison]["arms"]
        for name in [name for name in arms if name.startswith("tuned")]:
            del arms[name]
    return document


@pytest.fixture
def here(study, tmp_path, monkeypatch):
    """A folder with that study and made-up records of its grids."""
    monkeypatch.chdir(tmp_path)
    write(study, tmp_path)
    for grids in GRIDS:
        write_records(load_study().entries("small", grids), Path("results/small"))
    return tmp_path


def choose(fails=False):
    result = CliRunner().invoke(main, ["--scale", "small", "choose"])
    assert (result.exit_code == 1) == fails, result.output
    return result.output


def recompute(results: Path, scale: str, grids: str) -> dict:
    """arm -> (settings, accuracy, runs), straight from the records; the first of equals."""
    accuracy, settings, runs = defaultdict(list), {}, defaultdict(list)
    for entry in load_study().entries(scale, grids):
        metrics = json.loads((results / "runs" / entry.run.id / "metrics.json").read_text())
        one = entry.run.settings.model_dump(exclude_defaults=True)
        one = {key: one[key] for key in CHOSEN}
        place = entry.arm, json.dumps(one, sort_keys=True)
        accuracy[place].append(metrics["val_top1_percent"])
        settings[place] = one
        runs[place].append(entry.run.id)
    best: dict = {}
    for place, values in accuracy.items():
        mean = sum(values) / len(values)
        if place[0] not in best or mean > best[place[0]][1]:
            best[place[0]] = settings[place], mean, runs[place]
    return best


@pytest.mark.parametrize("grids", GRIDS)
def test_the_choice_is_the_best_of_the_records(here, grids):
    choose(fails=True)
    whole = json.loads(Path("results/small/choice.json").read_text())
    choice, best = whole[GRIDS[grids]], recompute(Path("results/small"), "small", grids)
    assert whole.keys() == ARMS.keys()
    assert choice.keys() == best.keys() == ARMS[GRIDS[grids]]
    for arm, (settings, accuracy, runs) in best.items():
        found = choice[arm]
        assert found["settings"] == settings and found["runs"] == runs
        assert found["val_top1_percent"] == pytest.approx(accuracy, abs=1e-4)
        assert found["runner_up"]["val_top1_percent"] <= found["val_top1_percent"]
    sizes = {arm: found["grid_settings"] for arm, found in choice.items()}
    assert len(set(sizes.values())) == 1, "grids of equal size"
    grid = {run for found in choice.values() for run in found["grid_runs"]}
    assert grid == {entry.run.id for entry in load_study().entries("small", grids)}


def test_what_it_says_to_write_satisfies_it(here, study):
    """The lines go into params.yaml as they are, and the exit code turns to 0."""
    said = choose(fails=True).splitlines()
    places = [place for place, line in enumerate(said) if "is not there yet" in line]
    document = read(here)
    experiments = document["scales"]["small"]["experiments"]
    for place in places:
        comparison = said[place].split(" of ")[1].split()[0]
        assert f"scales.small.experiments.{comparison}.arms in params.yaml" in said[place]
        experiments[comparison]["arms"] |= YAML(typ="safe", pure=True).load(said[place + 1].strip())
    assert len(places) == sum(map(len, ARMS.values()))
    write(document, here)
    assert choose().count("uses the best of its grid (validation accuracy ") == len(places)

    tuned = experiments["cifar10"]["arms"]["tuned_bop"]["set"]["optimizer"]
    tuned["gamma"] = {**tuned["gamma"], "start": 7.0e-4}
    write(document, here)
    said = choose(fails=True)
    assert "tuned_bop of cifar10 uses other settings than the best of its grid" in said
    assert said.count("uses the best of its grid") == len(places) - 1


def test_a_missing_record_is_a_sentence(here):
    runs = [entry.run.id for entry in load_study().entries("small", "tuning_cifar10")]
    run = runs[3]
    (here / "results" / "small" / "runs" / run / "metrics.json").unlink()
    said = choose(fails=True)
    assert f"1 of {len(runs)} runs of the experiment tuning_cifar10 have no record yet" in said
    assert f"the first is {run}" in said
    assert not Path("results/small/choice.json").exists()


def test_a_scale_without_tuning_is_a_sentence(here):
    result = CliRunner().invoke(main, ["choose"])
    assert result.exit_code == 1
    assert "Error: choose: the scale quick has no experiment tuning_NAME" in result.output


COMMITTED = [path.parent for path in sorted((ROOT / "results").glob("*/choice.json"))]


@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("results", COMMITTED, ids=lambda path: path.name)
def test_the_committed_choice_is_the_best_of_the_committed_records(results, grids, monkeypatch):
    monkeypatch.chdir(ROOT)
    choice = json.loads((results / "choice.json").read_text())[GRIDS[grids]]
    best = recompute(results, results.name, grids)
    assert {arm: found["runs"] for arm, found in choice.items()} == {
        arm: runs for arm, (_, _, runs) in best.items()
    }
    used = defaultdict(list)
    for entry in load_study().entries(results.name, GRIDS[grids]):
        one = entry.run.settings.model_dump(exclude_defaults=True)
        used[entry.arm].append({key: one[key] for key in CHOSEN})
    for arm, (settings, _, _) in best.items():
        assert all(found == settings for found in used[f"tuned_{arm}"]) and used[f"tuned_{arm}"]
