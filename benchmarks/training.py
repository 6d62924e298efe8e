"""Training throughput: ours, beside the machine's limit and two peers."""

import itertools
import subprocess
import venv
from collections.abc import Sequence
from statistics import median
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from bop2ndorder.networks import binarynet
from bop2ndorder.study.numerics import PINS

from .contestant import HERE, Contestant, take_turns

LIMITS = [("mm", 1024), ("mm", 2048), ("mm", 4096), ("conv", 128), ("conv", 256)]
LARQ = HERE.parent / ".venv-larq"


def measure(width: int, dense: int, turns: int) -> list[dict[str, Any]]:
    """Images per second for each batch and number of threads, and fractions of the limit.

    The limit is the best of some median rates of float32 matrix products and convolutions, with
    native numerics. An image takes three times the operations of the forward pass (one pass
    forward, two products backward).
    """
    python = larq_python()
    operations = 3 * forward_operations(width, dense)
    rows = []
    for threads, batch in itertools.product((1, 2), (50, 100)):
        arguments = (width, dense, batch, threads)
        rates = take_turns(
            [
                *(Contestant(f"{k}{s}", "limit.py", (k, s, threads)) for k, s in LIMITS),
                *ours(arguments),
                Contestant("plain", "plain.py", arguments),
                Contestant("larq", "larq_bop.py", arguments, python),
            ],
            turns,
        )
        medians = {name: median(found) for name, found in rates.items()}
        peaks = {f"{kind}{size}": medians.pop(f"{kind}{size}") for kind, size in LIMITS}
        limit = max(peaks.values())
        row = {
            **_case(arguments, turns, rates),
            "operations_per_second": peaks,
            "limit_operations_per_second": limit,
            "operations_per_image": operations,
            "images_per_second": medians,
            "fraction_of_limit": {n: rate * operations / limit for n, rate in medians.items()},
        }
        rows.append(row)
        shares = " ".join(f"{n} {f:.3f}" for n, f in row["fraction_of_limit"].items())
        click.echo(f"width {width} batch {batch} threads {threads}: {limit:.3g}/s, {shares}")
    return rows


def measure_numerics(turns: int = 5) -> list[dict[str, Any]]:
    """What portable numerics cost: images per second beside native ones, in pairs."""
    rows = []
    for (width, dense), threads in itertools.product(((16, 128), (128, 1024)), (1, 2)):
        arguments = (width, dense, 50, threads)
        rates = take_turns(ours(arguments), turns)
        row = {
            **_case(arguments, turns, rates),
            "images_per_second": {name: median(found) for name, found in rates.items()},
        }
        rows.append(row)
        click.echo(f"width {width} threads {threads}: {row['portable_over_native']:.3f}")
    return rows


def ours(arguments: Sequence[int]) -> list[Contestant]:
    """Our training with native and with portable numerics."""
    return [
        Contestant("ours", "ours.py", arguments),
        Contestant("portable", "ours.py", arguments, variables=PINS["torch"]),
    ]


def _case(arguments: Sequence[int], turns: int, rates: dict[str, list[float]]) -> dict[str, Any]:
    """What was measured how, and the median over turns of portable over native."""
    names = ("width", "dense", "batch", "threads")
    pairs = zip(rates["portable"], rates["ours"], strict=True)
    return {
        **dict(zip(names, arguments, strict=True)),
        "turns": turns,
        "portable_over_native": median(portable / native for portable, native in pairs),
    }


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
