"""Folders that are made whole or not at all, and what vouches for their files."""

import json

import pytest

from bop2ndorder.store import damaged_file, read_json, whole_folder, write_done


def make(out, text):
    with whole_folder(out) as folder:
        (folder / "a.txt").write_text(text)
        write_done(folder)


def test_a_failure_leaves_neither_a_new_folder_nor_a_trace(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_earlier_folder(tmp_path):
    make(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed(tmp_path):
    leftover = tmp_path / ".out.partial"
    leftover.mkdir()
    (leftover / "junk.txt").write_text("junk")
    make(tmp_path / "out", "new")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "done.json"]
    assert not leftover.exists()


def test_done_lists_sizes_and_hashes(tmp_path):
    make(tmp_path / "out", "abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    done = json.loads((tmp_path / "out" / "done.json").read_text())
    assert done == {"files": {"a.txt": {"size": 3, "sha256": abc}}}


def test_damage_is_found_by_size_and_if_asked_by_content(tmp_path):
    out = tmp_path / "out"
    make(out, "abc")
    assert damaged_file(out) is None and damaged_file(out, hashes=True) is None
    (out / "a.txt").write_text("abd")
    assert damaged_file(out) is None
    assert damaged_file(out, hashes=True) == "a.txt"
    for text in ("ab", "abcd"):
        (out / "a.txt").write_text(text)
        assert damaged_file(out) == "a.txt"
    (out / "a.txt").unlink()
    assert damaged_file(out) == "a.txt"
    for text in ('{"files"', '{"files": []}', '{"files": {"a.txt": {}}}', "[]"):
        (out / "done.json").write_text(text)
        assert damaged_file(out) == "done.json", text


def test_what_a_merge_left_is_no_json_and_is_named(tmp_path):
    path = tmp_path / "codes.json"
    path.write_text("<<<<<<< HEAD\n[]\n")
    with pytest.raises(ValueError, match=f"{path} is no JSON: Expecting value"):
        read_json(path)
