"""Event files of trainings, read back by TensorBoard's own reader."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, workflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bop2ndorder.study.run.tensorboard import EventFiles


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> what TensorBoard shows under it: (training images seen, value) in order."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def row(images: int, **columns: float | None) -> dict[str, float | None]:
    return {"epoch": images // 10, "step": images, "images_seen": images, **columns}


def test_a_training_writes_every_column_of_its_history(here):
    """Rounded to float32, in which TensorBoard holds values; what is empty is not shown."""
    call("train", here, "--tensorboard", "events of all")
    found = curves(Path("events of all", here))
    speeds = found.pop("images_per_second")
    history = workflow().run(here) / "history.csv"
    rows = list(csv.DictReader(history.open(encoding="utf-8")))
    expected = {
        name: [(int(r["images_seen"]), pytest.approx(float(r[name]), rel=1e-6)) for r in shown]
        for name in rows[0].keys() - {"epoch", "step", "images_seen"}
        if (shown := [r for r in rows if r[name]])
    }
    assert found == expected and len(speeds) == len(rows)
    assert {"train_loss", "val_accuracy", "flip_rate", "flip_rate/conv2"} <= found.keys()


def test_columns_that_the_history_has_anew_are_curves_and_empty_values_are_not(tmp_path):
    with EventFiles(tmp_path) as watch:
        watch(row(10, **{"held/conv1": 0.25, "sigma": None}))
        watch(row(20, **{"held/conv1": 0.5, "sigma": None}))
        assert curves(tmp_path)["held/conv1"] == [(10, 0.25), (20, 0.5)], "while it goes on"
    assert curves(tmp_path) == {"held/conv1": [(10, 0.25), (20, 0.5)]}


@pytest.mark.parametrize("again", [10, 20], ids=["from the start", "from a checkpoint"])
def test_of_a_training_that_was_stopped_each_epoch_is_shown_once(tmp_path, again):
    for value, start in ((1.0, 10), (2.0, again)):
        with EventFiles(tmp_path) as watch:
            for images in range(start, 31, 10):
                watch(row(images, loss=value))
    shown = [(images, 2.0 if images >= again else 1.0) for images in (10, 20, 30)]
    assert curves(tmp_path)["loss"] == shown


def test_without_the_package_a_sentence_says_what_to_install(here, monkeypatch):
    monkeypatch.delitem(sys.modules, "bop2ndorder.study.run.tensorboard")
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    *_, last = call("train", here, "--tensorboard", "events", fails=True).splitlines()
    assert 'pip install "bop2ndorder[tensorboard]"' in last


def test_without_the_option_training_loads_nothing_of_it(here):
    code = f"""
import sys
from bop2ndorder.study.cli import main
main(["train", {here!r}], standalone_mode=False)
print(*(name for name in sys.modules if "tensorboard" in name))
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
