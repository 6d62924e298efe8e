"""The notebooks: thin sources without outputs, that run on records and give the same bytes."""

import os
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from studies import ROOT, read, write
from synthetic import made_up, write_records

from bop2ndorder.study.analysis import run_notebook
from bop2ndorder.study.analysis.sections import SECTIONS, section_of
from bop2ndorder.study.config import SCALES, load_study

SOURCES = sorted(Path("notebooks").glob("*.ipynb"))


def experiments() -> dict[str, str]:
    """Every experiment, and the first scale that has it."""
    study = load_study()
    return {name: scale for scale in SCALES[::-1] for name in study.experiments(scale)}


def test_one_notebook_for_each_way_to_show_an_experiment():
    shown = {section.module for section in SECTIONS.values()}
    assert {path.stem for path in SOURCES} == shown
    assert {section_of(experiment).module for experiment in experiments()} <= shown
    assert section_of("anything_new").module in shown


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_is_thin_and_has_parameters(source):
    notebook = nbformat.read(source, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    assert sum(len(cell.source.splitlines()) for cell in code) < 35
    assert "?" in notebook.cells[0].source, "it asks a question"
    [parameters] = [cell.source for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert 'scale = "small"' in parameters and 'results = "results/small"' in parameters


def test_who_leads_is_said_of_settings_that_train_equally_long(capsys):
    """Every tenth epoch has a row. Bop leads at 10 and 30, biased from 40 on; latent ends at 20."""
    curves = {"bop": [0.2, 0.3, 0.5, 0.5, 0.5], "biased": [0.1, 0.4, 0.4, 0.6, 0.7],
              "latent": [0.9, 0.9]}  # fmt: skip
    rows = [
        {"run": name, "optimizer": name, "setting": name, "epochs": 10 * len(curve)}
        for name, curve in curves.items()
    ]
    records = made_up("cifar10", rows, curves)
    history = records.history.assign(epoch=10 * records.history["epoch"])
    cells = nbformat.read("notebooks/comparison.ipynb", as_version=4).cells
    [source] = [cell.source for cell in cells if "leads from epoch" in cell.source]
    exec(source, {"records": replace(records, history=history)})
    assert capsys.readouterr().out.splitlines() == [
        "BinaryNet, 50 epochs: Bop2ndOrder, biased leads from epoch 40 on, Bop after the first.",
        "BinaryNet, 20 epochs: nothing to compare.",
    ]


def test_notebooks_say_nothing_of_augmentation():
    """Which scales differ in: digits are not mirrored."""
    assert not any("mirrored" in path.read_text(encoding="utf-8") for path in SOURCES)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "scale"), experiments().items())
def test_notebook_runs(experiment, scale, tmp_path):
    write_records(load_study().entries(scale, experiment), tmp_path)
    source = Path("notebooks", f"{section_of(experiment).module}.ipynb")
    output = tmp_path / "notebook.ipynb"
    parameters = {"scale": scale, "results": str(tmp_path), "experiment": experiment}
    run_notebook(source, output, parameters)
    cells = nbformat.read(output, as_version=4).cells
    said = [out.text for cell in cells for out in cell.get("outputs", []) if "text" in out]
    assert said and said[-1].endswith(".\n"), "and says in a sentence what it saw"
    page = output.with_suffix(".html").read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img ") > 0
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


@pytest.mark.slow
def test_a_notebook_opened_in_its_own_folder_shows_the_study(tmp_path, monkeypatch):
    """With the defaults of its parameters."""
    write(read(ROOT), tmp_path)
    write_records(load_study().entries("small", "normalization"), tmp_path / "results" / "small")
    (tmp_path / "notebooks").mkdir()
    source = (ROOT / "notebooks" / "normalization.ipynb").resolve()
    monkeypatch.chdir(tmp_path / "notebooks")
    output = tmp_path / "notebook.ipynb"
    run_notebook(source, output, {})
    assert 'src="data:image/png;base64,' in output.with_suffix(".html").read_text()
    assert os.listdir() == []


@pytest.mark.slow
def test_notebook_gives_the_same_bytes(tmp_path):
    write_records(load_study().entries("quick", "normalization"), tmp_path)
    written = []
    for name in ("one", "two"):
        output = tmp_path / name / "notebook.ipynb"
        run_notebook(
            Path("notebooks/normalization.ipynb"),
            output,
            {"scale": "quick", "results": str(tmp_path)},
        )
        written.append((output.read_bytes(), output.with_suffix(".html").read_bytes()))
    assert written[0] == written[1]


@pytest.mark.slow
def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path):
    output = tmp_path / "notebook.ipynb"
    with pytest.raises(Exception, match="no_such_scale"):
        run_notebook(
            Path("notebooks/normalization.ipynb"),
            output,
            {"scale": "no_such_scale", "results": str(tmp_path)},
        )
    assert not output.exists()
