"""Verify: what comes of each run, and what is excused and what not."""

import json
import math
import re
import shutil
import statistics
import subprocess
from dataclasses import replace

import pytest
from commands import GIT, commit, prepare_and_train, sentence, workflow
from scipy.stats import t as student
from studies import cut_down, keep, write
from verified import ALL_SAME, change, record, verified

from bop2ndorder.study.config import load_study
from bop2ndorder.study.workflow.verify import _within, seed_limits

MACHINE = {
    "device": "cpu",
    "processor": {"model": "P1", "vendor": "V", "extensions": ["avx2", "fma"], "cores": 2},
    "numerics": {"in_force": "portable", "aten": "AVX2", "onednn": "Intel AVX2",
                 "mkl": "COMPATIBLE", "numpy": "baseline"},
    "precision": "float32",
    "versions": {"python": "3.11.7", "torch": "2.14.1", "libc": "glibc 2.36"},
}  # fmt: skip


def made_by(run, theirs, ours, other_weights=True):
    """Let the record and the run here be made by two machines, whose weights differ or not."""
    for path, changes in ((record(run), theirs), (workflow().origin(run), ours)):
        change(path, **MACHINE)
        change(path, **changes)
    if other_weights:
        change(record(run, "metrics.json"), weights_sha256="0" * 64)
    commit("another machine's record")


def test_where_git_does_not_answer_nothing_is_compared(runs, monkeypatch):
    """As in an archive without .git, or a folder that git takes for another user's."""
    monkeypatch.setenv("GIT_DIR", "nowhere")
    text = sentence("verify")
    assert text.startswith("Error: verify: git does not show the committed records (fatal: not a g")
    assert "safe.directory" in text and sentence("verify", "--retrain", "1").startswith(text[:40])


# One digit


def test_runs_that_came_out_the_same_are_counted_and_not_listed(runs):
    assert verified().splitlines() == [ALL_SAME]


DIGITS = {
    "a setting": ("provenance.json", r'"batch_size": \d*'),
    "a number of the optimizer": ("provenance.json", r'"threshold": \d(?=e)'),
    "the hash of the data": ("provenance.json", r'"sha256": "[0-9a-f]*?\d(?=[0-9a-f])'),
    "the parameters": ("provenance.json", r'"binary": \d+'),
    "an accuracy": ("metrics.json", r'"train_accuracy_percent": \d+'),
    "a loss": ("metrics.json", r'"val_loss": \d+\.\d'),
    "a count": ("metrics.json", r'"val_images": \d+'),
    "the hash of the weights": ("metrics.json", r'"weights_sha256": "[0-9a-f]*?\d(?=[0-9a-f])'),
    "the history": ("history.csv", r"\n.*?\d\.\d"),
}


@pytest.mark.parametrize("what", DIGITS)
def test_one_digit_of_a_committed_record_fails_that_run_and_no_other(runs, what):
    run, other = runs
    name, place = DIGITS[what]
    path = record(run, name)
    text = path.read_text()
    end = re.search(place, text).end() - 1
    path.write_text(text[:end] + str((int(text[end]) + 1) % 10) + text[end + 1 :])
    assert verified().endswith(f"{ALL_SAME}\n"), "what is committed counts"
    commit("one digit")
    lines = verified(code=1).splitlines()
    assert lines[0] == "not reproduced" and lines[1].startswith(f"  {run}: ")
    assert lines[-1] == "1 of 2 records reproduced bit for bit, 1 not reproduced"
    assert not any(other in line for line in lines)


def test_a_setting_that_is_newer_than_the_record_has_its_default(runs):
    facts = json.loads(record(runs[0]).read_text())
    del facts["settings"]["network"]["norm"]
    record(runs[0]).write_text(json.dumps(facts))
    commit("before there was a choice of norms")
    assert ALL_SAME in verified()
    change(record(runs[0]), settings={"newer": 1})
    commit("a setting that nobody knows")
    assert "settings.newer" in verified(code=1)


# Machines

