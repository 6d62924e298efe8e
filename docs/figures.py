"""The figures of flips.md, and the numbers that its text quotes: python docs/figures.py

The weights are moved by the project's own optimizers; only the gradients are simulated, with fixed
seeds. tests/test_docs.py holds the text against what this prints.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.study.analysis.names import COLOURS, OPTIMIZERS, schedule_text
from bop2ndorder.study.analysis.style import legend_below, look, panels, png
from bop2ndorder.study.config import Run, load_study
from bop2ndorder.study.run.updates import make_schedule

HERE = Path(__file__).resolve().parent
WEIGHTS = 1024
INK, GREY, PLUS, MINUS = "#333333", "#AAAAAA", "#0072B2", "#D55E00"
# Root mean square of the gradient by the width of BinaryNet: docs/plan.md, "Reference gradient".
REFERENCE_GRADIENT = {16: 8.1e-5, 128: 4.6e-6}
CORRECTIONS = {None: "biased", "constant": "corrected", "adam": "adam"}


def main(folder: Path = HERE / "figures") -> list[str]:
    """Draw everything into `folder`; what flips.md must say word for word."""
    folder.mkdir(exist_ok=True)
    quoted = []
    for draw in (
        draw_one_weight,
        draw_noise_floor,
        draw_flip_rates,
        draw_measures,
        draw_first_steps,
    ):
        with look():
            figure, found = draw()
            (folder / f"{draw.__name__.removeprefix('draw_')}.png").write_bytes(png(figure))
        quoted += found
    return quoted + held_thresholds() + thresholds_of_bop()


def noise(steps: int, weights: int = WEIGHTS, seed: int = 0) -> Tensor:
    """Gradients with mean 0 and standard deviation 1, one row a step."""
    return torch.randn(steps, weights, generator=torch.Generator().manual_seed(seed))


def follow(make, gradients: Tensor) -> Iterator[tuple[Tensor, dict]]:
    """Weights, all +1 at first, and their optimizer's state after each step."""
    weights = nn.Parameter(torch.ones(gradients.shape[1]))
    optimizer = make([weights])
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
        yield weights.detach().clone(), optimizer.state[weights]


def floor(gamma: float) -> float:
    """Standard deviation of m / sqrt(v) under noise, once it has settled."""
    return math.sqrt(gamma / (2 - gamma))


