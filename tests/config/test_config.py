"""params.yaml: what the study expands to."""

import json
import re
from collections import Counter
from functools import partial

import pytest
from studies import PARAMS, ROOT, changed, mistakes

from bop2ndorder.study.config import SCALES, load_study
from bop2ndorder.study.config.codes import read_classes
from bop2ndorder.study.config.overlay import nested, overlay
from bop2ndorder.study.config.runs import Run
from bop2ndorder.study.config.settings import Settings


@pytest.fixture(scope="module")
def study():
    return load_study(PARAMS)


def test_the_experiments_of_the_paper_exist_at_every_scale(study):
    """With all their arms, but for some schedules where it has to be quick, and what waits."""
    published = ["normalization", "hyperparameters", "schedules", "cifar10", "imagenet"]
    own = {"mechanism", "rules", "grid", "length", "noise_floor"}
    assert study.experiments("quick") == study.experiments("paper")
    assert set(study.experiments("paper")) == {*published, *own}
    whole = arms_of(study, "paper", published)
    one_alone = ["sigma_exponential", "sigma_polynomial", "threshold_exponential"]
    quick = {("schedules", arm, None) for arm in [*one_alone, "lr_exponential", "lr_polynomial"]}
    waits = {("cifar10", "latent", None)}  # docs/plan.md, Deviations
    for scale, left_out in {"quick": quick, "small": waits, "paper": set()}.items():
        assert [name for name in study.experiments(scale) if name in published] == published
        assert whole - arms_of(study, scale, published) == left_out


def arms_of(study, scale, experiments):
    """What distinguishes the runs of some experiments, but for grids and seeds."""
    entries = (entry for name in experiments for entry in study.entries(scale, name))
    return {(entry.experiment, entry.arm, entry.axis) for entry in entries}


def test_an_arm_may_have_seeds_of_its_own(tmp_path):
    old = "arms:\n          bop: {set: {optimizer: {gamma: {every: 4}}}}"
    path = changed(tmp_path, (old, old.replace("}}}}", "}}}, seeds: [5, 6, 7]}")))
    seeds = {}
    for entry in load_study(path).entries("quick", "cifar10"):
        seeds.setdefault(entry.arm, []).append(entry.run.settings.seed)
    assert seeds.pop("bop") == [5, 6, 7]
    assert set(map(tuple, seeds.values())) == {(0, 1)}
    wrong = changed(tmp_path, (old, old.replace("}}}}", "}}}, seeds: [5, 5]}")))
    assert "scales.quick.experiments.cifar10.arms.bop.seeds: lists 5 twice" in mistakes(wrong)[0]


def test_a_scale_leaves_out_an_experiment_that_it_sets_to_null(tmp_path):
    old = "      noise_floor:\n        set: {epochs: 2}"
    study = load_study(changed(tmp_path, (old, "      noise_floor: null")))
    assert "noise_floor" not in study.experiments("small")
    assert "noise_floor" in study.experiments("quick") and "cifar10" in study.experiments("small")
    wrong = changed(tmp_path, ("\n  noise_floor:     ", "\n  nothing: null\n  noise_floor:     "))
    assert "experiments.nothing: " in mistakes(wrong)[0]


def test_a_scale_leaves_out_an_arm_that_it_sets_to_null(tmp_path):
    old = "          adam: {seeds: [0, 1]}"
    study = load_study(changed(tmp_path, (old, "          adam: null")))
    arms = {entry.arm for entry in study.entries("quick", "cifar10")}
    assert "adam" not in arms and "biased" in arms
    assert "adam" in {entry.arm for entry in study.entries("small", "cifar10")}
    wrong = changed(tmp_path, (old, "          adm: null"))
    assert mistakes(wrong)[0].startswith("scales.quick.experiments.cifar10.arms.adm: ")


