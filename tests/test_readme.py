"""README.md: its results are those of the committed files, its example trains."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from bop2ndorder.analysis.readme import BEGIN, END, block, block_of, write_readme
from bop2ndorder.binary import is_binary
from bop2ndorder.config import load_study

README = Path("README.md")
RESULTS = Path("results/quick")


def committed(name: str) -> str:
    command = ["git", "show", f"HEAD:./{RESULTS.as_posix()}/{name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_results_are_those_that_are_committed():
    shown = block_of(README.read_text(encoding="utf-8"))
    here = block(RESULTS.as_posix(), lambda name: (RESULTS / name).read_text(encoding="utf-8"))
    # A study run on other hardware may differ from what is committed; the README then shows that.
    if shown != here:
        assert shown == block(RESULTS.as_posix(), committed), "run `bop2ndorder readme`"


def test_block_is_replaced_and_nothing_else(tmp_path):
    for experiment in ("cifar10", "imagenet"):
        folder = tmp_path / "quick" / experiment
        folder.mkdir(parents=True)
        (folder / "exhibits.json").write_text(
            '{"exhibits": [{"kind": "figure", "name": "convergence", "title": "T", "caption": "C"},'
            '{"kind": "table", "name": "table", "caption": "D", "columns": ["optimizer", "sigma",'
            '"test accuracy (%)"], "rows": [["Bop", "", "91.2"]]}]}'
        )
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    write_readme(readme, tmp_path / "quick")
    text = readme.read_text()
    assert text.startswith("before\n\n<!--") and text.endswith("-->\n\nafter\n")
    assert "quick/cifar10/convergence.png)" in text and "old" not in text
    assert text.count("| optimizer | test accuracy (%) |\n| --- | --: |\n| Bop | 91.2 |") == 2
    readme.write_text("no place for it")
    with pytest.raises(ValueError, match="must hold the lines"):
        write_readme(readme, tmp_path / "quick")


def test_example_trains():
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for line in example.splitlines() if line]
    assert len(lines) <= 15
    torch.manual_seed(0)
    names: dict = {}
    exec(example.replace("range(100)", "range(1)"), names)
    first = names["loss"].item()
    exec(example, names)
    assert names["loss"].item() < 0.3 * first
    assert all(is_binary(parameter) for parameter in names["binary"])
    assert any(state["flips"] > 0 for state in names["flip"].state.values())


def test_scales_are_those_of_the_study():
    study, text = load_study("params.yaml"), README.read_text(encoding="utf-8")
    for scale in ("quick", "small", "paper"):
        [row] = re.findall(rf"^\| `{scale}` \|.*$", text, re.MULTILINE)
        assert f"| {len(study.runs(scale))} |" in row
