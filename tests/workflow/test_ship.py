"""Networks that come with the repository: what is shipped, loaded by a clone, judged again."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from commands import call, prepare_and_train, sentence, workflow
from image_folders import write_folder
from safetensors import safe_open
from studies import ROOT, cut_down, keep, read, write

from bop2ndorder import load_run
from bop2ndorder.store import file_sha256, read_json
from bop2ndorder.study.analysis.pages.cards import scaling
from bop2ndorder.study.data import open_data, prepare

MODELS = Path("results/quick/models")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with two arms of two seeds each, trained and recorded."""
    folder = tmp_path_factory.mktemp("shipping")
    study = keep(cut_down(), "cifar10", "normalization")
    cifar10, quick = study["experiments"]["cifar10"], study["scales"]["quick"]
    cifar10["arms"] = {arm: {"set": cifar10["arms"][arm]["set"]} for arm in ("bop", "latent")}
    sizes = {"batch_size": 10, "epochs": 1}
    quick["experiments"]["cifar10"] = {
        "set": sizes,
        "arms": {"latent": {"set": sizes}},
        "seeds": [0, 1],
    }
    study["experiments"]["normalization"]["grid"] = {}
    quick.pop("claims", None)
    study["scales"] = {"quick": quick, "small": {}, "paper": {}}
    write(study, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare_and_train()
    return folder


@pytest.fixture
def here(recorded, tmp_path, monkeypatch):
    """A copy of it to work in; the ids of the first seeds."""
    monkeypatch.chdir(shutil.copytree(recorded, tmp_path / "study"))
    return first_seeds()


@pytest.fixture
def clone(here):
    """What a clone has of it once its networks are shipped, and the data."""
    call("ship", "cifar10")
    shutil.rmtree("runs")
    return here


def first_seeds():
    entries = workflow().study.entries("quick", "cifar10")
    return [entry.run.id for entry in entries if entry.run.settings.seed == 0]


def files():
    return {path.name for path in MODELS.iterdir()} if MODELS.exists() else set()


def test_the_first_seed_of_each_row_is_shipped_as_it_is(here):
    assert call("ship", "cifar10") == f"written: {MODELS / 'cifar10.md'}\n"
    assert len(here) == 2
    suffixed = {f"{run}{suffix}" for run in here for suffix in (".safetensors", ".md")}
    assert files() == {*suffixed, "cifar10.md"}
    listed = (MODELS / "cifar10.md").read_text()
    for run in here:
        original = workflow().run(run) / "weights.safetensors"
        assert workflow().shipped(run).read_bytes() == original.read_bytes()
        top1 = read_json(workflow().record(run) / "metrics.json")["test_top1_percent"]
        [row] = re.findall(rf"\| {top1:.2f} \| \[safetensors\]\({run}.safetensors\)", listed)
    before = {path: path.read_bytes() for path in MODELS.iterdir()}
    call("ship", "cifar10")
    assert {path: path.read_bytes() for path in MODELS.iterdir()} == before


def test_a_card_says_what_the_record_says_and_its_links_lead_somewhere(here):
    call("ship", "cifar10")
    for run in here:
        text = (MODELS / f"{run}.md").read_text()
        facts = read_json(workflow().record(run) / "provenance.json")
        metrics = read_json(workflow().record(run) / "metrics.json")
        assert f"{facts['parameters']['binary']:,} binary" in text
        assert f"{metrics['test_top1_percent']:.2f} % of 20 test images" in text
        assert file_sha256(workflow().shipped(run)) in text
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert len(links) == 4 and all((MODELS / link).exists() for link in links)
        loading = "\n".join(re.findall(r"^    (.*)", text, re.M))
        found = {}
        exec(loading, found)
        assert not found["network"].training


def test_a_clone_loads_the_network_and_it_answers_as_its_training_did(here):
    call("ship", "cifar10")
    planned = workflow().runs[here[0]]
    with safe_open(workflow().run(here[0]) / "predictions.safetensors", "pt") as file:
        answers = file.get_tensor("top")
    trained = load_run(here[0])
    shutil.rmtree("runs")
    network = load_run(here[0])
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())
    data = open_data(workflow().data(planned.data))
    ((images, _),) = data.batches("test", 500)
    with torch.inference_mode():
        top = network.to(memory_format=torch.channels_last)(images).topk(5).indices
    assert torch.equal(top.to(answers.dtype), answers)


def test_shipped_networks_are_judged_again_and_agree_with_their_records(clone):
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    lines = call("evaluate", *clone).splitlines()
    for run, line in zip(clone, lines, strict=True):
        top1 = read_json(workflow().record(run) / "metrics.json")["test_top1_percent"]
        assert line == f"{run}: test top-1 {top1:.2f} %, as its record says"
    after = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    assert after == before


def test_other_answers_than_the_record_s_are_no_agreement(clone):
    path = workflow().record(clone[0]) / "metrics.json"
    metrics = read_json(path)
    path.write_text(json.dumps(metrics | {"test_top1_percent": metrics["test_top1_percent"] + 5}))
    text = sentence("evaluate", clone[0])
    right = round(metrics["test_top1_percent"] / 5)
    assert f"{right} of its 20 answers to test images are right here, {right + 1} by" in text


