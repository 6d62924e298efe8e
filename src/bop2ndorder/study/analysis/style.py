"""One look for all figures, and files with the same bytes each time."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image

WIDTH = 9.0  # inches
DPI = 150  # sharp at the width of the report page, also when printed
LOOK = {
    **sns.axes_style("ticks"),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#333333",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#333333",
    "axes.labelsize": 10,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "text.color": "#333333",
    "xtick.color": "#555555",
    "xtick.labelsize": 9,
    "ytick.color": "#555555",
    "ytick.labelsize": 9,
    # Without a salt of our own the ids in an SVG are random.
    "svg.hashsalt": "bop2ndorder",
    "svg.fonttype": "none",
}


@contextmanager
def look() -> Iterator[None]:
    """The style, for as long as a figure is drawn or saved."""
    with matplotlib.rc_context(LOOK):
        yield


def panels(rows: int, columns: int, height: float, **options) -> tuple[Figure, list[list[Axes]]]:
    """A figure of the report's width with a grid of axes; `height` in inches, of the whole."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes.tolist()


def legend_below(figure: Figure, columns: int = 5) -> None:
    """One legend for all panels, under them, where it covers no data."""
    entries = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(), entries, loc="outside lower center", ncols=min(columns, len(entries))
        )


def ink_on(colour: Sequence[float]) -> str:
    """Black or white, whichever stands out more on a colour (red, green, blue; 0 to 1)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = sum(c * part for c, part in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    return "black" if luminance > 0.179 else "white"  # where both have the contrast 4.6 (WCAG 2)


def image_axis(axes: Axes) -> None:
    """An axis of training images seen: 20k, 1.5M."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="training images seen", xlim=(0, None))


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 256 colours, a third of the size of one in true colour."""
    drawn, small = io.BytesIO(), io.BytesIO()
    with look():
        figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write path.png and path.svg, both without a date."""
    path.with_suffix(".png").write_bytes(png(figure))
    figure.set_layout_engine("none")  # it is laid out by now; doing it again takes longest
    with look():
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
