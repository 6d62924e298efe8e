"""Train a binary network on scikit-learn's handwritten digits: seconds on one core.

    python examples/digits.py

Needs scikit-learn beside the library. Every weight of the convolutions and dense layers is -1 or +1
from the first step to the last: `flip` turns them one by one, `adam` trains what is real-valued.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from bop2ndorder.binary import binary_parameters
from bop2ndorder.networks import binarynet
from bop2ndorder.optim import Bop2ndOrder
from bop2ndorder.schedules import ExponentialDecay, PolynomialDecay, set_hyperparameters

EPOCHS, BATCH, TEST = 20, 50, 360


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """The digits as float (1797, 3, 16, 16) in [-1, 1], shuffled, and their labels."""
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images = torch.tensor(digits.images[order], dtype=torch.float32)[:, None] / 8 - 1
    images = F.interpolate(images, size=16).expand(-1, 3, -1, -1)
    return images.contiguous(), torch.tensor(digits.target[order])


def main(epochs: int = EPOCHS) -> float:
    """Train, print a line an epoch; the accuracy on the held-out images after the last one."""
    torch.manual_seed(0)
    images, labels = load()
    count = len(labels) - TEST
    model = binarynet(num_classes=10, width=8, dense=64, image_size=16)
    binary, real = binary_parameters(model)
    flip = Bop2ndOrder(binary, threshold=1e-6)  # gamma and lr: see schedules
    adam = torch.optim.Adam(real)
    steps = epochs * (count // BATCH)
    schedules = {
        flip: {"gamma": ExponentialDecay(1e-2, 0.1, decay_steps=steps / 2, staircase=False)},
        adam: {"lr": PolynomialDecay(0.01, 1e-4, decay_steps=steps)},
    }
    step = 0
    for epoch in range(1, epochs + 1):
        model.train()
        for batch in torch.randperm(count)[: count // BATCH * BATCH].split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            model.zero_grad()
            loss.backward()
            for optimizer, values in schedules.items():
                set_hyperparameters(optimizer, values, step)
                optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            hits = model(images[count:]).argmax(1) == labels[count:]
        accuracy = hits.float().mean().item()
        flips = sum(flip.state[weight]["flips"].item() for weight in binary)
        print(f"epoch {epoch:2}  loss {loss.item():.3f}  held out {accuracy:.1%}  {flips:,} flips")
    return accuracy


if __name__ == "__main__":
    main()
