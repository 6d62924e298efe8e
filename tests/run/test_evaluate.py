"""Evaluation: scores from answers, damaged files, records that are left as they are."""

import hashlib
import json
import math
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import finished_run, origin_of

from bop2ndorder.load import load_run
from bop2ndorder.store import write_done
from bop2ndorder.study.run.evaluate import (
    ORIGIN,
    RECORD,
    accuracy,
    evaluate,
    last_epoch,
    read_history,
    score,
)
from bop2ndorder.study.run.record import RUN_FILES


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    return finished_run(digits, tmp_path_factory.mktemp("runs") / "quick" / "a-run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, to be damaged."""
    (tmp_path / "runs" / "quick").mkdir(parents=True)
    shutil.copy(origin_of(trained), tmp_path / "runs" / "quick")
    return shutil.copytree(trained, tmp_path / "runs" / "quick" / "a-run")


def judged(run, record):
    return evaluate(run, record, origin_of(run))


def write_predictions(path, top, labels, loss, split="test"):
    save_file(
        {
            "top": np.array(top, dtype=np.int16),
            "labels": np.array(labels, dtype=np.int16),
            "loss": np.array(loss, dtype=np.float32),
        },
        path,
        {"split": split},
    )


def test_scores_of_answers_made_by_hand(tmp_path):
    """Of four images one is right at once, two more are among the first five."""
    top = [[7, 1, 2, 3, 4], [0, 1, 2, 3, 9], [5, 6, 7, 8, 9], [1, 0, 2, 3, 4]]
    write_predictions(tmp_path / "p", top, [7, 9, 0, 0], [0.5, 1.0, 1.5, 3.0])
    assert score(tmp_path / "p") == {
        "test_top1_percent": 25.0,
        "test_top5_percent": 75.0,
        "test_loss": 1.5,
        "test_images": 4,
    }


def test_scores_of_fewer_than_five_classes(tmp_path):
    write_predictions(tmp_path / "p", [[1, 0], [0, 1]], [1, 1], [0.25, 0.75], "validation")
    found = score(tmp_path / "p")
    assert (found["val_top1_percent"], found["val_top5_percent"]) == (50.0, 100.0)
    assert not any(name.startswith("test") for name in found)
    assert accuracy(found) == ("validation", 50.0)


def test_the_last_epoch_is_the_headline_not_the_best():
    text = (
        "epoch,step,images_seen,train_loss,train_accuracy,val_loss,val_accuracy,flip_rate\n"
        "1,3,60,1.5,0.9,1.0,0.8,0.1\n2,6,120,2.5,0.5,,,0.2\n"
    )
    assert last_epoch(read_history(text)) == {
        "train_loss": 2.5,
        "train_accuracy_percent": 50.0,
        "flip_rate": 0.2,
        "epochs": 2,
        "images_seen": 120,
    }


def test_a_record_has_the_metrics_of_the_run(run, tmp_path):
    record = tmp_path / "record"
    metrics = judged(run, record)
    assert sorted(path.name for path in record.iterdir()) == sorted(RECORD)
    assert json.loads((record / "metrics.json").read_text()) == metrics
    assert (record / "history.csv").read_bytes() == (run / "history.csv").read_bytes()
    facts = json.loads((record / "provenance.json").read_text())
    noted = json.loads(origin_of(run).read_text())
    assert noted.pop("weights_sha256") == metrics["weights_sha256"]
    assert facts == json.loads((run / "run.json").read_text()) | noted
    assert set(noted) == set(ORIGIN)
    last = read_history((run / "history.csv").read_text())[-1]
    assert (metrics["run"], metrics["epochs"], metrics["images_seen"]) == ("a-run", 3, 180)
    assert metrics["val_top1_percent"] == 100 * last["val_accuracy"]
    assert metrics["weights_sha256"] == sha256(run / "weights.safetensors")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [*RUN_FILES, "done.json"])
@pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
def test_a_damaged_file_is_named_and_no_record_is_written(run, tmp_path, name, damage):
    path = run / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "truncated" else altered(content))
    damaged = name if name != "done.json" or damage != "altered" else "weights.safetensors"
    with pytest.raises(ValueError, match=f"{damaged} is missing or damaged: restore it with"):
        judged(run, tmp_path / "record")
    assert not (tmp_path / "record").exists()
    with pytest.raises((ValueError, FileNotFoundError)):
        load_run("a-run", tmp_path)


