"""After a failure: tables, figures and report of what is there."""

import json
import shutil

import pytest
from commands import call, workflow
from studies import cut_down, keep, write
from synthetic import write_records

from bop2ndorder.study.workflow.make import salvage


@pytest.fixture
def incomplete(tmp_path, monkeypatch):
    """Results made of all records of four runs, of which one was lost since; its id."""
    monkeypatch.chdir(tmp_path)
    study = keep(cut_down(), "normalization")
    write(study, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "normalization.ipynb").write_text(NOTEBOOK)
    work = workflow()
    write_records(work.study.entries("quick"), work.results)
    call("analyse", "normalization")
    call("notebook", "normalization")
    call("metrics")
    call("claims")
    call("report")
    assert all(map(workflow().is_current, work.products))
    lost = next(iter(work.runs))
    shutil.rmtree(work.record(lost))
    return lost


NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]},
            {"cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]}, "outputs": [],
             "execution_count": None, "source": ["scale, results = '', ''"]},
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)  # fmt: skip


@pytest.mark.slow
def test_what_is_salvaged_counts_as_not_made(incomplete):
    work = workflow()
    lines = list(salvage(work))
    assert lines[0] == f"missing: {incomplete}: not trained yet"
    assert lines[1:] == [f"1 of 4 runs are missing; what is there is in {work.shown('report')}"]
    assert not any(work.key_file(product).exists() for product in work.products)
    page = work.shown("report").read_text()
    assert f">{incomplete}<" in page and "notebook.html" in page
    missing = json.loads(work.shown("analysis-normalization").read_text())["missing"]
    assert missing == [incomplete]
    assert not any(map(work.outdated, work.products)), "not there, rather than outdated"


@pytest.mark.slow
def test_one_reason_is_said_once(incomplete):
    work = workflow()
    work.notebook("normalization").unlink()
    shutil.rmtree(work.results)
    *_, line, count = salvage(work)
    assert line == f"missing: {incomplete} and 3 more: not trained yet"
    assert count.startswith("4 of 4 runs are missing") and work.shown("report").exists()


@pytest.mark.slow
def test_nothing_is_shown_of_what_cannot_be_made(incomplete):
    """A notebook and an analysis that fail, after they once worked."""
    work = workflow()
    source = work.notebook("normalization")
    source.write_text(source.read_text().replace("scale, results", "1 / 0; scale, results"))
    figure = work.results / "normalization" / "convergence.png"
    figure.unlink()
    figure.mkdir()
    lines = list(salvage(work))
    assert lines[0].startswith(f"{work.shown('analysis-normalization')} cannot be made: ")
    assert lines[1].startswith(f"{work.shown('notebook-normalization')} cannot be made: ")
    assert "ZeroDivisionError: division by zero (traceback in " in lines[1] and len(lines) == 4
    assert "1 / 0;" in work.note("notebook-normalization").read_text(), "the cell"
    page = work.shown("report").read_text()
    assert f">{incomplete}<" in page and "Not analysed yet" in page and "notebook.html" not in page


def test_where_all_is_current_nothing_is_made(incomplete):
    work = workflow()
    write_records(work.study.entries("quick"), work.results)
    before = {path: path.stat().st_mtime_ns for path in work.results.rglob("*")}
    assert list(salvage(workflow())) == [
        f"0 of 4 runs are missing; what is there is in {work.shown('report')}"
    ]
    assert {path: path.stat().st_mtime_ns for path in work.results.rglob("*")} == before
