"""A mistake in params.yaml: one sentence that says where, what, and what is allowed."""

import re

import pytest
from studies import ROOT, TEN_MISTAKES, changed, mistakes, read

from bop2ndorder.study.config import ParamsError, load_study
from bop2ndorder.study.config.study import check


def shadow(name, rule):
    """In the place of the line with gpus: a rule beside every run."""
    return f"  gpus: 1\n  shadows: {{{name}: {{name: {rule}}}}} "


def test_a_long_value_leaves_its_sentences_short():
    """Files may not hold an integer as long; a document of other origin may."""
    document = read(ROOT)
    document["defaults"]["gpus"] = 10**600
    with pytest.raises(ParamsError) as caught:
        check(document)
    assert all(len(line) < 500 for line in caught.value.lines)


def test_ten_mistakes_give_ten_sentences(tmp_path):
    path = changed(tmp_path, *((old, new) for old, new, _ in TEN_MISTAKES if old))
    lines = mistakes(path)
    assert len(lines) == 10
    for _, _, pattern in TEN_MISTAKES:
        assert sum(bool(re.search(pattern, line)) for line in lines) == 1, (pattern, lines)


def test_one_mistake_does_not_hide_those_of_another_scale(tmp_path):
    path = changed(
        tmp_path,
        ("epochs: 150 ", "epochs: 0 "),
        (
            "      normalization:\n        set: {epochs: 3}",
            "      normalization:\n        set: {epochs: x}",
        ),
    )
    assert mistakes(path) == [
        "scales.small.experiments.normalization.set.epochs: found 'x'; must be a valid integer",
        "experiments.normalization.set.epochs: found 0; must be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("data: digits16\n", "data: digits\n", "one of the data sets that the file declares"),
        ("image_size: 64, validation: 180", "image_size: 32, validation: 180", "at least 64"),
        ("bias_correction: [none,", "bias_corection: [none,", "did you mean bias_correction?"),
        ("gamma: {every: 2}", "gamma: {evry: 2}", "did you mean every?"),
        (
            "augment: {pad: 4, flip: true}",
            "augment: {pad: four, flip: true}",
            "data.cifar10.augment",
        ),
        ("      constant: {set:", "      bop: {set:", "the key bop stands twice"),
        ("optimizer: {bias_correction: adam}", "optimizer: {bias_correction: constant}", "twice"),
        ("scale: quick ", "scale: [quick", "params.yaml"),
        # Half of a step of 25 an epoch, which is rounded to none.
        ("{gamma: {every: 2}}", "{gamma: {every: 0.02}}", "every: found 0.02; comes to no step"),
        ("end: 1.0e-10}", "end: 1.0e-10, until: 1.0e-9}", "until: found 1e-09; comes to no step"),
        ("  gpus: 1 ", "  gpus: 0 ", "defaults.gpus: found 0; must be greater than or equal to 1"),
        ("  gpus: 1 ", "  gpus: 3 ", "batch_size: found 50; must be divisible by gpus, 3"),
        (
            "  gpus: 1 ",
            "  gpus: 1\n  stop_after: 0 ",
            "defaults.stop_after: found 0; must be greater",
        ),
        (
            "  gpus: 1 ",
            f"  gpus: 1\n  stop_after: {10**9} ",
            "stop_after: found 1000000000; must be at most",
        ),
        (
            "  gpus: 1 ",
            shadow("sign", "latent"),
            "shadows.sign.name: found 'latent'; must be one of",
        ),
        ("  gpus: 1 ", shadow("bop", "bop, gamma: 2.0"), "defaults.shadows.bop.gamma: found 2.0"),
        ("  gpus: 1 ", shadow("bop", "bop, gamm: 1.0"), "did you mean gamma?"),
        (
            "  gpus: 1 ",
            shadow("A b", "bop"),
            "defaults.shadows.A b: found 'A b'; String should match",
        ),
        (
            "  gpus: 1 ",
            shadow("bop", "bop, gamma: 1.0, threshold: 0.0"),
            "must be left out with latent",
        ),
        (
            "  gpus: 1 ",
            shadow("a", "bop, threshold: 1.0, gamma: {kind: polynomial, until: 1.0e-9}"),
            "defaults.shadows.a.gamma.until: found 1e-09; comes to no step",
        ),
        ("times: 1.0}", "times: -1.0}", "grid.optimizer.threshold: found -1.0"),
        ("local: {}", "local: 3", "local: found 3; must be a mapping"),
        (
            "threshold: {kind: exponential, start: 1.0e-6, rate: 0.1, every: 100}",
            "sigma: {kind: noise_floor, times: 1.0}",
            "must be a number or a schedule whose kind is exponential or polynomial",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path, old, new, expected):
    with pytest.raises(ParamsError, match=re.escape(expected)):
        load_study(changed(tmp_path, (old, new)))


FILED = {
    "a mapping that sets it": (
        "    set:\n      optimizer: {name: bop2ndorder, gamma: 1.0e-7,",
        "    set:\n      optimizer: {name: bop2ndorder, gamma: -1.0,",
        "experiments.normalization.set.optimizer.gamma",
    ),
    "a value of a grid": (
        "bias_correction: [none, constant]",
        "bias_correction: [none, some]",
        "experiments.normalization.grid.optimizer.bias_correction",
    ),
    "the seeds": (
        "[none, constant]\n    seeds: [10, 11, 12, 13, 14]",
        f"[none, constant]\n    seeds: [{2**31}]",
        "experiments.normalization.seeds",
    ),
    "the defaults": ("  lr: 0.01 ", "  lr: 0.0 ", "defaults.lr"),
    "the mapping of a scale that takes another's place": (
        "  paper: {}",
        "  paper: {defaults: {lr: {kind: exponential, start: 0.1, rate: 0.1}}}",
        "scales.paper.defaults.lr.every",
    ),
    "a mapping that replaces the one below it": (
        "every: 100}, threshold: 1.0e-8}\n          lr: 0.01\n      biased",
        "every: 100}}\n          lr: 0.01\n      biased",
        "experiments.cifar10.arms.bop.set.optimizer.threshold",
    ),
    "a schedule in place of a schedule": (
        "threshold: 1.0e-8}\n          lr: 0.01\n      biased",
        "threshold: 1.0e-8}\n          lr: {kind: polynomial, start: 1.0}\n      biased",
        "experiments.cifar10.arms.bop.set.lr.end",
    ),
    "the defaults where nothing sets it": ("  lr: 0.01 ", "  #", "defaults.lr"),
}


@pytest.mark.parametrize(("old", "new", "place"), FILED.values(), ids=FILED)
def test_a_mistake_is_filed_where_its_value_stands(tmp_path, old, new, place):
    filed = [line.split(":")[0] for line in mistakes(changed(tmp_path, (old, new)))]
    assert filed[-1] == place, "of the scale paper, which lays nothing over"


def test_a_batch_of_all_images_and_a_stop_after_all_steps_are_allowed():
    """1,797 digits: 359 for the test, 180 for validation, 1,258 to train on."""
    document = read(ROOT)
    sizes = document["scales"]["quick"]["experiments"]["normalization"]["set"]
    sizes |= {"batch_size": 1258, "epochs": 3, "stop_after": 3}
    check(document)
    for key, allowed in (("batch_size", 1258), ("stop_after", 3)):
        sizes[key] += 1
        with pytest.raises(ParamsError, match=f"{key}: found {allowed + 1}; must be at most"):
            check(document)
        sizes[key] -= 1


def test_a_typo_in_an_arm_is_one_mistake(tmp_path):
    """Were all arms left out for it, the experiment would be read as one without any."""
    path = changed(tmp_path, ("      adam: {set: {optimizer", "      adam: {sets: {optimizer"))
    [line] = mistakes(path)
    assert line.startswith("experiments.cifar10.arms.adam.sets: unknown key")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1e-3", ": write 0.001, with a point and without quotes (YAML takes 1e-3 for text)"),
        ('"2"', ": write 2.0, with a point"),
        ("inf", ""),
        ("nan", ""),
    ],
)
def test_how_to_write_a_number_is_said_of_what_can_be_one(tmp_path, written, hint):
    lines = mistakes(changed(tmp_path, ("  lr: 0.01 ", f"  lr: {written} ")))
    [line] = [line for line in lines if line.startswith("defaults.lr")]
    assert hint in line if hint else "write" not in line


