"""Training throughput: ours, beside the machine's limit and two peers."""

import itertools
import subprocess
import venv
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from bop2ndorder.networks import binarynet

from .contestant import HERE, Contestant, take_turns

SIZES = (1024, 2048, 4096)
LARQ = HERE.parent / ".venv-larq"


def measure(width: int, dense: int, turns: int) -> list[dict[str, Any]]:
    """Images per second for each batch and number of threads, and fractions of the limit.

    The limit is the best of three median rates of a float32 matrix product. An image takes three
    times the operations of the forward pass (one pass forward, two products backward).
    """
    python = larq_python()
    rows = []
    for threads, batch in itertools.product((1, 2), (50, 100)):
        arguments = (width, dense, batch, threads)
        contestants = [
            *(Contestant(f"mm{size}", "limit.py", (size, threads)) for size in SIZES),
            Contestant("ours", "ours.py", arguments),
            Contestant("plain", "plain.py", arguments),
            Contestant("larq", "larq_bop.py", arguments, python),
        ]
        rates = take_turns(contestants, turns)
        for contestant in contestants:
            contestant.stop()
        limit = max(rates[f"mm{size}"] for size in SIZES)
        operations = 3 * forward_operations(width, dense)
        images = {name: rates[name] for name in ("ours", "plain", "larq")}
        row = {
            "width": width,
            "dense": dense,
            "batch": batch,
            "threads": threads,
            "turns": turns,
            "limit_operations_per_second": limit,
            "operations_per_image": operations,
            "images_per_second": images,
            "fraction_of_limit": {n: rate * operations / limit for n, rate in images.items()},
        }
        rows.append(row)
        shares = " ".join(f"{n} {f:.3f}" for n, f in row["fraction_of_limit"].items())
        click.echo(f"width {width} batch {batch} threads {threads}: {limit:.3g}/s, {shares}")
    return rows


def forward_operations(width: int, dense: int) -> int:
    """Operations of BinaryNet's forward pass for one image, two a multiply-accumulate."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        binarynet(width, dense).eval()(torch.empty(1, 3, 32, 32))
    return counter.get_total_flops()


def larq_python() -> str:
    """The Python of larq's environment, which is made when it is not there."""
    python = LARQ / "bin" / "python"
    ready = LARQ / ".ready"
    if not ready.exists():
        click.echo(f"Setting up {LARQ.name} for the peer: TensorFlow and larq, about 2 GB.")
        venv.create(LARQ, with_pip=True, clear=True)
        requirements = HERE / "larq-requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        ready.touch()
    return str(python)
