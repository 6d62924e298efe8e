"""The digits of digits.py, trained by Lightning: a flip optimizer and Adam side by side.

    pip install lightning scikit-learn
    python examples/lightning_digits.py

Two optimizers that both step at every batch want Lightning's manual optimization: `training_step`
calls them itself. Their schedulers are torch's; `lr` of the flip optimizer is a factor on gamma.
"""

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from bop2ndorder.binary import binary_parameters
from bop2ndorder.networks import binarynet
from bop2ndorder.optim import Bop2ndOrder

EPOCHS, BATCH, TEST = 20, 50, 360


class BinaryClassifier(lightning.LightningModule):
    """BinaryNet of width 8; `steps` is the number of batches of the whole training."""

    def __init__(self, steps: int):
        super().__init__()
        self.automatic_optimization = False
        self.steps = steps
        self.model = binarynet(num_classes=10, width=8, dense=64, image_size=16)

    def configure_optimizers(self):
        binary, real = binary_parameters(self.model)
        flip, adam = Bop2ndOrder(binary, gamma=1e-2), torch.optim.Adam(real, lr=0.01)
        decay = LambdaLR(flip, lambda step: 0.01 ** (step / self.steps))  # gamma to 1e-4
        return [flip, adam], [decay, CosineAnnealingLR(adam, self.steps)]

    def training_step(self, batch, index):
        images, labels = batch
        loss = F.cross_entropy(self.model(images), labels)
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()

    def validation_step(self, batch, index):
        images, labels = batch
        hits = self.model(images).argmax(1) == labels
        self.log("accuracy", hits.float().mean(), prog_bar=True)


def load() -> tuple[TensorDataset, TensorDataset]:
    """Digits as float (3, 16, 16) in [-1, 1] and their labels: for training, and held out."""
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images = torch.tensor(digits.images[order], dtype=torch.float32)[:, None] / 8 - 1
    images = F.interpolate(images, size=16).expand(-1, 3, -1, -1).contiguous()
    labels = torch.tensor(digits.target[order])
    return TensorDataset(images[TEST:], labels[TEST:]), TensorDataset(images[:TEST], labels[:TEST])


def main(epochs: int = EPOCHS, **options) -> lightning.Trainer:
    """Train; options go to Lightning's Trainer, which is returned.

    ``callback_metrics["accuracy"]`` of the trainer is that of the held-out images.
    """
    lightning.seed_everything(0)
    train, held_out = load()
    batches = DataLoader(train, BATCH, shuffle=True, drop_last=True)
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, **options)
    model = BinaryClassifier(steps=epochs * len(batches))
    trainer.fit(model, batches, DataLoader(held_out, TEST))
    return trainer


if __name__ == "__main__":
    print(f"held out: {main().callback_metrics['accuracy'].item():.1%}")