P2 = {"model": "P2"}
AVX512 = {"extensions": ["avx2", "avx512f", "fma"]}
NATIVE = {"numerics": {"in_force": "native", "mkl": "off"}}
OLD = {"processor": {"extensions": ["avx"]}}  # it cannot hold the pins
GPU = {**NATIVE, "device": "GPU 1"}
EXCUSES = {
    "torch": ({"versions": {"torch": "2.13.0"}}, {}, "torch (2.13.0, here 2.14.1)"),
    "libc": ({"versions": {"libc": "glibc 2.31"}}, {}, "libc (glibc 2.31, here glibc 2.36)"),
    "record on a GPU": (GPU, {}, "device (GPU 1, here cpu), numerics (native, here portable)"),
    "run on a GPU": ({}, GPU, "device (cpu, here GPU 1), numerics (portable, here native)"),
    "another GPU": (GPU, GPU | {"device": "GPU 2"}, "device (GPU 1, here GPU 2)"),
    "no TF32 here": (GPU | {"precision": "tf32"}, GPU, "precision (tf32, here float32)"),
    "another cuDNN": (
        GPU | {"versions": {"cudnn": "91300"}}, GPU | {"versions": {"cudnn": "91002"}},
        "cudnn (91300, here 91002)"),
    "native record": (NATIVE, {}, "numerics (native, here portable)"),
    "no AVX2 here": ({}, NATIVE | OLD, "numerics (portable, here native)"),
    "no MKL here": ({}, {"numerics": {"in_force": "native", "mkl": None}},
                    "numerics (portable, here native)"),
    "native on two processors": (NATIVE | {"processor": P2}, NATIVE, "processor (P2, here P1)"),
    "native with other extensions": (
        NATIVE | {"processor": AVX512}, NATIVE, "extensions (avx2 avx512f fma, here avx2 fma)"),
    "native, processor half known": (
        NATIVE | {"processor": {"extensions": None}}, NATIVE,
        "extensions (not recorded, here avx2 fma)"),
    "native by other kernels": (
        {"numerics": {**NATIVE["numerics"], "aten": "AVX512"}}, NATIVE,
        "aten's kernels (AVX512, here AVX2)"),
}  # fmt: skip
NO_EXCUSES = {
    "nothing is other": ({}, {}),
    "portable on two processors": ({"processor": P2 | AVX512}, {}),
    "native twice on one processor": (NATIVE, NATIVE),
    "native on one processor with more cores": (NATIVE, NATIVE | {"processor": {"cores": 64}}),
    "pins missing where they hold": ({}, NATIVE),
    "pins missing where they hold, and another torch": (
        {"versions": {"torch": "2.13.0"}}, NATIVE),
    "a record that tells nothing": (
        {"device": None, "processor": None, "numerics": None, "versions": None}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCUSES)
def test_what_may_change_bits_is_named_as_an_excuse(runs, case):
    theirs, ours, other = EXCUSES[case]
    made_by(runs[0], theirs, ours)
    lines = verified().splitlines()
    assert lines[0] == f"differs, made with other {other}"
    assert lines[1] == f"  {runs[0]}: top-1 +0.00 points, no rule for what seeds do"
    assert lines[-1] == "1 of 2 records reproduced bit for bit, 1 differs"


@pytest.mark.parametrize("case", NO_EXCUSES)
def test_nothing_else_is_an_excuse(runs, case):
    theirs, ours = NO_EXCUSES[case]
    made_by(runs[0], theirs, ours)
    text = verified(code=1)
    assert f"not reproduced\n  {runs[0]}: top-1 +0.00 points; " in text
    assert ("this machine can hold portable numerics" in text) == case.startswith("pins")


@pytest.mark.parametrize("case", EXCUSES | NO_EXCUSES)
def test_the_same_bits_are_reproduced_whatever_made_them(runs, case):
    theirs, ours, *_ = (EXCUSES | NO_EXCUSES)[case]
    made_by(runs[0], theirs, ours, other_weights=False)
    assert verified().splitlines()[-1] == ALL_SAME


def test_another_machine_excuses_no_other_settings(runs):
    made_by(runs[0], {"versions": {"torch": "2.13.0"}, "settings": {"epochs": 2}}, {})
    assert "settings.epochs" in verified(code=1)


def test_another_machine_excuses_no_metrics_that_the_record_itself_belies(runs):
    made_by(runs[0], {"versions": {"torch": "2.13.0"}}, {})
    change(record(runs[0], "metrics.json"), train_loss=0.5)
    commit("metrics of no history")
    assert "the record's metrics are not those of its own history" in verified(code=1)


def test_native_records_are_announced(runs):
    said = "records were made natively: only the same processor kind need agree"
    assert said not in verified()
    made_by(runs[0], NATIVE, NATIVE, other_weights=False)
    assert f"1 {said}" in verified()


# What seeds do


def seeded(folder):
    """Two arms, of three seeds and of one, of cifar10; and one seed of schedules."""
    study = keep(cut_down(), "cifar10", "schedules")
    for experiment in study["experiments"].values():
        for arm in experiment["arms"].values():
            arm.pop("seeds", None)
    cifar10 = study["experiments"]["cifar10"]
    cifar10["arms"] = {arm: cifar10["arms"][arm] for arm in ("biased", "constant", "adam")}
    cifar10["arms"]["adam"]["seeds"] = [0]
    del study["scales"]["small"]["experiments"]["cifar10"]
    study["scales"]["quick"]["experiments"]["cifar10"] = {
        "set": {"epochs": 1, "batch_size": 10}, "seeds": [0, 1, 2],
    }  # fmt: skip
    write(study, folder)
    return load_study(folder / "params.yaml").entries("quick")


def test_the_rule_is_students_t_over_seeds_and_pooled_where_there_is_one(tmp_path):
    entries = seeded(tmp_path)
    values = {"biased": [50.0, 51.0, 53.0], "constant": [60.0, 60.5, 62.5], "adam": [99.0]}
    top1, ids = {}, {}
    for entry in entries:
        own = values.get(entry.arm) if entry.experiment == "cifar10" else [10.0]
        ids.setdefault((entry.experiment, entry.arm), []).append(entry.run.id)
        top1[entry.run.id] = own[entry.run.settings.seed]
    found = seed_limits(entries, top1)

    def limit(freedom, variance):
        return pytest.approx(student.ppf(0.975, freedom) * math.sqrt(2 * variance))

    variances = {arm: statistics.variance(values[arm]) for arm in ("biased", "constant")}
    for arm, variance in variances.items():
        assert [found[run] for run in ids["cifar10", arm]] == [limit(2, variance)] * 3
    pooled = limit(4, statistics.mean(variances.values()))
    assert [found[run] for run in ids["cifar10", "adam"]] == [pooled]
    alone = [run for (name, _), runs in ids.items() if name == "schedules" for run in runs]
    assert alone and not found.keys() & set(alone)


def test_a_run_of_two_experiments_goes_by_its_larger_group(tmp_path):
    entries = seeded(tmp_path)
    own = [e for e in entries if (e.experiment, e.arm) == ("cifar10", "biased")]
    top1 = {entry.run.id: 50.0 + entry.run.settings.seed for entry in own}
    shared = replace(own[0], experiment="another")
    assert seed_limits([shared, *own], top1) == seed_limits(own, top1)
    assert seed_limits([shared], top1) == {}


def test_a_difference_is_held_against_what_seeds_do(tmp_path, monkeypatch):
    points = 0.1
    study = keep(cut_down(), "normalization")
    study["experiments"]["normalization"]["grid"] = {}
    study["scales"]["quick"]["experiments"]["normalization"]["seeds"] = [0, 1]
    write(study, tmp_path)
    monkeypatch.chdir(tmp_path)
    prepare_and_train()
    run, other = workflow().runs
    top1 = json.loads(record(run, "metrics.json").read_text())["val_top1_percent"]
    change(record(other, "metrics.json"), val_top1_percent=top1 + points)
    for each in (run, other):
        made_by(each, {"versions": {"torch": "2.13.0"}}, {})
    # Between two values s is their distance over the square root of two.
    limit = student.ppf(0.975, 1) * points
    text = verified()
    assert f"{run}: top-1 +0.00 points, within what seeds do ({limit:.2f})" in text
    assert "t(0.975, n-1) * s * sqrt(2)" in text


def test_the_rule_tells_within_from_beyond():
    assert _within(0.5, 0.5).startswith("within") and _within(-0.5, 0.5).startswith("within")
    assert _within(-0.6, 0.5) == "beyond what seeds do (0.50)"


# Files


@pytest.mark.parametrize("name", ["weights.safetensors", "history.csv", "run.json"])
def test_a_damaged_file_fails_its_run_and_is_named(runs, name):
    path = workflow().run(runs[0]) / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    text = verified(code=1)
    assert f"not reproduced\n  {runs[0]}: {path} is missing or damaged" in text
    path.unlink()
    assert f"{path} is missing or damaged" in verified(code=1)


def test_a_run_that_is_not_here_is_no_failure_unless_none_is(runs):
    shutil.rmtree(workflow().run(runs[0]))
    text = verified()
    assert f"not here\n  {runs[0]}\n" in text
    assert text.endswith("1 of 2 records reproduced bit for bit, 1 not here\n")
    shutil.rmtree(workflow().run(runs[1]))
    [line] = verified(code=2).splitlines()
    assert line.startswith("Error: verify: no run of this scale is here")


def test_a_run_without_a_committed_record_is_named_and_no_failure(runs):
    subprocess.run([*GIT, "rm", "-rq", "--cached", record(runs[0], "")], check=True)
    subprocess.run([*GIT, "commit", "-qm", "without a record"], check=True)
    assert f"without a committed record\n  {runs[0]}\n" in verified()


def test_a_committed_record_that_is_cut_short_fails_its_run(runs):
    path = record(runs[0])
    path.write_text(path.read_text()[:-9])
    commit("cut short")
    assert f"not reproduced\n  {runs[0]}: its committed record is damaged" in verified(code=1)


@pytest.mark.parametrize("origin", ["missing", "of other weights"])
def test_pulled_runs_are_said_to_be_so_and_have_no_excuse(runs, origin):
    path = workflow().origin(runs[0])
    if origin == "missing":
        path.unlink()
    else:
        change(path, weights_sha256="0" * 64)
    assert verified().splitlines() == ["pulled, not made here: 1 of the runs", ALL_SAME]
    change(record(runs[0]), versions={"torch": "2.13.0"})
    change(record(runs[0], "metrics.json"), val_loss=1.0)
    commit("another result by another torch")
    assert "points; pulled, not made here, metrics.val_loss" in verified(code=1)
