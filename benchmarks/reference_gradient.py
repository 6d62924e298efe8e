"""How large a gradient of a binary weight is: turns steps of m into thresholds of Bop.

    python -m benchmarks.reference_gradient --width 16 --data data/small/cifar10-...

prints the root mean square over all binary weights, mean of steps 101 to 200, of BinaryNet of that
width, trained on CIFAR-10 by the sign rule (Bop with a threshold of 0). At initialisation it is
several times as large. What params.yaml has of it are two digits.
"""

from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from bop2ndorder.study.numerics import pin, require

FIRST, LAST = 100, 200  # steps, counted from 0


def settings(width: int) -> dict[str, Any]:
    """Of the run; batch, epochs and learning rate are those of the paper's section 5.2."""
    return {
        "data": {"augment": {"pad": 4, "flip": True}},
        "network": {"name": "binarynet", "width": width, "dense": 8 * width, "norm": "batch"},
        "optimizer": {"name": "bop", "gamma": 1e-4, "threshold": 0.0},
        "lr": {"kind": "polynomial", "start": 0.01, "end": 0.001, "until": 1.0, "power": 1.0},
        "epochs": 500,
        "batch_size": 50,
        "train_on": "train",
        "seed": 999,
        "threads": 1,
        "numerics": "portable",
    }


@click.command()
@click.option("--width", default=16, show_default=True, help="BinaryNet's; its dense layers 8x.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Prepared CIFAR-10, as `bop2ndorder prepare` leaves it.",
)
def main(width: int, data: Path) -> None:
    """Print the reference gradient of a width; a minute at 16, ten minutes at 128."""
    pin("torch")  # before torch is loaded
    click.echo(f"{measure(width, data):.3g}")


def measure(width: int, data: Path) -> float:
    """The root mean square of the gradient over all binary weights, mean over the steps."""
    import torch

    from bop2ndorder.study.data import open_data
    from bop2ndorder.study.run.deterministic import use_deterministic_kernels
    from bop2ndorder.study.run.trainer import Trainer

    run = settings(width)
    require(run, "cpu")
    torch.set_num_threads(run["threads"])
    use_deterministic_kernels()
    torch.manual_seed(run["seed"])
    trainer = Trainer(run, open_data(data), "cpu")
    trainer.network.train()
    layers, sizes = trainer.updates.layers.values(), []
    count = sum(layer.weight.numel() for layer in layers)
    for step, (images, labels) in enumerate(islice(trainer.batches(0), LAST)):
        trainer.step(images, labels, step)
        if step >= FIRST:
            squares = sum(layer.weight.grad.double().square().sum().item() for layer in layers)
            sizes.append((squares / count) ** 0.5)
    return fmean(sizes)


if __name__ == "__main__":
    main()
