"""What the tests of `verify` work in."""

import shutil

import pytest
from cards import hold, machine  # noqa: F401  (fixtures)
from commands import trained_study, workflow


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A folder with two runs, trained and recorded, and the records committed."""
    return trained_study(tmp_path_factory.mktemp("verified"), ["batch", "layer"])


@pytest.fixture
def runs(two_runs, tmp_path, monkeypatch):
    """The ids of the two runs; the test works in a copy of their folder."""
    monkeypatch.chdir(shutil.copytree(two_runs, tmp_path / "study"))
    return list(workflow().runs)
