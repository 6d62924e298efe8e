"""What cuBLAS needs to sum in one order: set for whoever trains on a GPU, in time or not at all."""

import os
import subprocess
import sys

import pytest
import torch

from bop2ndorder.study.run.deterministic import VARIABLE, use_deterministic_kernels


@pytest.fixture
def unused(monkeypatch):
    """A process that has used no CUDA, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(VARIABLE, raising=False)
    return monkeypatch


def test_the_variable_is_set_before_cuda_is_used(unused):
    use_deterministic_kernels("cuda")
    assert os.environ[VARIABLE] == ":4096:8"
    unused.setattr(torch.cuda, "is_initialized", lambda: True)
    use_deterministic_kernels("cuda:1")  # the second run of a process


def test_a_value_that_is_deterministic_is_kept(unused):
    unused.setenv(VARIABLE, ":16:8")
    use_deterministic_kernels("cuda")
    assert os.environ[VARIABLE] == ":16:8"


@pytest.mark.parametrize(("initialized", "value"), [(True, None), (False, ":0:0"), (False, "")])
def test_too_late_or_another_value_is_a_sentence(unused, initialized, value):
    unused.setattr(torch.cuda, "is_initialized", lambda: initialized)
    if value is not None:
        unused.setenv(VARIABLE, value)
    with pytest.raises(RuntimeError, match=r"CONFIG must be :4096:8 or :16:8 before CUDA is used"):
        use_deterministic_kernels("cuda")
    assert os.environ.get(VARIABLE) == value
    use_deterministic_kernels("cpu")


TRAIN = """
import os, sys
from pathlib import Path
from tiny import settings
from bop2ndorder.study.run.train import train
try:
    train(settings(), None, Path("run"), Path("run.pt"), sys.argv[1])
except Exception:
    pass  # there are no data
print(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
"""


@pytest.mark.parametrize(("on", "expected"), [("cuda", ":4096:8"), ("cpu", "None")])
def test_train_sets_it_for_who_calls_it_from_python(on, expected):
    variables = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, on], capture_output=True, text=True,
        env={**variables, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.split() == [expected], done.stderr
