"""A disk without room for a file: a sentence that names run or product and folder."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, sentence, workflow

from bop2ndorder.study.workflow.failures import Failed, noted
from bop2ndorder.study.workflow.failures import sentence as sentence_of


@pytest.mark.parametrize("name", ["history.csv", "run.json", "done.json"])
def test_a_full_disk_is_a_sentence_with_run_and_folder(here, name):
    work, run = workflow(), here
    path = work.run(run) / name
    path.unlink()
    path.symlink_to("/dev/full")
    *_, sentence = call("train", run, fails=True).splitlines()
    assert sentence.startswith(f"Error: train {run}: a file in {work.run(run)} cannot be written")
    assert "No space left on device" in sentence
    assert reason_in(work.note(run)) in sentence
    path.unlink()
    call("train", run)
    assert not work.note(run).exists()
    call("evaluate", run)


def test_a_disk_too_small_for_the_weights(here):
    """A real one, where this user may mount it: checkpoints lie elsewhere and fit."""
    work, run = workflow(), here
    mount = f"mount -t tmpfs -o size=16k none {work.run(run)}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no right to mount")
    train = f"{mount} && exec {Path(sys.executable).with_name('bop2ndorder')} train {run}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", train], capture_output=True, text=True)
    *_, sentence = done.stderr.splitlines()
    assert sentence.startswith(f"Error: train {run}: a file in {work.run(run)} cannot be written")
    assert "No space left on device" in sentence
    assert done.returncode and reason_in(work.note(run)) in sentence


def reason_in(note):
    """The first line."""
    return note.read_text().partition("\n")[0]


def test_a_full_disk_has_no_room_for_a_note_either(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    note = tmp_path / "notes" / "run.txt"
    try:
        with pytest.raises(Failed, match="a file in folder cannot be written.*File too large"):
            with noted(note, Path("folder")):
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
                (tmp_path / "file").write_text("text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not note.exists()


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@pytest.mark.parametrize("number", [*FULL, errno.ENOMEM, errno.EPIPE, errno.EAGAIN])
def test_only_what_a_disk_says_is_taken_for_a_full_one(number):
    text = sentence_of(OSError(number, os.strerror(number)), Path("folder"))
    assert os.strerror(number) in text
    assert ("cannot be written, is the disk full?" in text) == (number in FULL)


def test_a_product_that_finds_no_room_names_its_folder_and_counts_as_not_made(here, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    call("metrics")
    work = workflow()
    assert work.key_file("metrics").exists()
    monkeypatch.setattr("bop2ndorder.study.analysis.summarise", full)
    assert sentence("metrics").startswith(
        f"Error: metrics: a file in {work.results} cannot be written, is the disk full? ([Errno 28]"
    )
    assert not work.key_file("metrics").exists()
