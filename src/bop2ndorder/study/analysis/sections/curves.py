"""Lines over training images seen, shared by the experiments."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ..names import COLOURS
from ..records import ACCURACY, Records
from ..statistics import mean_interval
from ..style import image_axis

# Later lines lie on top, and show in their gaps the earlier ones where they coincide.
DASHES = ("", (5, 3), (1.2, 2), (6, 2, 1.2, 2), (3, 2, 1, 2, 1, 2), (9, 3))
LINE = "Line: mean over seeds; band: its 95 % interval, or both seeds where there are only two."


def band(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean; of two values themselves, whose interval tells nothing."""
    if len(values) < 3:
        return min(values), max(values)
    found = mean_interval(values)
    return found.low, found.high


def history_of(records: Records, runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The history of all runs that have one, with columns of `runs` beside it."""
    return records.history.merge(runs[["run", *columns]].drop_duplicates(), on="run")


def draw_curves(
    axes: Axes, history: pd.DataFrame, column: str, colours: dict[str, str], dashes: dict
) -> None:
    """One line a label, with a band (see `band`).

    Args:
        axes: where to draw.
        history: see `history_of`; has a column "label".
        column: accuracies (fractions, drawn in percent) or flip rates.
        colours: label -> colour; also the order of the labels.
        dashes: label -> dash pattern.
    """
    drawn = history.dropna(subset=[column])
    if column in ACCURACY:
        drawn = drawn.assign(**{column: 100 * drawn[column]})
    labels = [label for label in colours if (drawn["label"] == label).any()]
    if labels:  # else none of their records is there
        sns.lineplot(
            drawn, x="images_seen", y=column, hue="label", hue_order=labels, palette=colours,
            style="label", style_order=labels, dashes=dashes, legend="full",
            errorbar=band, err_kws={"alpha": 0.18, "linewidth": 0}, ax=axes,
        )  # fmt: skip
    if axes.get_legend():
        axes.get_legend().remove()
    image_axis(axes)
    axes.set_ylabel(ACCURACY.get(column, ""))


def draw_flip_rates(axes: Axes, history: pd.DataFrame, colours: dict, dashes: dict) -> None:
    """Flips per weight and step on a logarithmic axis; epochs without a flip leave a gap."""
    flips = history.assign(flip_rate=history["flip_rate"].where(history["flip_rate"] > 0))
    # Before they are drawn: seaborn then averages logarithms, of which no band reaches below 0.
    axes.set_yscale("log")
    draw_curves(axes, flips, "flip_rate", colours, dashes)
    axes.set(ylabel="flips per weight and step")


def line_styles(runs: pd.DataFrame) -> tuple[dict[str, str], dict]:
    """Colour by optimizer, dashes by label, so that no line is told by its colour alone.

    Args:
        runs: `Records.runs` with a column "label".
    """
    optimizers = runs.drop_duplicates("label").set_index("label")["optimizer"]
    dashes = {label: DASHES[at % len(DASHES)] for at, label in enumerate(optimizers.index)}
    return optimizers.map(COLOURS).to_dict(), dashes


def describe_curve(records: Records) -> str:
    """For captions: which images the accuracy is measured on, and why."""
    if records.curve == "val_accuracy":
        return "Accuracy on the validation images, after each epoch."
    return (
        "Accuracy on the training images during each epoch: these runs train on all of them, "
        "so none are held out."
    )
