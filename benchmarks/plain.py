"""Contestant: what one writes first in PyTorch. plain.py WIDTH DENSE BATCH THREADS

The same network and optimizers, with torch.where for sign and estimator, contiguous NCHW tensors,
a loop over the parameters with temporaries, torchvision's transforms and a DataLoader.
"""

import itertools
import sys

import numpy as np
import torch
import torch.nn.functional as F
from contestant import serve
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, grad, 0.0)


class SignLayer(nn.Module):
    def forward(self, x):
        return Sign.apply(x)


class Bop2ndOrder:
    def __init__(self, weights, gamma, sigma, threshold):
        self.weights, self.gamma, self.sigma = weights, gamma, sigma
        self.threshold = threshold
        self.m = [torch.zeros_like(w) for w in weights]
        self.v = [torch.zeros_like(w) for w in weights]
        self.flips = 0

    @torch.no_grad()
    def step(self):
        for i, w in enumerate(self.weights):
            self.m[i] = (1 - self.gamma) * self.m[i] + self.gamma * w.grad
            self.v[i] = (1 - self.sigma) * self.v[i] + self.sigma * w.grad**2
            ratio = (self.m[i] / self.gamma) / ((self.v[i] / self.sigma).sqrt() + 1e-10)
            flip = w * ratio > self.threshold
            w.copy_(torch.where(flip, -w, w))
            self.flips += flip.sum()


class RandomImages(Dataset):
    def __init__(self, count):
        chance = np.random.default_rng(0)
        self.images = chance.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.labels = chance.integers(0, 10, count)
        self.transform = transforms.Compose([
            transforms.ToPILImage(),
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return self.transform(self.images[place]), self.labels[place]


def conv(inputs, outputs, padding=1):
    return nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False)


def norm(features, spatial=True):
    return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(features, eps=1e-3, momentum=0.01)


def build(f, d):
    dense = [nn.Linear(i, o, bias=False) for i, o in ((4 * f * 9, d), (d, d), (d, 10))]
    layers = [conv(3, f, padding=0), norm(f)]
    for inputs, outputs, pool in (
        (f, f, True), (f, 2 * f, False), (2 * f, 2 * f, True),
        (2 * f, 4 * f, False), (4 * f, 4 * f, True),
    ):  # fmt: skip
        pooling = [nn.MaxPool2d(2)] if pool else []
        layers += [SignLayer(), conv(inputs, outputs), *pooling, norm(outputs)]
    layers.append(nn.Flatten())
    for layer in dense:
        layers += [SignLayer(), layer, norm(layer.out_features, spatial=False)]
    return nn.Sequential(*layers)


def main(width, dense, batch, threads):
    torch.set_num_threads(threads)
    model = build(width, dense)
    binary = [m.weight for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    for weight in binary:
        weight.data = torch.where(weight.data >= 0, 1.0, -1.0)
    real = [p for m in model if not isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters()]
    flipper, adam = Bop2ndOrder(binary, 1e-7, 1e-3, 1e-6), torch.optim.Adam(real, lr=0.01)
    # A worker for each thread but one: the training process computes, too.
    loader = DataLoader(
        RandomImages(10_000), batch, shuffle=True, drop_last=True, num_workers=threads - 1
    )
    batches = itertools.chain.from_iterable(loader for _ in itertools.count())
    running = 0.0

    def step():
        nonlocal running
        images, labels = next(batches)
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        model.zero_grad()
        loss.backward()
        flipper.step()
        adam.step()
        running += loss.item()

    serve(step, units=batch, seconds=2.0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
