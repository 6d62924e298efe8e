"""The hash of the code that decides a result: what changes it, and what does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bop2ndorder.study.config.codes import MODULES
from bop2ndorder.study.config.keys import code_key, digest, import_closure

STORED = "42b617552a"
BASE = {
    "__init__.py": '"""Package."""\n\n\ndef __getattr__(name):\n    from . import lazy\n',
    "lazy.py": "X = 1\n",
    "train.py": '"""Train."""\n\nfrom .deep import step\n\n\ndef train():\n    """Doc."""\n'
    "    from . import late\n\n    return step(1)\n",
    "late.py": "Y = 2\n",
    "deep/__init__.py": "",
    "deep/step.py": "def step(x):\n    return x + 1\n",
    "other.py": "Z = 3\n",
}


def package(root: Path, **changes: str) -> Path:
    folder = root / "pkg"
    for name, text in {**BASE, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def key(root: Path, **changes: str) -> str:
    return code_key("train", package=package(root, **changes))


def test_the_closure_follows_imports_also_inside_functions(tmp_path):
    found = import_closure(["train"], package(tmp_path))
    assert found == ["", "deep", "deep.step", "late", "train"]


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\ndef step(x):\n    return x + 1\n",
        "def step(x):\n\n    return (\n        x + 1\n    )\n",
        'def step(x):\n    """What it does."""\n    return x + 1\n',
        '"""Module."""\n\n\ndef step(x):\n    return x + 1  # why\n',
    ],
)
def test_comments_layout_and_docstrings_do_not_count(tmp_path, text):
    assert key(tmp_path / "a") == key(tmp_path / "b", **{"deep/step.py": text})


@pytest.mark.parametrize(
    "changes",
    [
        {"deep/step.py": "def step(x):\n    return x + 2\n"},
        {"deep/step.py": "def step(y):\n    return y + 1\n"},
        {"deep/step.py": "def step(x):\n    return x + 1.0\n"},
        {"late.py": "Y = 3\n"},
    ],
)
def test_code_counts(tmp_path, changes):
    assert key(tmp_path / "a") != key(tmp_path / "b", **changes)


def test_what_is_not_imported_does_not_count(tmp_path):
    assert key(tmp_path / "a") == key(tmp_path / "b", **{"other.py": "Z = 4\n"})
    assert key(tmp_path / "a") == key(tmp_path / "c", **{"lazy.py": "X = 4\n"})


def test_stored_value(tmp_path):
    """The same on every Python and machine; a change of the method shows here."""
    assert key(tmp_path) == STORED


def test_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest([2, 3]) != digest([3, 2])
    assert digest({"a": 1}, 10) == digest({"a": 1}, 64)[:10]


def test_the_training_key_covers_what_a_fresh_python_loads():
    """And nothing of the study."""
    code = (
        "import json, sys\n"
        + "\n".join(f"import bop2ndorder.{name}" for name in MODULES["training"])
        + "\nimport bop2ndorder.study.data.arrays, bop2ndorder.study.data.imagenet"
        + "\nprint(json.dumps([n for n in sys.modules if n.split('.')[0] == 'bop2ndorder']))"
    )
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    names = sorted(name.removeprefix("bop2ndorder").removeprefix(".") for name in loaded)
    assert names == import_closure(MODULES["training"])
    assert not {"config", "analysis", "cli", "data.preparation"} & set(names)
