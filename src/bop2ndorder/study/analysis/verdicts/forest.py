"""A forest plot of the claims: the effect and the interval of every comparison, on one axis."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ..exhibits import Picture, signed, signed_interval, times, times_interval
from ..names import SOURCES
from ..style import WIDTH, look
from .deciding import CONTRADICTED, EQUIVALENT, SUPPORTED, points
from .judging import OVERALL, SECONDARY

# Of Okabe and Ito, as the optimizers' colours; the words stand beside them.
COLOURS = {
    **dict.fromkeys((SUPPORTED, SECONDARY[SUPPORTED]), "#009E73"),
    **dict.fromkeys((CONTRADICTED, SECONDARY[CONTRADICTED]), "#D55E00"),
    EQUIVALENT: "#0072B2",
}
OPEN = "#777777"  # undecided, or not judged
IMAGES = "images"
ROW, AROUND = 0.235, 0.85  # inches: of a line, and of axis, labels and gap beside them
LEFT, RIGHT = 0.30, 0.70  # of the width: where the axes begin and end
FAR = 2.5  # how many times the median interval reaches is too far for the axis
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def forest(table: pd.DataFrame) -> Picture | None:
    """The comparisons of all claims; None where none has an effect yet.

    Args:
        table: as `read_claims` gives it. Rows without a comparison of their own (`overall`) give
            the headings.
    """
    overall = table["comparison"] == OVERALL
    claims = dict(table.loc[overall, ["claim", "statement"]].to_numpy())
    compared = table[~overall]
    if compared["estimate"].isna().all():
        return None
    of_images = compared["measure"] == IMAGES
    parts = [
        part
        for part in (compared[~of_images], compared[of_images & compared["low"].notna()])
        if len(part)
    ]
    lines = [list(_lines(part, claims)) for part in parts]
    with look():
        heights = [ROW * len(of_one) + AROUND for of_one in lines]
        figure = Figure(figsize=(WIDTH, sum(heights)))
        for axes, of_one, part in zip(_axes(figure, heights), lines, parts, strict=True):
            _draw(axes, of_one, part)
    margin = compared["margin"].iloc[0]
    return Picture(
        "forest",
        "Every comparison",
        "Diamonds: the primary comparison of a claim, which decides it. Circles: secondary ones, "
        "which decide nothing. Thick lines: intervals of 95 %; thin ones: after Holm's "
        "correction; arrows: they go on, or lie beyond the axis; the numbers stand beside. What "
        "lies to the right of the line speaks for the claim. "
        "On the right verdicts, of secondary comparisons above 0 or below 0; or how many of the "
        "planned seeds are there, without which nothing is decided. "
        f"Shaded: differences below the margin, {points(margin)}, which count as none.",
        "Effects with their intervals, by claim. The primary ones: "
        + "; ".join(
            f"{row.claim}, {_name(row)}, {_effect(row)}, {row.verdict or 'not judged'}"
            for row in compared[compared["primary"].astype(bool)].itertuples()
        )
        + ".",
        figure,
    )


def _lines(part: pd.DataFrame, claims: dict[str, str]) -> Iterator[object]:
    """Headings as text and comparisons as rows, the primary ones of each claim first."""
    for claim, of_claim in part.groupby("claim", sort=False):
        yield f"{claim}  {claims[claim]}"
        first = of_claim.sort_values("primary", ascending=False, kind="stable")
        yield from first.itertuples()


def _axes(figure: Figure, heights: list[float]) -> Iterator[Axes]:
    top, whole = 1.0, sum(heights)
    for height in heights:
        bottom = top - height / whole
        yield figure.add_axes(
            (LEFT, bottom + 0.75 / whole, RIGHT - LEFT, (height - AROUND) / whole)
        )
        top = bottom


def _draw(axes: Axes, lines: list, part: pd.DataFrame) -> None:
    of_images = part["measure"].iloc[0] == IMAGES
    zero, edge = (1.0, _edge_of_images(part)) if of_images else (0.0, _edge_of_points(part))
    axes.set(ylim=(len(lines) - 0.4, -0.7), yticks=[])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if of_images:
        # Turned round, since fewer images speak for the claim.
        axes.set(xscale="log", xlim=(edge, 1 / edge))
        axes.set_xticks([tick for tick in TICKS if 1 / edge <= tick <= edge])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("times as many images\n← against the claim      for the claim →")
    else:
        margin = part["margin"].iloc[0]
        axes.axvspan(-margin, margin, color="#EEEEEE", zorder=0)
        axes.set(xlim=(-edge, edge))
        axes.set_xlabel("effect (points)\n← against the claim      for the claim →")
    axes.axvline(zero, color="#555555", linewidth=1)
    place = {"xycoords": ("figure fraction", "data"), "va": "center", "annotation_clip": False}
    for y, line in enumerate(lines):
        if isinstance(line, str):
            axes.annotate(
                line, (0.01, y), fontsize=9.5, fontweight="bold", zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, **place,
            )  # fmt: skip
            continue
        colour = COLOURS.get(line.verdict, OPEN)
        weight = "bold" if line.primary else "normal"
        axes.annotate(_name(line), (LEFT - 0.01, y), ha="right", fontsize=9, weight=weight, **place)
        axes.annotate(_effect(line), (RIGHT + 0.01, y), fontsize=8.5, **place)
        open_still = line.n < line.planned
        text = f"{line.n} of {line.planned} seeds" if open_still else line.verdict
        axes.annotate(
            text, (0.995, y), ha="right", fontsize=8.5, color=colour, weight=weight, **place
        )
        if line.primary:
            _interval(axes, y, line.holm_low, line.holm_high, 1, colour)
        _interval(axes, y, line.low, line.high, 2.6, colour)
        _interval(axes, y, line.estimate, line.estimate, 2.6, colour)
        marker = {"marker": "D", "markersize": 5} if line.primary else {"marker": "o"}
        axes.plot(line.estimate, y, color=colour, markeredgecolor="white", **marker)


def _interval(axes: Axes, y: int, low: float, high: float, width: float, colour: str) -> None:
    """A line between limits; an arrow where it goes on beyond the axis."""
    if pd.isna(low):
        return
    left, right = sorted(axes.get_xlim())
    axes.plot([max(low, left), min(high, right)], [y, y], color=colour, linewidth=width)
    turned = axes.xaxis_inverted()
    for beyond, end, smaller in ((low < left, left, True), (high > right, right, False)):
        if beyond:
            marker = "<" if smaller != turned else ">"
            axes.plot(end, y, marker, color=colour, markersize=6, clip_on=False)


def _edge_of_points(part: pd.DataFrame) -> float:
    """Up to where the axis goes: the primary intervals are whole, but for what lies far out.

    One claim with a large effect would hide whether the others' intervals touch 0.
    """
    primary = part[part["primary"].astype(bool)]
    limits = [primary[name].abs() for name in ("low", "high", "holm_low", "holm_high")]
    ends = pd.concat(limits, axis=1).max(axis=1).dropna()
    if ends.empty:
        return 1.15 * max(part["estimate"].abs().max(), part["margin"].max())
    usual = ends[ends <= FAR * ends.median()]
    return 1.15 * max(usual.max() if len(usual) else ends.max(), part["margin"].max())


def _edge_of_images(part: pd.DataFrame) -> float:
    ends = part[["estimate", "low", "high"]].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends) & (ends > 0)]
    return 1.3 * np.exp(np.abs(np.log(ends)).max(initial=np.log(2)))


def _name(row) -> str:
    """What is compared, and in which experiment, or on which images where it is named by them."""
    named_by_images = row.experiment in SOURCES and pd.notna(row.data)
    where = row.data.partition(" (")[0] if named_by_images else row.experiment.replace("_", " ")
    level = f" to {row.level:g} %" if row.measure == IMAGES else ""
    return f"{row.comparison.replace('_', ' ')}{level} ({where})"


def _effect(row) -> str:
    if row.measure == IMAGES:
        if pd.notna(row.estimate):
            return f"{times(row.estimate)} times as many"
        said = times_interval(row.low, row.high)
        return said if said == "unknown" else f"{said} times"
    if pd.isna(row.estimate):
        return "not recorded"
    if pd.isna(row.low):
        return signed(row.estimate)
    return f"{signed(row.estimate)} ({signed_interval(row.low, row.high)})"