def test_quick_is_quick(study):
    assert 70 <= len(study.runs("quick")) <= 90
    assert {run.settings.data.source for run in study.runs("quick").values()} == {"digits"}
    seeds = Counter(entry.arm for entry in study.entries("quick", "cifar10"))
    assert min(seeds.values()) >= 2 and "latent" in seeds


def test_published_settings_of_the_paper_scale(study):
    """Against the numbers in the paper, sections 5.1.1, 5.1.4, 5.2, 5.3."""
    first = study.entries("paper", "normalization")[0].run.settings
    assert (first.optimizer.threshold, first.optimizer.gamma, first.optimizer.sigma) == (
        1e-6, 1e-7, 1e-3,
    )  # fmt: skip
    assert (first.lr, first.batch_size, first.epochs) == (0.01, 100, 150)
    assert (first.network.width, first.network.dense) == (128, 1024)
    final = {e.arm: e.run.settings for e in study.entries("paper", "cifar10")}
    biased = final["biased"].optimizer
    assert (biased.gamma.start, biased.gamma.end) == (1e-2, 1e-5)
    assert (biased.sigma.start, biased.sigma.end) == (1e-7, 1e-2)
    assert (biased.threshold.start, biased.threshold.end) == (1e-5, 1e-8)
    assert (final["biased"].lr.start, final["biased"].lr.end) == (0.01, 0.001)
    assert {(s.batch_size, s.epochs) for arm, s in final.items() if arm != "latent"} == {(50, 500)}
    bop = final["bop"].optimizer
    assert (bop.gamma.start, bop.gamma.rate, bop.gamma.every) == (1e-4, 0.1, 100)
    assert (final["latent"].lr, final["latent"].batch_size, final["latent"].epochs) == (
        0.005, 256, 100,
    )  # fmt: skip
    imagenet = {e.arm: e.run.settings for e in study.entries("paper", "imagenet")}
    assert {arm: s.epochs for arm, s in imagenet.items()} == {
        "xnornet_bop": 100, "xnornet_biased": 100, "birealnet_bop": 300, "birealnet_biased": 150,
    }  # fmt: skip
    assert {s.batch_size for s in imagenet.values()} == {1024}


# What gradients are on average at a width: the table in docs/flips.md, and for `quick` params.yaml.
GRADIENTS = {12: 1.5e-4, 16: 8.1e-5, 128: 4.6e-6}


@pytest.mark.parametrize("scale", SCALES)
def test_steps_of_m_of_bop_are_those_of_its_width(study, scale):
    """A scale that forgets to say so compares a threshold of one step with one of a tenth."""
    found = 0
    for run in study.runs(scale).values():
        settings = run.settings.model_dump()
        threshold = settings["optimizer"].get("threshold")
        if isinstance(threshold, dict) and threshold["kind"] == "steps_of_m":
            of_bop = settings["optimizer"]["name"] == "bop"
            expected = GRADIENTS[settings["network"]["width"]] if of_bop else 1.0
            assert threshold["gradient"] == expected, run.id
            found += of_bop
    assert found


def test_axes_share_their_middle(study):
    entries = study.entries("paper", "hyperparameters")
    axes = Counter(e.axis for e in entries)
    assert axes == {f"optimizer.{name}": 5 for name in ("gamma", "sigma", "threshold")}
    middle = [e.run.id for e in entries if e.run.settings.optimizer.gamma == 1e-7
              and e.run.settings.optimizer.sigma == 1e-3
              and e.run.settings.optimizer.threshold == 1e-6]  # fmt: skip
    assert len(middle) == 3 and len(set(middle)) == 1
    # The middle, and 4 more values of each.
    assert len({e.run.id for e in entries}) == 1 + 4 + 4 + 4


def test_ids_are_short_safe_names_that_settings_decide(study, tmp_path):
    for scale in SCALES:
        for name in study.runs(scale):
            assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{10,120}", name)
    path = changed(tmp_path, ("set: {epochs: 7}", "set: {epochs: 9}"))
    before, after = set(study.runs("quick")), set(load_study(path).runs("quick"))
    schedules = {e.run.id for e in study.entries("quick", "schedules")}
    assert before - after == schedules and len(after) == len(before)
    local = changed(tmp_path, ("local: {}", "local: {cifar10: somewhere}"))
    assert set(load_study(local).runs("quick")) == before


