"""How settings learn: accuracy and flip rates over training images seen."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap

from ..exhibits import Picture
from ..names import NETWORKS, with_labels
from ..records import Records, sizes
from ..style import image_axis, legend_below, panels
from .curves import LINE, describe_curve, draw_curves, draw_flip_rates, history_of, line_styles

# viridis without its last shades, which are too light on white.
LAYERS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, 256)))


def convergence(records: Records) -> Picture | None:
    """Accuracy above, flip rate below, one column a network."""
    parts = _parts(records)
    runs = pd.concat(parts.values())
    history = history_of(records, runs, ["label"])
    if history.empty:
        return None
    colours, dashes = line_styles(runs)
    if len(parts) == 1:
        figure, [pair] = panels(1, 2, 3.8)
        columns = [pair]
    else:
        figure, grid = panels(2, len(parts), 5.6, sharex="col", sharey="row")
        columns = list(zip(*grid, strict=True))
    for (title, part), (above, below) in zip(parts.items(), columns, strict=True):
        here = history[history["run"].isin(part["run"])]
        draw_curves(above, here, records.curve, colours, dashes)
        draw_flip_rates(below, here, colours, dashes)
        if len(parts) > 1:
            above.set(title=title, xlabel="")
    legend_below(figure, columns=3)
    return Picture(
        "convergence",
        "Convergence and flip rates",
        f"{sizes(runs)}. {describe_curve(records)} Flip rate: flips per binary weight and step, "
        f"mean over the epoch. {LINE} On the logarithmic axis both are those of the logarithm.",
        "Lines of accuracy, and of flip rates on a logarithmic axis, over training images seen; "
        f"one line for each of: {', '.join(colours)}.",
        figure,
    )


def _parts(records: Records) -> dict[str, pd.DataFrame]:
    """Title -> its runs: a network each."""
    return {
        NETWORKS[network]: with_labels(part)
        for network, part in records.runs.groupby("network", sort=False)
    }


def flip_rates(records: Records) -> Picture | None:
    """Flip rate of each binary layer: one panel a setting."""
    runs = with_labels(records.runs)
    history = history_of(records, runs, ["network", "label"])
    if history.empty:
        return None
    settings = runs.loc[~runs["missing"], ["network", "label"]].drop_duplicates()
    networks = list(settings["network"].unique())
    across = 3 if len(networks) == 1 else int(settings.groupby("network").size().max())
    blocks = [
        (network, labels[at : at + across])
        for network in networks
        for labels in [list(settings.loc[settings["network"] == network, "label"])]
        for at in range(0, len(labels), across)
    ]
    figure, grid = panels(len(blocks), across, 2.1 * len(blocks) + 0.4, sharey=True)
    for (network, labels), row in zip(blocks, grid, strict=True):
        of_network = history[history["network"] == network]
        for axes in row[len(labels) :]:
            axes.set_visible(False)
        for label, axes in zip(labels, row, strict=False):
            _draw_layers(axes, of_network[of_network["label"] == label])
            title = f"{NETWORKS[network]}\n{label}" if len(networks) > 1 else label
            axes.set_title(title.replace(" (", "\n("), fontsize=9.5)
    figure.supxlabel("training images seen", fontsize=10)
    figure.supylabel("flips per weight and step", fontsize=10)
    bar = figure.colorbar(
        ScalarMappable(cmap=LAYERS), ax=figure.axes, ticks=[0, 1], aspect=30, shrink=0.8
    )
    bar.ax.set_yticklabels(["first", "last"])
    bar.set_label("binary layer", labelpad=-12)
    bar.outline.set_visible(False)
    return Picture(
        "flip_rates",
        "Flip rate of each layer",
        "Flips per binary weight and step, mean over the epoch and over seeds; one line a binary "
        "layer.",
        f"Small panels, one for each of {len(settings)} settings: flip rates on a logarithmic axis "
        "over the training images seen, one line a binary layer, coloured from first to last.",
        figure,
    )


def _draw_layers(axes: Axes, history: pd.DataFrame) -> None:
    columns = [
        name
        for name in history.columns
        if name.startswith("flip_rate/") and history[name].notna().any()
    ]
    mean = history.groupby("epoch")[["images_seen", *columns]].mean()
    for place, name in zip(np.linspace(0, 1, len(columns)), columns, strict=True):
        flips = mean[name].where(mean[name] > 0)
        axes.plot(mean["images_seen"], flips, color=LAYERS(place), linewidth=1.3)
    axes.set(yscale="log")
    image_axis(axes)
    axes.set_xlabel("")
