"""What a process may use of the machine."""

import os
import subprocess
import sys

import pytest

from bop2ndorder.study.workflow import processes

COUNT = "from bop2ndorder.study.workflow.processes import available_cores as n; print(n())"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be held back here")
def test_cores_that_are_held_back_do_not_count():
    own = f"import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); {COUNT}"
    assert subprocess.check_output([sys.executable, "-c", own], text=True) == "1\n"


def test_where_the_system_does_not_say_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert processes.available_cores() == 7