def test_other_images_than_the_record_s_are_named(clone):
    path = workflow().data(workflow().runs[clone[0]].data) / "data.json"
    text = path.read_text()
    known = read_json(path)["sha256"]
    path.write_text(text.replace(known, known[::-1]))
    assert f"are not those of its record, sha256 {known}" in sentence("evaluate", clone[0])
    shutil.rmtree(path.parent)
    assert "`snakemake prepare_all` makes it" in sentence("evaluate", clone[0])


def test_a_shipped_network_is_held_against_its_record(clone):
    path = workflow().shipped(clone[0])
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="is damaged, or of another training than its record"):
        load_run(clone[0])
    path.write_bytes(content)
    load_run(clone[0])
    shutil.rmtree(workflow().record(clone[0]))
    with pytest.raises(FileNotFoundError, match="has no record in .*: restore it with `git check"):
        load_run(clone[0])
    with pytest.raises(FileNotFoundError, match=r"no finished run in runs and results.* 'nothing'"):
        load_run("nothing")


def test_what_is_trained_here_comes_before_what_is_shipped(here):
    call("ship", "cifar10")
    workflow().shipped(here[0]).write_bytes(b"damaged")
    load_run(here[0])


@pytest.mark.parametrize("lost", ["runs", "results/quick/runs"])
def test_without_weights_or_record_it_refuses_and_writes_nothing(here, lost):
    shutil.rmtree(f"{lost}/quick/{here[1]}" if lost == "runs" else f"{lost}/{here[1]}")
    text = sentence("ship", "cifar10")
    assert "Error: ship cifar10: 1 of 2 networks have no weights here" in text and here[1] in text
    assert not files()


def test_other_weights_than_the_record_s_are_not_shipped(here):
    weights = workflow().run(here[0]) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert f"such as {here[0]}" in sentence("ship", "cifar10")


def test_other_experiments_are_refused(here):
    text = sentence("ship", "normalization")
    assert text.endswith("ships networks of the final comparisons only: cifar10, imagenet")


def test_what_is_no_row_any_more_is_removed_and_the_rest_needs_no_run(clone):
    (MODELS / "imagenet.md").write_text("of another experiment")
    study = read(Path())
    del study["experiments"]["cifar10"]["arms"]["latent"]
    study["scales"]["quick"]["experiments"]["cifar10"]["arms"].pop("latent", None)
    write(study, Path())
    call("ship", "cifar10")
    assert files() == {f"{clone[0]}.md", f"{clone[0]}.safetensors", "cifar10.md", "imagenet.md"}


@pytest.mark.parametrize("source", ["digits", "cifar10", "imagenette"])
def test_cards_say_how_prepared_images_are_scaled(tmp_path, source):
    settings = {"source": source, "image_size": 16, "validation": 0, "limit": None}
    folder = None if source == "digits" else write_folder(tmp_path / "images")
    prepare(settings, tmp_path / "data", folder, progress=False)
    facts = read_json(tmp_path / "data" / "data.json")
    mean, std = facts["mean"], facts["std"]
    one = {*mean, *std} == {mean[0]}  # (x - c) / c
    formula = f"x / {mean[0]:g} - 1" if one else f"(x - {mean}) / {std}"
    assert scaling(source) == f"bytes x as {formula}"


@pytest.mark.slow
def test_git_dvc_and_verify_take_the_networks_as_results(project, tmp_path):
    """A clone of them loads without DVC; nothing is trained or made again."""
    project.call("bop2ndorder", "ship", "cifar10")
    project.call("bop2ndorder", "shelve")
    assert project.output == "" and not project.dvc("repro")
    project.commit("networks")
    assert project.is_current()
    assert "4 of 4 records reproduced" in project.call("bop2ndorder", "verify")
    clone = project.clone(tmp_path / "a clone")
    names = sorted(path.stem for path in clone.folder.glob(f"{MODELS}/*.safetensors"))
    assert len(names) == 3 and not (clone.folder / "runs").exists()
    for name in names:
        assert load_run(name, clone.folder) is not None


def test_every_network_that_is_committed_is_that_of_its_record():
    """In this repository: each is listed, and each list has a row for each row of the table."""
    for page in ROOT.glob("results/*/models/*.md"):
        if not (page.parents[1] / page.stem).is_dir():
            continue  # a card
        listed = re.findall(r"\((\S+)\.safetensors\)", page.read_text(encoding="utf-8"))
        table = (page.parents[1] / page.stem / "table.csv").read_text(encoding="utf-8")
        assert len(listed) == len(table.splitlines()) - 1, page
        for run in listed:
            record = page.parents[1] / "runs" / run
            metrics = read_json(record / "metrics.json")
            assert metrics["weights_sha256"] == file_sha256(page.with_name(f"{run}.safetensors"))
            assert page.with_name(f"{run}.md").exists()
            load_run(run, ROOT)
