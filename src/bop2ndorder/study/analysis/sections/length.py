"""Beyond the paper: whether biased less Bop depends on how long training is."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..exhibits import Exhibits, Picture, Table, accuracy_cell, listed, signed
from ..names import COLOURS, OPTIMIZERS
from ..records import ACCURACY, Records
from ..statistics import over_seeds
from ..style import legend_below, panels
from .by_length import SLOPE, arms_of, differences, weights_at
from .curves import DASHES, LINE, describe_curve, draw_curves, history_of
from .effects import apart, contrast_of, effect_cell, model_of, spoken, with_mean_curve

WORDS = {
    "published": "as published",
    "scaled": "with Bop's threshold rescaled to this width",
    "gamma": "with a larger gamma for both",
}
EXPLAINED = (
    "of one model of all runs; in brackets the 95 % interval. Slope: points per ten times as many "
    "epochs. n: seeds of the arm that has the fewest; single pairs decide nothing, and their "
    "interval is by the spread of the other arms. Larger gamma: times the published number of "
    "epochs by this one, since a compressed schedule gives m fewer steps to move."
)
DRAWN = {
    "published": (COLOURS["biased"], "o"),
    "scaled": (COLOURS["bop"], "s"),
    "gamma": (COLOURS["corrected"], "D"),
}
ARMS = {
    "biased": (OPTIMIZERS["biased"], COLOURS["biased"], "o", "-"),
    "bop": (OPTIMIZERS["bop"], COLOURS["bop"], "o", "-"),
    "bop_scaled": ("Bop, threshold rescaled", COLOURS["bop"], "s", "--"),
    "biased_gamma": (f"{OPTIMIZERS['biased']}, larger gamma", COLOURS["biased"], "D", ""),
    "bop_gamma": ("Bop, larger gamma", COLOURS["bop"], "D", ""),
}
OTHER = ("#777777", "v", ":")  # colour, marker and line of an arm that is not among these
SPAN = 3  # of lengths, below which what tenfold would do is not said


def exhibits(records: Records) -> Exhibits:
    return [
        difference_picture(records), convergence(records), difference_table(records),
        pace_table(records), arms_table(records),
    ]  # fmt: skip


def headline(records: Records) -> dict:
    """Points of biased less Bop at each length, and the slope against its logarithm."""
    found: dict = {}
    for row in differences(records).itertuples():
        key = "points_per_tenfold" if row.kind == SLOPE else f"at_{row.epochs}_epochs"
        found.setdefault(row.pair, {})[key] = row.estimate
    return found


def finding(records: Records) -> list[str]:
    rows = differences(records)
    points = _points(rows, "published")
    if points.empty:
        return []
    if len(points) == 1:
        [only] = points.itertuples()
        pair = weights_at(arms_of(records), "published", only.epochs)
        said = apart(contrast_of(model_of(records), pair), OPTIMIZERS["biased"], OPTIMIZERS["bop"])
        lead = f"After {only.epochs} epochs {said}."
    else:
        name = f"{spoken(OPTIMIZERS['biased'])} less Bop"
        lead = (
            f"In {records.measured} after the last epoch, by which C3 compares, {name} comes to "
            f"{_at_lengths(points)}{_per_tenfold(rows)}."
        )
    others = [
        f"{words[:1].upper()}{words[1:]} it is {_at_lengths(here)}."
        for pair, words in WORDS.items()
        if pair != "published" and not (here := _points(rows, pair)).empty
    ]
    if records.held_out:
        rows = differences(with_mean_curve(records), records.curve)
        if not (points := _points(rows, "published")).empty:
            lead += (
                " In the mean over all epochs, by which C1 is judged, and which was not planned "
                f"here, it is {_at_lengths(points)}{_per_tenfold(rows)}."
            )
    return [lead, *([" ".join(others)] if others else [])]


def _points(rows: pd.DataFrame, pair: str) -> pd.DataFrame:
    """Of a pair of `differences`: the rows of its lengths that have records, the shortest first."""
    here = rows[(rows["pair"] == pair) & (rows["kind"] != SLOPE) & rows["estimate"].notna()]
    return here.sort_values("epochs")


def _at_lengths(points: pd.DataFrame) -> str:
    """In words: +1.0 (−0.3 to +2.3) points after 12 epochs (6 seeds) and +2.0 after 40 (1)."""
    said = []
    for place, row in enumerate(points.itertuples()):
        # The interval of single runs would be by the spread of others.
        value = effect_cell(row.estimate, row.low, row.high) if row.n > 1 else signed(row.estimate)
        seeds = "1 seed" if row.n == 1 else f"{row.n} seeds"
        units = (" points", " epochs") if place == 0 else ("", "")
        said.append(f"{value}{units[0]} after {row.epochs}{units[1]} ({seeds})")
    return listed(said)


def _per_tenfold(rows: pd.DataFrame) -> str:
    """The slope of the pair as published in words; "" where its lengths hardly differ."""
    points = _points(rows, "published")
    slopes = rows[(rows["pair"] == "published") & (rows["kind"] == SLOPE) & rows["low"].notna()]
    if slopes.empty or points["epochs"].max() < SPAN * points["epochs"].min():
        return ""
    [slope] = slopes.itertuples()
    side = "for" if slope.estimate > 0 else "against"
    how = f": the longer the training, the more it speaks {side} the claim"
    if slope.low <= 0 <= slope.high:
        how = ", which may be chance"
    per = effect_cell(slope.estimate, slope.low, slope.high)
    return f"; per ten times as many epochs it changes by {per} points{how}"


def _style(name: str) -> tuple[str, str, str, str]:
    """Name for readers, colour, marker and line of an arm."""
    return ARMS.get(name, (name.replace("_", " "), *OTHER))


def difference_table(records: Records) -> Table:
    return Table(
        "differences",
        "Biased less Bop, by length",
        f"Difference of {records.measured} after the last epoch, {EXPLAINED}",
        *_differences_shown(differences(records)),
    )


def pace_table(records: Records) -> Table | None:
    """The same for how soon a run learns, where it has validation curves."""
    if not records.held_out:
        return None
    return Table(
        "pace",
        "The same for how soon: mean accuracy over the epochs",
        f"Difference of accuracy on validation images, mean over all epochs, {EXPLAINED} Not "
        "planned here: the measure by which C1 is judged.",
        *_differences_shown(differences(with_mean_curve(records), records.curve)),
    )


def _differences_shown(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    shown = {
        "compared": rows["pair"].map(WORDS),
        "epochs": ["slope" if pd.isna(epochs) else str(epochs) for epochs in rows["epochs"]],
        "biased less Bop (points)": [
            effect_cell(row.estimate, row.low, row.high) for row in rows.itertuples()
        ],
        "n": rows["n"].astype(str),
    }
    return rows, pd.DataFrame(shown)


def arms_table(records: Records) -> Table:
    """Accuracy of every arm."""
    arms = arms_of(records).drop(columns="epochs")
    table = over_seeds(records.runs.merge(arms, on="arm"), ["arm", "name", "epochs"],
                       records.accuracy)  # fmt: skip
    shown = {
        "optimizer": [_style(name)[0] for name in table["name"]],
        "epochs": table["epochs"].astype(str),
        ACCURACY[records.accuracy]: [accuracy_cell(row) for row in table.itertuples()],
        "seeds": [f"{row.n} of {row.planned}" for row in table.itertuples()],
    }
    return Table(
        "table",
        "Accuracy after each length",
        f"{records.measured.capitalize()} after the last epoch, mean and standard deviation over "
        "seeds.",
        table.drop(columns="name"),
        pd.DataFrame(shown),
    )


def difference_picture(records: Records) -> Picture | None:
    """Left: biased less Bop over the number of epochs, with the slope; right: accuracies."""
    rows = differences(records)
    rows = rows[rows["estimate"].notna()]
    points, slopes = rows[rows["kind"] != SLOPE], rows[rows["kind"] == SLOPE]
    if points.empty:
        return None
    figure, [(left, right)] = panels(1, 2, 3.9)
    left.axhline(0, color="#999999", linewidth=1.2)
    for place, (pair, here) in enumerate(points.groupby("pair", sort=False)):
        colour, marker = DRAWN[pair]
        epochs = here["epochs"].astype(float) * (1 + 0.04 * place)
        reach = (here["high"] - here["low"]).fillna(0) / 2
        left.errorbar(
            epochs, here["estimate"], yerr=reach, fmt=marker, color=colour, capsize=3,
            label=WORDS[pair],
        )  # fmt: skip
        for slope in slopes[slopes["pair"] == pair].itertuples():
            _draw_slope(left, here, slope.estimate, colour)
    _draw_arms(right, records)
    for axes in (left, right):
        ticks = sorted(records.runs["epochs"].unique())
        axes.set_xscale("log")
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        axes.set_xlabel("epochs")
    left.set(title="difference", ylabel="biased less Bop (points)")
    right.set(title="each arm", ylabel=ACCURACY[records.accuracy])
    legend_below(figure, columns=3)
    said = ", ".join(f"{signed(row.estimate)} at {row.epochs}" for row in points.itertuples())
    return Picture(
        "difference",
        "Biased less Bop over the number of epochs",
        f"Left: difference of {records.measured} after the last epoch, with its 95 % interval; "
        "line: its slope against the logarithm of the number of epochs, each length weighted by "
        "its seeds. Right: mean over seeds of each arm; small dots: seeds.",
        f"Left, points and a line over the number of epochs, on a logarithmic axis: {said}. Right, "
        "the accuracies that they are differences of.",
        figure,
    )


def _draw_slope(axes: Axes, points: pd.DataFrame, slope: float, colour: str) -> None:
    """The line through the mean of the points, both weighted by seeds."""
    places, seeds = np.log10(points["epochs"].astype(float)), points["n"].astype(float)
    middle = np.average(points["estimate"], weights=seeds)
    values = middle + slope * (places - np.average(places, weights=seeds))
    axes.plot(points["epochs"].astype(float), values, color=colour, linewidth=1.4, alpha=0.7)


def _draw_arms(axes: Axes, records: Records) -> None:
    arms = arms_of(records).drop(columns="epochs")
    runs = records.runs.merge(arms, on="arm").dropna(subset=[records.accuracy])
    for name, here in runs.groupby("name", sort=False):
        label, colour, marker, line = _style(name)
        axes.scatter(here["epochs"], here[records.accuracy], s=14, color=colour, alpha=0.35,
                     linewidth=0)  # fmt: skip
        mean = here.groupby("epochs")[records.accuracy].mean()
        axes.plot(mean.index, mean, color=colour, marker=marker, linestyle=line or "none",
                  label=label)  # fmt: skip


def convergence(records: Records) -> Picture | None:
    """One panel a length: accuracy after each epoch."""
    arms = arms_of(records)
    labels = arms["name"].map(lambda name: _style(name)[0])
    runs = records.runs.merge(arms[["arm"]].assign(label=labels), on="arm")
    history = history_of(records, runs, ["label", "epochs"])
    if history.empty:
        return None
    colours = {_style(name)[0]: _style(name)[1] for name in arms["name"]}
    dashes = {label: DASHES[at % len(DASHES)] for at, label in enumerate(colours)}
    lengths = sorted(history["epochs"].unique())
    figure, [row] = panels(1, len(lengths), 3.4, sharey=True)
    for epochs, axes in zip(lengths, row, strict=True):
        draw_curves(axes, history[history["epochs"] == epochs], records.curve, colours, dashes)
        axes.set_title(f"{epochs} epochs")
        axes.label_outer()
    legend_below(figure, columns=3)
    return Picture(
        "convergence",
        "Learning at each length",
        f"{describe_curve(records)} {LINE}",
        "Lines of accuracy over training images seen, a panel for each of "
        f"{', '.join(map(str, lengths))} epochs; one line for each of: {', '.join(colours)}.",
        figure,
    )