def altered(content: bytes) -> bytes:
    """The same size, another hexadecimal digit near the end: a file's byte, a hash's digit."""
    place = max(content.rfind(digit) for digit in (b"1", b"2", b"3"))
    return content[:place] + (b"5" if place >= 0 else b"") + content[place + 1 :]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stamps(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_an_equal_record_is_left_untouched(digits, run, tmp_path):
    """Trained again, the run has the same files and its note other times; so git sees no change."""
    record = tmp_path / "record"
    judged(run, record)
    before = stamps(record)
    again = finished_run(digits, tmp_path / "again" / "a-run")
    assert contents(again) == contents(run)
    assert origin_of(again).read_bytes() != origin_of(run).read_bytes(), "times"
    judged(again, record)
    assert stamps(record) == before


@pytest.mark.parametrize("note", [None, "", "of other weights"])
def test_a_run_whose_origin_is_lost_has_a_record_that_says_so(run, tmp_path, note):
    """As `dvc pull` brings it; a note of another result of the same name tells nothing of it."""
    path = origin_of(run)
    noted = json.loads(path.read_text())
    path.unlink()
    if note is not None:
        path.write_text(
            note or "{"
            if note != "of other weights"
            else json.dumps(noted | {"weights_sha256": "other"})
        )
    judged(run, tmp_path / "record")
    facts = json.loads((tmp_path / "record" / "provenance.json").read_text())
    assert facts == json.loads((run / "run.json").read_text()) | dict.fromkeys(ORIGIN)


@pytest.mark.parametrize("name", RECORD)
def test_a_record_that_is_incomplete_is_completed(run, tmp_path, name):
    record = tmp_path / "record"
    judged(run, record)
    before = stamps(record)
    (record / name).unlink()
    judged(run, record)
    assert (record / name).read_bytes() == before[name][0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "{}"),
        ("metrics.json", "<<<<<<< HEAD"),
        ("history.csv", ""),
        ("history.csv", "epoch\n<<<<<<< HEAD\n"),
        ("history.csv", "epoch\n1,2\n"),
    ],
)
def test_a_record_that_says_something_else_is_replaced(run, tmp_path, name, content):
    record = tmp_path / "record"
    judged(run, record)
    before = stamps(record)
    (record / name).write_text(content)
    judged(run, record)
    assert {n: c for n, (c, _) in stamps(record).items()} == {n: c for n, (c, _) in before.items()}


def test_the_record_of_other_weights_is_replaced(digits, run, tmp_path):
    record = tmp_path / "record"
    judged(finished_run(digits, tmp_path / "other" / "a-run", seed=1), record)
    judged(run, record)
    found = json.loads((record / "metrics.json").read_text())
    assert found["weights_sha256"] == sha256(run / "weights.safetensors")
    assert (record / "history.csv").read_bytes() == (run / "history.csv").read_bytes()


def test_numbers_survive_the_history_file_exactly(run):
    row = read_history((run / "history.csv").read_text())[0]
    assert row["sigma"] is None and row["gamma"] == 1e-3
    assert all(value is None or math.isfinite(value) for value in row.values())
    assert np.float32(row["val_loss"]) == row["val_loss"], "a float32 to its last bit"


# load_run, which reads the same files


def test_a_run_is_found_by_the_beginning_of_its_id(run, tmp_path):
    assert load_run("a-r", tmp_path) is not None
    with pytest.raises(FileNotFoundError, match=r"no finished run in .* begins with 'b'"):
        load_run("b", tmp_path)
    shutil.copytree(run, run.with_name("a-rest"))
    with pytest.raises(FileNotFoundError, match=r"2 runs in .* 'a-r', such as a-rest and a-run"):
        load_run("a-r", tmp_path)


def test_an_unfinished_run_is_not_loaded(run, tmp_path):
    (run / "done.json").unlink()
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_run("a-run", tmp_path)


def test_altered_weights_are_not_loaded(run, tmp_path):
    path = run / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged: restore it with"):
        load_run("a-run", tmp_path)
    write_done(run, RUN_FILES)
    load_run("a-run", tmp_path)
