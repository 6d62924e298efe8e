"""ImageNet's input: images per second beside what decoding and resizing alone allow."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from PIL import Image

from bop2ndorder.study.data import prepare
from bop2ndorder.study.workflow.processes import available_cores

from .contestant import Contestant, take_turns

KINDS = ("limit", "ours", "plain")
WIDTH, HEIGHT = 500, 375  # about the mean of ImageNet's images
IMAGES, DIFFERENT = 4096, 256
BATCH = 1024
TURNS = 5
MANY_WORKERS = 8


def measure() -> dict[str, Any]:
    """Images per second and core with a worker on each core; shared memory with eight workers."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = write_images(folder / "images")
        settings = {"source": "imagenet", "image_size": 224, "validation": 0, "limit": None}
        prepare(settings, folder / "data", folder / "images", progress=False)
        cores = available_cores()
        rates = take_turns(
            [Contestant(kind, "images.py", (kind, folder, BATCH, cores)) for kind in KINDS], TURNS
        )
        shared = shared_memory(folder, MANY_WORKERS)
    found = {
        "cores": cores,
        "turns": TURNS,
        "bytes_of_a_file": size,
        "images_per_second_and_core": {k: median(r) / cores for k, r in rates.items()},
        "fraction_of_limit": {
            kind: median(a / b for a, b in zip(rates[kind], rates["limit"], strict=True))
            for kind in ("ours", "plain")
        },
        "batch": BATCH,
        "workers_sharing": MANY_WORKERS,
        "shared_bytes": shared,
    }
    click.echo(f"loader: {found}")
    return found


def write_images(folder: Path) -> float:
    """Write train and val as JPEGs, of which many are links to the same; their mean size in bytes.

    Pixels are coarse noise, smoothed, and fine noise, in such parts that a file is about as large
    as ImageNet's, 110 KB: the time of decoding depends on it.
    """
    draw = np.random.default_rng(0)
    sizes = []
    for part, images, different in (("train", IMAGES, DIFFERENT), ("val", 1, 1)):
        (folder / part / "class").mkdir(parents=True)
        for number in range(images):
            path = folder / part / "class" / f"{number:04}.JPEG"
            if number >= different:
                path.hardlink_to(path.with_name(f"{number % different:04}.JPEG"))
                continue
            coarse = draw.integers(0, 256, (HEIGHT // 25, WIDTH // 25, 3), dtype=np.uint8)
            smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            noisy = np.asarray(smooth) + draw.normal(0, 10, (HEIGHT, WIDTH, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=95)
            sizes.append(path.stat().st_size)
    return sum(sizes) / len(sizes)


def shared_memory(folder: Path, workers: int) -> int:
    """Bytes by which the machine's shared memory has grown, at most, while our batches are made."""
    before = shared_now()
    contestant = Contestant("ours", "images.py", ("ours", folder, BATCH, workers))
    most = before
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(contestant.work)
        while not turn.done():
            most = max(most, shared_now())
            time.sleep(0.01)
    contestant.stop()
    return most - before


def shared_now() -> int:
    """Bytes of shared memory on this machine: that of processes, and /dev/shm."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Shmem:"))
