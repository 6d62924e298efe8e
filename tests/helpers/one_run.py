"""A process that trains one run: one_run.py DATA SETTINGS FOLDER DEVICE, settings as JSON.

It needs torch, NumPy and safetensors only, and prints the number of each epoch that is done.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"


def start_run(data: Path, settings: dict, folder: Path, device: str) -> subprocess.Popen:
    """Start such a process; beside `folder` lies its checkpoint, of the same name."""
    return subprocess.Popen(
        [sys.executable, __file__, str(data), json.dumps(settings), str(folder), device],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )  # fmt: skip


def main(data: str, settings: str, folder: str, device: str) -> None:
    from bop2ndorder.study.data import open_data
    from bop2ndorder.study.run.train import train

    def say(row: dict) -> None:
        print(row["epoch"], flush=True)

    train(json.loads(settings), open_data(data), Path(folder), Path(f"{folder}.pt"), device, say)


if __name__ == "__main__":
    main(*sys.argv[1:])
