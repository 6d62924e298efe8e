"""What the claims compare is held to what is run: before anything runs, at every scale."""

import copy

import pytest
from studies import ROOT, read

from bop2ndorder.study.config.problems import ParamsError
from bop2ndorder.study.config.study import check


@pytest.fixture(scope="module")
def whole():
    return read(ROOT)


@pytest.fixture
def document(whole):
    return copy.deepcopy(whole)


def comparison(document, label="C1", kind="primary"):
    return next(iter(document["claims"]["statements"][label][kind].values()))


def mistakes(document):
    with pytest.raises(ParamsError) as caught:
        check(document)
    return caught.value.lines


def test_an_arm_that_no_run_has_is_named_once_with_its_key(document):
    comparison(document)["of"] = {"arm": ["biased", "biasd"]}
    [line] = mistakes(document)
    start = "claims.statements.C1.primary.biased.of.arm: found 'biasd'; must be one that the "
    assert line.startswith(start + "experiment's runs have: ") and "biased, constant" in line


def test_so_are_an_experiment_and_an_optimizer(document):
    comparison(document)["experiment"] = "cifar"
    comparison(document, "C4")["against"] = {"optimizer": ["corected"], "norm": ["batch"]}
    experiment, optimizer = sorted({line.rpartition("; must")[0] for line in mistakes(document)})
    assert experiment == "claims.statements.C1.primary.biased.experiment: found 'cifar'"
    assert optimizer == "claims.statements.C4.primary.batch.against.optimizer: found 'corected'"


def test_runs_along_axes_are_no_cells_to_compare(document):
    comparison(document)["experiment"] = "hyperparameters"
    text = "found 'hyperparameters'; must be one of the scale's that has arms or a grid: "
    for line in mistakes(document):
        _, found, allowed = line.partition(text)
        assert found and "hyperparameters" not in allowed.split(", ")


def test_values_that_no_single_run_has_together_are_a_mistake(document):
    comparison(document)["of"] = {"arm": ["biased"], "optimizer": ["adam"]}
    place = "claims.statements.C1.primary.biased.of"
    assert mistakes(document) == [f"{place}: no run of this experiment has all of this"]


def test_what_a_scale_leaves_out_may_be_named(document):
    quick = document["scales"]["quick"]["experiments"]
    quick["imagenet"] = None
    quick["cifar10"].setdefault("arms", {})["adam"] = None
    study = check(document)
    assert "imagenet" not in study.experiments("quick")
    assert "adam" not in {entry.arm for entry in study.entries("quick", "cifar10")}
    comparison(document, "C3", "secondary")["against"] = {"arm": ["adan"]}
    assert all("found 'adan'" in line for line in mistakes(document)), "other names are not excused"


def test_a_mistake_in_an_experiment_is_none_of_what_compares_it(document):
    document["experiments"]["cifar10"]["set"]["batch_size"] = "many"
    assert all(
        line.startswith("experiments.cifar10.set.batch_size: ") for line in mistakes(document)
    )
    comparison(document, "C4")["of"] = {"norm": ["bach"]}
    assert any("found 'bach'" in line for line in mistakes(document)), "nor does it hide others"


def test_a_scales_own_comparison_is_filed_under_the_scale(document):
    over = {"statements": {"C1": {"primary": {"biased": {"of": {"arm": ["biasd"]}}}}}}
    document["scales"]["small"]["claims"] = over
    [line] = mistakes(document)
    assert line.startswith("scales.small.claims.statements.C1.primary.biased.of.arm: found 'biasd'")


def test_what_decides_is_no_count_of_images_and_has_one_name(document):
    claim = document["claims"]["statements"]["C1"]
    images = next(one for one in claim["secondary"].values() if one["measure"] == "images")
    claim["primary"] = {"images": images}
    [line] = mistakes(document)
    assert line.startswith(
        "claims.statements.C1: the primary comparison images is of images, which"
    )
    claim["primary"] = {"corrected": claim["secondary"]["corrected"]}
    assert mistakes(document) == [
        "claims.statements.C1: corrected is primary and secondary; give one another name"
    ]