LATER = [
    ("numerics", "native", "portable"),
    ("precision", "float32", "tf32"),
    ("graph", "auto", "off"),
    ("gpus", 1, 2),
    ("stop_after", None, 7),
    ("shadows", {}, {"sign": {"name": "bop", "gamma": 1e-4, "threshold": 0.0}}),
]


@pytest.mark.parametrize(("name", "default", "other"), LATER)
def test_a_setting_with_a_default_is_in_the_ids_it_changes_only(study, name, default, other):
    """Such as came later than the first records, whose settings lack it."""
    settings = study.entries("small", "hyperparameters")[0].run.settings.model_dump()
    named = settings | {later: value for later, value, _ in LATER}
    given = {key: value for key, value in named.items() if key != name}
    run = Run.of(Settings.model_validate(given))
    assert getattr(run.settings, name) == default
    assert Run.of(Settings.model_validate(named)) == run
    assert Run.of(Settings.model_validate(named | {name: other})).id != run.id


@pytest.mark.parametrize("scale", ["quick", "small"])
def test_records_can_be_made_again_on_other_processors(study, scale):
    assert {run.settings.numerics for run in study.runs(scale).values()} == {"portable"}


def test_a_stop_decides_how_long_a_run_is(study):
    """CIFAR-10 at scale small: 900 steps an epoch."""
    entry = next(e for e in study.entries("small", "normalization"))
    settings = entry.run.settings
    for stop, expected in ((None, (3, 2700)), (500, (1, 500)), (900, (1, 900)), (901, (2, 901))):
        stopped = settings.model_copy(update={"stop_after": stop, "batch_size": 50})
        assert stopped.length(45_000) == (expected[0], 50 * expected[1])
        assert stopped.length(45_049) == stopped.length(45_000), "a last partial batch is dropped"
        assert stopped.length(49) == (0, 0), "no batch"


def test_only_the_published_scale_has_another_precision_than_a_cpu(study):
    found = {scale: {r.settings.precision for r in study.runs(scale).values()} for scale in SCALES}
    assert found == {"quick": {"float32"}, "small": {"float32"}, "paper": {"tf32"}}


@pytest.mark.parametrize("scale", ["quick", "small"])
def test_records_have_the_name_that_their_settings_and_code_give(scale, monkeypatch):
    """Whatever settings and code there are by now."""
    records = list((ROOT / "results" / scale / "runs").iterdir())
    for record in records:
        facts = json.loads((record / "provenance.json").read_text(encoding="utf-8"))
        name = partial(first_of_class, facts["code"])
        monkeypatch.setattr("bop2ndorder.study.config.runs.code_name", name)
        assert Run.of(Settings.model_validate(facts["settings"])).id == record.name
    assert len(records) > 60


def first_of_class(code, part):
    """The hash in the id of a run of some code."""
    for entries in read_classes():
        if code[part] in (entry[part]["hash"] for entry in entries):
            return entries[0][part]["hash"]
    return code[part]


def test_overlay_replaces_whole_what_names_itself():
    base = {"optimizer": {"name": "bop2ndorder", "gamma": 1, "sigma": {"kind": "x", "start": 2}}}
    assert overlay(base, nested("optimizer.gamma", 3))["optimizer"] == {
        "name": "bop2ndorder", "gamma": 3, "sigma": {"kind": "x", "start": 2},
    }  # fmt: skip
    assert overlay(base, {"optimizer": {"name": "bop"}}) == {"optimizer": {"name": "bop"}}
    assert overlay(base, nested("optimizer.sigma.start", 5))["optimizer"]["sigma"] == {
        "kind": "x", "start": 5,
    }  # fmt: skip
    assert base["optimizer"]["gamma"] == 1