def test_what_a_scale_leaves_out_must_be_there():
    document = read(ROOT)
    own = document["scales"]["small"]["experiments"]
    own["lenght"] = own["cifar10"]["arms"]["latnet"] = None
    with pytest.raises(ParamsError) as caught:
        check(document)
    for place, name in (("lenght", "length"), ("cifar10.arms.latnet", "latent")):
        [line] = [line for line in caught.value.lines if f".{place}: " in line]
        assert line.startswith(f"scales.small.experiments.{place}: found null, which leaves out")
        assert line.endswith(f"did you mean {name}?")
    assert len(caught.value.lines) == 2


def test_a_setting_that_no_scale_has_is_missing_once(tmp_path):
    assert mistakes(changed(tmp_path, ("  lr: 0.01 ", "  #"))) == ["defaults.lr: is missing"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "scale: quick", "a: b: c", "scale: !!python/name:os x", "a: &a [*a]", "[" * 9999],
)
def test_not_a_study(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match="params.yaml is not valid"):
        load_study(path)


def test_experiments_among_the_defaults_are_mistakes_with_a_place(tmp_path):
    """A line that is lost makes every setting of a run a stranger."""
    for line in mistakes(changed(tmp_path, ("\nexperiments:\n", "\n"))):
        assert re.match(r"\s*[a-z][\w.]*: ", line)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ParamsError, match="cannot be read"):
        load_study(tmp_path / "params.yaml")


@pytest.mark.parametrize("written", ["1.0e-7", "1e-07", "0.0000001"])
def test_numbers_as_people_and_dvc_write_them(tmp_path, written):
    old = "gamma: 1.0e-7, sigma: 1.0e-3, threshold: 1.0e-6}   # [P 5.1.1]"
    path = changed(tmp_path, (old, old.replace("1.0e-7", written)))
    run = load_study(path).entries("paper", "normalization")[0].run
    assert run.settings.optimizer.gamma == 1e-7
