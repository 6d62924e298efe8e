"""A machine with pretended GPUs, and processes that hold them."""

import os
import signal
import subprocess
import sys

import pytest
from studies import ROOT

CARDS = ["GPU-aa11", "GPU-bb22", "GPU-bc33"]
HOLD = """
import os, signal, sys
from bop2ndorder.study.workflow.lease import leased_gpus
signal.alarm(30)  # who waits for a word of it does not wait for ever
with leased_gpus(*map(int, sys.argv[1:])) as gpus:
    gpu = ",".join(gpus)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == gpu
    if os.fork() == 0:  # as a worker that loads data: it must not keep the lock
        os.closerange(0, 3)
        import time; time.sleep(60)
    print(gpu, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Put a machine with GPUs in place of this one: machine(UUIDs, those that are parts of one)."""
    monkeypatch.setattr("tempfile.tempdir", None)
    for name, value in {
        "TMPDIR": tmp_path,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": ROOT / "src",
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)

    def equip(cards=CARDS, parts=()):
        lines = []
        for number, uuid in enumerate(cards):
            lines.append(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: {uuid})")
        for number, uuid in enumerate(parts):
            lines.append(f"  MIG 3g.40gb     Device  {number}: (UUID: {uuid})")
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\ncat <<END\n" + "\n".join(lines) + "\nEND\n")
        script.chmod(0o755)

    equip()
    return equip


class Holder:
    """A process that holds GPUs until it is told to end, or killed."""

    def __init__(self, *arguments, **environment):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *map(str, arguments)],
            env=environment,
            text=True,
            start_new_session=True,
            **pipes,
        )

    def gpu(self) -> str:
        """What it holds, once it does."""
        return self.process.stdout.readline().strip()

    def says(self) -> str:
        """The next line of its log."""
        return self.process.stderr.readline().strip()

    def end(self):
        """Kill it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def hold():
    """Start holders; all that they started ends with the test."""
    holders = []

    def start(*arguments, **environment):
        holders.append(Holder(*arguments, **environment))
        return holders[-1]

    yield start
    for holder in holders:
        os.killpg(holder.process.pid, signal.SIGKILL)
        holder.process.communicate()
