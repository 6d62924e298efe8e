"""Products of records: made from the study that was named, and current if nothing changed since."""

import json
import shutil

import nbformat
import pytest
from commands import call, workflow

from bop2ndorder.study import analysis


@pytest.mark.parametrize("changed", [False, True])
def test_what_changes_while_a_product_is_made_makes_it_outdated(here, monkeypatch, changed):
    path = workflow().record(here) / "metrics.json"
    summarise = analysis.summarise

    def made_meanwhile(*arguments):
        summarise(*arguments)
        if changed:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"train_loss": 0.5}))

    monkeypatch.setattr(analysis, "summarise", made_meanwhile, raising=False)
    call("metrics")
    assert workflow().is_current("metrics") is not changed


def test_each_state_of_a_wrong_record_has_a_marker_of_its_own(here):
    """One that is there already, of a state that was mended, asks Snakemake for nothing."""
    path = workflow().record(here) / "metrics.json"
    found = json.loads(path.read_text())
    assert workflow().unrecorded(here) == []
    markers = []
    for other in "ab":
        path.write_text(json.dumps(found | {"weights_sha256": other * 64}))
        markers += workflow().unrecorded(here)
    assert len(set(markers)) == 2


@pytest.mark.slow
def test_a_notebook_shows_the_study_that_was_named(here):
    """Where none is named its own default counts, and no word of it is in what was run."""
    cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell(
            "params, scale, results, experiment = 'params.yaml', '', '', ''",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell("print(params)"),
    ]
    source = workflow().notebook("normalization")
    source.parent.mkdir()
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, source)
    shutil.copy("params.yaml", "other.yaml")

    def shown(*options):
        call(*options, "notebook", "normalization")
        made = nbformat.read(workflow().results / "normalization" / "notebook.ipynb", 4)
        return made.cells[2].source.splitlines()[1:], made.cells[-1].outputs[0].text

    given = ['scale = "quick"', 'experiment = "normalization"', 'results = "results/quick"']
    assert shown() == (given, "params.yaml\n")
    assert shown("--params", "other.yaml") == ([*given, 'params = "other.yaml"'], "other.yaml\n")
