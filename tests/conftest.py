"""Fixtures that several files share, and the summary of what `deviation` measured."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bop2ndorder.study.numerics import pin

# Before torch is imported: small tensors gain nothing from threads, and on a busy machine two
# threads that wait for each other take ten times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before a test uses CUDA that does not train; see study/run/deterministic.py.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# As the command line does, which tests call in this process.
pin("numpy")
pin("torch")


def pytest_configure(config):
    """How long an example takes says nothing on a busy machine."""
    if config.pluginmanager.hasplugin("hypothesispytest"):  # the tests for GPUs do without it
        from hypothesis import settings

        settings.register_profile("any machine", deadline=None)
        settings.load_profile("any machine")


@pytest.fixture
def deviation(request):
    """deviation(case, measured, limit): assert measured <= limit and report it in the summary."""

    def check(case: str, measured: float, limit: float) -> None:
        measured = float(measured)
        request.node.user_properties.append(("deviation", (case, measured, limit)))
        assert measured <= limit, f"{case}: deviation {measured:.3g} exceeds {limit:.3g}"

    return check


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where a test computes: on the CPU, and again on a GPU where there is one."""
    if request.param == "cuda":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The digits that the runs of `tiny` are trained on, prepared once."""
    from tiny import DATA

    from bop2ndorder.study.data import open_data, prepare

    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(DATA, folder, progress=False)
    return open_data(folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with one run, trained and recorded."""
    from commands import trained_study

    return trained_study(tmp_path_factory.mktemp("a study"), ["batch"])


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of that folder to work in; the run's id."""
    from commands import workflow

    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "study"))
    (run,) = workflow().runs
    return run


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A project of four runs, made whole by Snakemake, recorded by DVC, pushed, committed.

    Its folder has a space and a letter beyond ASCII in its name, its remote a space. The commit
    before the last one has the code and no results. It is made once for all test processes.
    """
    from filelock import FileLock
    from project import Project

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "workflow"
    with FileLock(shared / "workflow.lock"):
        if not (folder / "built").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder)
            (folder / "built").touch()
    return Project(folder / "a study ä")


def _build(folder):
    from project import Project, four_runs
    from studies import write

    project = Project.of_this_project(folder / "a study ä")
    write(four_runs(), project.folder)
    project.commit("code")
    made = project.snakemake("--cores", "2")
    assert made["train"] == made["evaluate"] == 4, "a run that two experiments share is one run"
    assert (made["prepare"], made["analyse"], made["notebook"], made["page"]) == (1, 2, 2, 1)
    assert not project.dvc("repro"), "DVC finds all made"
    project.add_remote(folder / "a remote")
    project.dvc("push")
    project.commit("results")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the documentation as a site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    docs = Path(__file__).parents[1] / "docs"
    options = ["--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    made = [sys.executable, "-m", "sphinx", *options, docs, folder / "html"]
    subprocess.run([*made, "--doctree-dir", folder / "doctrees"], check=True)
    return folder / "html"


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project."""
    return built.copy(tmp_path / "a study ä")


def pytest_terminal_summary(terminalreporter):
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome)]
    largest: dict[str, tuple[float, float]] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == "deviation":
                case, measured, limit = value
                if case not in largest or not measured <= largest[case][0]:
                    largest[case] = (measured, limit)
    if largest:
        terminalreporter.section("largest deviation per case")
        width = max(map(len, largest))
        for case, (measured, limit) in sorted(largest.items()):
            mark = "" if measured <= limit else "  EXCEEDED"
            terminalreporter.write_line(f"{case:{width}}  {measured:9.2e}  of {limit:7.1e}{mark}")
