"""Contestant: a product of two float32 matrices. limit.py SIZE THREADS; units are operations."""

import sys

import torch
from contestant import serve

size, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
one, other, product = (torch.randn(size, size) for _ in range(3))
serve(lambda: torch.mm(one, other, out=product), units=2 * size**3, seconds=0.7)