def draw_one_weight() -> tuple[Figure, list[str]]:
    """A weight under Bop, while the mean of its noisy gradient changes sign twice."""
    gamma, threshold, level, steps = 0.05, 0.15, 0.25, 600
    mean = torch.tensor([level, -level, level]).repeat_interleave(steps // 3)
    gradients = mean[:, None] + noise(steps, 1, seed=11)
    m, weight, restless = (torch.empty(steps) for _ in range(3))
    for step, (now, state) in enumerate(follow(lambda p: Bop(p, gamma, threshold), gradients)):
        weight[step], m[step] = now.item(), state["m"].item()
    for step, (now, _) in enumerate(follow(lambda p: Bop(p, gamma, 0.0), gradients)):
        restless[step] = now.item()

    figure, rows = panels(3, 1, 5.6, sharex=True, height_ratios=[1.3, 1.7, 1])
    above, middle, below = (axes for [axes] in rows)
    above.plot(gradients, ".", color=GREY, markersize=3)
    above.plot(mean, color=INK)
    above.set(ylabel="gradient", ylim=(-3.6, 3.6), xlim=(0, steps))
    above.text(steps + 6, level, "its mean", va="center")
    for side, colour in ((1, PLUS), (-1, MINUS)):
        middle.axhspan(side * threshold, side * 0.85, color=colour, alpha=0.1, linewidth=0)
        words = "+1 becomes −1" if side > 0 else "−1 becomes +1"
        middle.text(steps + 6, side * 0.5, words, color=colour, va="center")
    middle.plot(m, color=INK)
    flipped = torch.nonzero(changes(weight)).flatten()
    middle.plot(flipped, m[flipped], "o", color="white", markeredgecolor=INK, markersize=7)
    middle.set(ylabel="moving average m", ylim=(-0.85, 0.85))
    middle.text(steps + 6, 0, "nothing flips", va="center")
    for place, values in ((1, weight), (0, restless)):
        edges = range(steps + 1), [place - 0.33, place + 0.33]
        below.pcolormesh(*edges, values[None], cmap=ListedColormap([MINUS, PLUS]))
        below.text(steps + 6, place, f"{changes(values).sum()} flips", va="center")
    below.text(290, 1, "+1", color="white", va="center", weight="bold")
    below.text(85, 1, "−1", color="white", va="center", weight="bold")
    below.set_yticks([1, 0], [f"threshold {threshold}", "threshold 0"])
    below.grid(False)
    below.set(xlabel="step", ylim=(-0.5, 1.5))
    return figure, [
        f"{changes(weight).sum()} times with the threshold {threshold}",
        f"{changes(restless).sum()} times with the threshold 0",
    ]


def changes(weight: Tensor) -> Tensor:
    """Where one weight, +1 at first, flips."""
    return torch.diff(weight, prepend=torch.ones(1)) != 0


def draw_noise_floor() -> tuple[Figure, list[str]]:
    """Left: m / sqrt(v) under noise. Right: published thresholds against its two scales."""
    figure, [[left, right]] = panels(1, 2, 4.2)
    quoted = []
    for gamma, colour in ((1e-1, "#C5D3E8"), (1e-2, "#6E9BC5"), (1e-3, "#12355B")):
        ratio = np.concatenate([
            (state["m"] / state["v"].sqrt()).numpy()
            for step, (_, state) in enumerate(
                follow(lambda p, g=gamma: Bop2ndOrder(p, g), noise(5000))
            )
            if step >= 2500 and step % 100 == 0
        ])  # fmt: skip
        left.hist(ratio, np.linspace(-0.8, 0.8, 97), density=True, color=colour, linewidth=0,
                  histtype="stepfilled", label=f"gamma {schedule_text(gamma)}")  # fmt: skip
        right.plot(gamma, ratio.std(), "o", color=INK, markersize=5)
        quoted.append(f"| {schedule_text(gamma)} | {floor(gamma):.3f} | {ratio.std():.3f} |")
    left.set(xlabel="m / √v of weights that see nothing but noise", ylabel="density", yscale="log",
             ylim=(0.02, 300), xlim=(-0.8, 0.8))  # fmt: skip
    left.legend(loc="upper right")

    gammas = np.logspace(-10, 0, 200)
    right.plot(gammas, np.sqrt(gammas / (2 - gammas)), color=INK)
    right.plot(gammas, gammas, color=INK, linestyle="--", linewidth=1)
    right.fill_between(gammas, 1e-14, gammas / 10, color=GREY, alpha=0.25, linewidth=0)
    right.text(1.5e-10, 2e-4, "noise floor", fontsize=9)
    right.text(1.5e-10, 4e-8, "one step", fontsize=9)
    right.text(0.5, 1e-12, "hardly binds", fontsize=9, ha="right")
    for name, run in published().items():
        colour = {"normalization": "#E69F00", "cifar10": PLUS, "imagenet": MINUS}[name]
        gamma, biased, corrected = thresholds(run)
        rules = {"biased": biased} if name == "imagenet" else {  # published biased only
            "biased": biased, "corrected": corrected}  # fmt: skip
        for rule, values in rules.items():
            right.plot(gamma, values, color=colour, linestyle="-" if rule == "biased" else ":")
            right.plot(
                gamma[0],
                values[0],
                "D",
                color=colour,
                markersize=5.5,
                fillstyle="full" if rule == "biased" else "none",
                label=f"{name}, {rule}",
            )
            by_step = steps_apart(values[[0, -1]] / gamma[[0, -1]])
            by_floor = steps_apart([v / floor(g) for v, g in zip(values, gamma, strict=True)])
            quoted.append(f"| {name} | {rule} | {memory(run)} | {by_step} | {by_floor} |")
        if name == "imagenet":
            quoted.append(f"{biased[-1] / spread_at_the_end(run):.0e} of the true spread")
    right.set(xscale="log", yscale="log", xlabel="gamma", ylabel="threshold", xlim=(1e-10, 1),
              ylim=(1e-14, 1))  # fmt: skip
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, quoted


def steps_apart(values) -> str:
    """A ratio at the first and, where another, at the last step."""
    ends = [f"{value:.1e}" for value in (values[0], values[-1])]
    return ends[0] if ends[0] == ends[1] else " → ".join(ends)


def published() -> dict[str, Run]:
    """A biased run of Bop2ndOrder for each of the paper's settings, from params.yaml."""
    arms = {"normalization": "all", "cifar10": "biased", "imagenet": "xnornet_biased"}
    entries = load_study(HERE.parent / "params.yaml").entries("paper")
    first = {e.experiment: e.run for e in reversed(entries) if arms.get(e.experiment) == e.arm}
    return {experiment: first[experiment] for experiment in arms}


def schedules(run: Run) -> tuple[int, list]:
    """The number of steps of a run of Bop2ndOrder, and how gamma, sigma, threshold go."""
    settings = run.settings.model_dump()
    an_epoch = run.settings.data.images(settings["train_on"]) // settings["batch_size"]
    return an_epoch * settings["epochs"], [
        make_schedule(settings["optimizer"][name], an_epoch, settings["epochs"])
        for name in ("gamma", "sigma", "threshold")
    ]


def thresholds(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At 201 steps from the first to the last: gamma, the threshold, and the threshold of the
    biased rule that the constant correction is equal to."""
    steps, found = schedules(run)
    at = np.linspace(0, steps - 1, 201).round().astype(int)
    gamma, sigma, threshold = (np.array([of(int(step)) for step in at]) for of in found)
    return gamma, threshold, threshold * gamma / np.sqrt(sigma)


def memory(run: Run) -> str:
    """The sum of gamma over a run: how often m could forget all that it was."""
    steps, (gamma, *_) = schedules(run)
    return f"{sum(map(gamma, range(steps))):.2g}"


def thresholds_of_bop() -> list[str]:
    """The published threshold of Bop at the first and at the last gamma, in both measures."""
    arms = load_study(HERE.parent / "params.yaml").entries("paper", "cifar10")
    settings = next(e.run.settings for e in arms if e.arm == "bop").model_dump()
    gamma = make_schedule(settings["optimizer"]["gamma"], 1, settings["epochs"])
    ends = [gamma(0), gamma(settings["epochs"] - 1)]
    quoted = []
    for width, gradient in REFERENCE_GRADIENT.items():
        sizes = [settings["optimizer"]["threshold"] / gradient / np.array(of) for of in (
            ends, [floor(gamma) for gamma in ends])]  # fmt: skip
        by_step, by_floor = (" → ".join(f"{size:.2g}" for size in pair) for pair in sizes)
        quoted.append(f"| {width} | {gradient:g} | {by_step} | {by_floor} |")
    return quoted


def spread_at_the_end(run: Run) -> float:
    """Standard deviation of m / sqrt(v) under noise after a run, E m^2 and E v taken step by step:
    where gamma falls faster than 1 / gamma steps, m has not settled."""
    steps, (gamma, sigma, _) = schedules(run)
    mm = v = 0.0
    for step in range(steps):
        mm = (1 - gamma(step)) ** 2 * mm + gamma(step) ** 2
        v += sigma(step) * (1 - v)
    return math.sqrt(mm / v)


def held_thresholds() -> list[str]:
    """What is left of a threshold that is held at the floor of a gamma that falls."""
    quoted = []
    for entry in load_study(HERE.parent / "params.yaml").entries("small", "noise_floor"):
        optimizer = entry.run.settings.optimizer
        decays = not isinstance(optimizer.gamma, float)
        if decays and optimizer.threshold.times == 1 and entry.run.settings.seed == 0:
            steps, (gamma, *_) = schedules(entry.run)
            left = floor(gamma(steps - 1)) / spread_at_the_end(entry.run)
            start = schedule_text(gamma(0))
            quoted.append(f"{left:.2f} of the spread where gamma begins at {start}")
    return quoted


def draw_flip_rates() -> tuple[Figure, list[str]]:
    """Flips per weight and step under noise: against gamma, and against the threshold."""
    figure, [[left, right]] = panels(1, 2, 3.8)
    gammas = np.logspace(-3, -0.5, 6)
    left.plot(gammas, np.arccos(1 - gammas) / np.pi, color=INK, label="arccos(1 − γ) / π")
    rates = [flip_rate(gamma, 0.0) for gamma in gammas]
    left.plot(gammas, rates, "o", color=PLUS, label="measured, threshold 0")
    left.set(xscale="log", yscale="log", xlabel="gamma", ylabel="flips per weight and step")
    left.set_ylim(1e-2, 1)
    left.legend(loc="upper left")
    in_steps = np.array([0.03, 0.1, 0.3, 1, 3, 10, 30])
    kept = {}
    for gamma, rate, colour in ((1e-3, rates[0], "#12355B"), (1e-2, rates[2], "#6E9BC5")):
        of_floor = floor(gamma) / gamma
        ratios = np.append(in_steps[in_steps < 2 * of_floor], 3 * of_floor)
        kept[gamma] = [100 * flip_rate(gamma, ratio * gamma) / rate for ratio in ratios]
        right.plot(ratios, kept[gamma], "o-", color=colour, label=f"gamma {schedule_text(gamma)}")
        right.axvline(of_floor, color=colour, linestyle="--", linewidth=1)
        right.text(of_floor * 0.93, 0.06, "floor", rotation=90, ha="right", color=colour)
    right.set(xscale="log", yscale="log", xlabel="threshold / (gamma × size of the gradient)",
              ylabel="% of the flips at threshold 0", ylim=(0.04, 200))  # fmt: skip
    right.legend(loc="lower left")
    tenth, one, ten = (kept[1e-3][list(in_steps).index(ratio)] for ratio in (0.1, 1, 10))
    return figure, [
        f"a gamma ten times smaller gives {rates[4] / rates[2]:.1f} times fewer flips",
        f"at a tenth of a step {tenth:.0f} % of the flips remain, at one step {one:.0f} %, at ten "
        f"steps {ten:.0f} %",
        f"three times the floor leaves {kept[1e-3][-1]:.1f} %",
    ]


def flip_rate(gamma: float, threshold: float) -> float:
    """Of Bop under noise, after m has settled."""
    settling = round(2 / gamma)
    counts = [
        state["flips"].item()
        for _, state in follow(lambda p: Bop(p, gamma, threshold), noise(2 * settling))
    ]
    return (counts[-1] - counts[settling - 1]) / WEIGHTS / settling


def draw_measures() -> tuple[Figure, list[str]]:
    """How many weights a threshold keeps from m's sign, in the two measures of a threshold."""
    steps = 500
    gradients = noise(steps)
    figure, rows = panels(1, 2, 3.9, sharey=True)
    at_ten = []
    for gamma, colour in (
        (1e-6, "#D55E00"),
        (1e-4, "#F0B27A"),
        (1e-2, "#6E9BC5"),
        (1e-1, "#12355B"),
    ):
        look = {
            "color": colour,
            "label": f"gamma {schedule_text(gamma)}: gamma T = {gamma * steps:g}",
        }
        for axes, unit, times in (
            (rows[0][0], gamma, [0.1, 1, 3, 10, 30, 100]),
            (rows[0][1], floor(gamma), [0.05, 0.1, 0.3, 1, 2, 3]),
        ):
            found = [off(gamma, n * unit, gradients) for n in times]
            axes.plot(times, found, "o-", markersize=4, **look)
            if unit == gamma < 1e-3:
                at_ten.append(f"{found[times.index(10)]:.1f} %")
    rows[0][0].set(xscale="log", xlabel="threshold, in steps of m", ylim=(0, 52),
                   ylabel="% of weights that have the sign of m")  # fmt: skip
    rows[0][1].set(xscale="log", xlabel="threshold, in noise floors")
    legend_below(figure, 2)
    return figure, [f"at ten steps it keeps {at_ten[0]} and {at_ten[1]} of the weights"]


def off(gamma: float, threshold: float, gradients: Tensor) -> float:
    """Percentage of weights under Bop that are due after a step, mean over the second half."""
    shares = [
        (weights * state["m"] > 0).float().mean().item()
        for step, (weights, state) in enumerate(
            follow(lambda p: Bop(p, gamma, threshold), gradients)
        )
        if 2 * step >= len(gradients)
    ]
    return 100 * sum(shares) / len(shares)


def draw_first_steps() -> tuple[Figure, list[str]]:
    """The three forms of bias correction from the first step on, under noise."""
    gamma, sigma, threshold, steps = 1e-2, 1e-3, 0.5, 3000
    figure, [[left, right]] = panels(1, 2, 3.8, sharex=True)
    figure.get_layout_engine().set(wspace=0.06)
    quoted, at = [], np.arange(1, steps + 1)
    for correction, key in CORRECTIONS.items():
        label, colour = OPTIMIZERS[key], COLOURS[key]
        size, counts = np.empty(steps), np.empty(steps)

        def make(parameters, correction=correction):
            return Bop2ndOrder(parameters, gamma, sigma, threshold, bias_correction=correction)

        for step, (_, state) in enumerate(follow(make, noise(steps))):
            a, b = {
                None: (1, 1), "constant": (gamma, sigma), "adam": (state.get("a"), state.get("b"))
            }[correction]  # fmt: skip
            ratio = (state["m"] / a) / ((state["v"] / b).sqrt() + 1e-10)
            size[step] = ratio.square().mean().sqrt()
            counts[step] = state["flips"] / WEIGHTS
        left.plot(at, size, color=colour, label=label)
        right.plot(at, counts, color=colour)
        quoted.append(f"| {label} | {size[0]:.2f} | {size[-1]:.2f} | {100 * counts[0]:.0f} % | "
                      f"{counts[-1]:.2f} |")  # fmt: skip
    left.axhline(threshold, color=INK, linestyle="--", linewidth=1)
    left.text(steps, threshold * 1.06, "threshold", ha="right", va="bottom")
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="size (rms) of what is compared")
    right.set(ylabel="flips per weight so far", xlabel="step")
    legend_below(figure)
    return figure, quoted


if __name__ == "__main__":
    print("\n".join(main()))
