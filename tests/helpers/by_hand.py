"""Statistics of the tables once more, by numpy and scipy; operations, as torch runs them."""

import math
import statistics

import numpy as np
import torch
from scipy import stats

from bop2ndorder.networks import build


def log_ratio(above: float, below: float) -> float:
    if math.isinf(below) or above == 0:
        return -math.inf
    return math.inf if math.isinf(above) or below == 0 else math.log(above / below)


def fitted(values: list, of: set, against: set) -> tuple[float, float, int]:
    """Mean of some cells less that of others, its standard error and degrees of freedom.

    Args:
        values: (cell, seed, value).
        of, against: cells.
    """
    cells, seeds = ([*dict.fromkeys(row[place] for row in values)] for place in (0, 1))
    by_cell = np.array([[cell == c for c in cells] for cell, _, _ in values], dtype=float)
    by_seed = np.array([[seed == s for s in seeds[1:]] for _, seed, _ in values], dtype=float)
    design = np.hstack([by_cell, by_seed])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        design = by_cell
    y = np.array([value for _, _, value in values])
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    weights = np.zeros(design.shape[1])
    for place, cell in enumerate(cells):
        weights[place] = (cell in of) / len(of) - (cell in against) / len(against)
    df = len(y) - rank
    variance = ((y - design @ solution) ** 2).sum() / df if df else math.nan
    spread = weights @ np.linalg.solve(design.T @ design, weights)
    return float(weights @ solution), math.sqrt(variance * spread), df


def spreads(values: list, sides: list[set]) -> list:
    """(side, seed, minus the standard deviation over its cells), where all cells are there."""
    found = []
    for name, side in zip("01", sides, strict=True):
        for seed in dict.fromkeys(seed for _, seed, _ in values):
            own = [v for cell, s, v in values if s == seed and cell in side]
            if len(own) == len(side):
                found.append((name, seed, -statistics.stdev(own)))
    return found


def equivalence(estimate: float, error: float, df: int, margin: float) -> float:
    """p of two one-sided tests: the effect is smaller than the margin."""
    return max(stats.t(df).sf([(margin - estimate) / error, (margin + estimate) / error]))


def holm(ps: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Each p after Holm's correction, and the level at which it is tested."""
    corrected, highest, level = {}, 0.0, None
    for place, claim in enumerate(sorted(ps, key=ps.get)):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[claim]))
        here = 0.05 / (len(ps) - place) if level is None else level
        corrected[claim] = highest, here
        level = level or (here if ps[claim] >= here else None)
    return corrected


def t_limits(prefix: str, estimate: float, error: float, df: float, level: float) -> dict:
    low, high = stats.t(df, estimate, error).interval(1 - level)
    return {f"{prefix}low": low, f"{prefix}high": high}


def found_in_four_of_five(error: float, df: int, level: float) -> float:
    """By bisection."""
    limit, low, high = stats.t(df).isf(level / 2), 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if stats.nct.sf(limit, df, middle) > 0.8 else (middle, high)
    return low * error


def mean_limits(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return {"low": found.low, "high": found.high}


def multiply_accumulates(network: dict, size: int) -> int:
    """Of the forward pass of an image, layer by layer as it runs; 10 classes, as all sets here."""
    found = []

    def note(layer, inputs, output):
        per_output = layer.weight.numel() // layer.weight.shape[0]
        found.append(per_output * output.numel())

    built = build(num_classes=10, image_size=size, latent=False, **network).eval()
    for layer in built.modules():
        if getattr(layer, "weight", None) is not None and layer.weight.dim() > 1:
            layer.register_forward_hook(note)
    with torch.no_grad():
        built(torch.zeros(1, 3, size, size))
    return sum(found)
