"""Beyond the paper: whether biased less Bop depends on how long training is."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..exhibits import Exhibits, Picture, Table, accuracy_cell, signed
from ..names import COLOURS, OPTIMIZERS
from ..records import ACCURACY, Records
from ..statistics import over_seeds
from ..style import legend_below, panels
from .effects import apart, contrast_of, effect_cell, effect_row, model_of, spoken

# What is compared, each at several lengths: the arms' names without their epochs.
PAIRS = {
    "published": ("biased", "bop"),
    "scaled": ("biased", "bop_scaled"),
    "gamma": ("biased_gamma", "bop_gamma"),
}
WORDS = {
    "published": "as published",
    "scaled": "Bop's threshold rescaled to this width",
    "gamma": "both with a larger gamma",
}
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
SLOPE = "slope"
SPAN = 3  # of lengths, below which what tenfold would do is not said


def exhibits(records: Records) -> Exhibits:
    return [difference_picture(records), difference_table(records), arms_table(records)]


def headline(records: Records) -> dict:
    """Points of biased less Bop at each length, and the slope against its logarithm."""
    found: dict = {}
    for row in differences(records).itertuples():
        key = "points_per_tenfold" if row.kind == SLOPE else f"at_{row.epochs}_epochs"
        found.setdefault(row.pair, {})[key] = row.estimate
    return found


def finding(records: Records) -> str:
    rows = differences(records)
    rows = rows[(rows["pair"] == "published") & rows["estimate"].notna()]
    points = rows[rows["kind"] != SLOPE].sort_values("epochs")
    if points.empty:
        return ""
    if len(points) == 1:
        [only] = points.itertuples()
        model, arms = model_of(records), _arms(records)
        pair = _pair(arms, "published", only.epochs)
        said = apart(contrast_of(model, pair), OPTIMIZERS["biased"], OPTIMIZERS["bop"])
        return f"After {only.epochs} epochs {said}."
    ends = [
        f"{effect_cell(end.estimate, end.low, end.high)} points after {end.epochs} epochs "
        f"({end.n} {'seed' if end.n == 1 else 'seeds'})"
        for end in (points.iloc[0], points.iloc[-1])
    ]
    text = f"{spoken(OPTIMIZERS['biased'])} less Bop comes to {' and '.join(ends)}"
    span = points["epochs"].max() / points["epochs"].min()
    slopes = rows[(rows["kind"] == SLOPE) & rows["low"].notna() & (span >= SPAN)]
    for slope in slopes.itertuples():
        per = effect_cell(slope.estimate, slope.low, slope.high)
        chance = ", which may be chance" if slope.low <= 0 <= slope.high else ""
        text += f"; per ten times as many epochs it changes by {per} points{chance}"
    return f"{text}."


def differences(records: Records) -> pd.DataFrame:
    """Biased less Bop at each length, and for each pair with two lengths the slope.

    The slope weighs each difference by its number of seeds; its interval, as all, is of one model
    of all runs. Where lengths have one seed each, their spread comes from those that have more.

    Returns:
        pair (of `PAIRS`), kind (difference or slope), epochs (empty for a slope), and those of
        `effects.effect_row`; a slope is in points per ten times as many epochs.
    """
    model, arms = model_of(records), _arms(records)
    rows = []
    for pair in PAIRS:
        lengths = [
            epochs for epochs in sorted(arms["epochs"].unique()) if _pair(arms, pair, epochs)
        ]
        for epochs in lengths:
            row = effect_row(records, model, _pair(arms, pair, epochs))
            rows.append({"pair": pair, "kind": "difference", "epochs": epochs, **row})
        recorded = [
            (epochs, row["n"])
            for epochs, row in zip(lengths, rows[len(rows) - len(lengths) :], strict=True)
            if row["n"]
        ]
        if len(recorded) > 1:
            row = effect_row(records, model, dict(_slope(arms, pair, recorded)))
            rows.append({"pair": pair, "kind": SLOPE, "epochs": None, **row})
    return pd.DataFrame(rows).astype({"epochs": "Int64"})


def _arms(records: Records) -> pd.DataFrame:
    """One row an arm: arm, name (without its epochs) and epochs."""
    arms = records.runs.drop_duplicates("arm")[["arm", "epochs"]]
    return arms.assign(name=arms["arm"].str.replace(r"_\d+$", "", regex=True))


def _style(name: str) -> tuple[str, str, str, str]:
    """Name for readers, colour, marker and line of an arm."""
    return ARMS.get(name, (name.replace("_", " "), *OTHER))


def _pair(arms: pd.DataFrame, pair: str, epochs: int) -> dict[str, float]:
    """Weights of the difference at a length; none where one of the two arms is not there."""
    here = arms[arms["epochs"] == epochs].set_index("name")["arm"]
    if not {*PAIRS[pair]} <= {*here.index}:
        return {}
    of, against = PAIRS[pair]
    return {here[of]: 1.0, here[against]: -1.0}


def _slope(
    arms: pd.DataFrame, pair: str, recorded: list[tuple[int, int]]
) -> Iterator[tuple[str, float]]:
    """Weights of the slope against log10 of the epochs; recorded: (epochs, seeds) of each."""
    places = np.log10([epochs for epochs, _ in recorded])
    seeds = np.array([n for _, n in recorded], dtype=float)
    away = places - np.average(places, weights=seeds)
    slopes = seeds * away / (seeds * away**2).sum()
    for (epochs, _), slope in zip(recorded, slopes, strict=True):
        for arm, weight in _pair(arms, pair, epochs).items():
            yield arm, weight * slope


def difference_table(records: Records) -> Table:
    rows = differences(records)
    shown = {
        "compared": rows["pair"].map(WORDS),
        "epochs": ["slope" if pd.isna(epochs) else str(epochs) for epochs in rows["epochs"]],
        "biased less Bop (points)": [
            effect_cell(row.estimate, row.low, row.high) for row in rows.itertuples()
        ],
        "n": rows["n"].astype(str),
    }
    return Table(
        "differences",
        "Biased less Bop, by length",
        f"Difference of {records.measured}, of one model of all runs; in brackets the 95 % "
        "interval. Slope: points per ten times as many epochs. n: seeds of the arm that has the "
        "fewest; single pairs decide nothing. Larger gamma: times the published number of epochs "
        "by this one, since a compressed schedule gives m fewer steps to move.",
        rows,
        pd.DataFrame(shown),
    )


def arms_table(records: Records) -> Table:
    """Accuracy of every arm."""
    arms = _arms(records).drop(columns="epochs")
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
    arms = _arms(records).drop(columns="epochs")
    runs = records.runs.merge(arms, on="arm").dropna(subset=[records.accuracy])
    for name, here in runs.groupby("name", sort=False):
        label, colour, marker, line = _style(name)
        axes.scatter(here["epochs"], here[records.accuracy], s=14, color=colour, alpha=0.35,
                     linewidth=0)  # fmt: skip
        mean = here.groupby("epochs")[records.accuracy].mean()
        axes.plot(mean.index, mean, color=colour, marker=marker, linestyle=line or "none",
                  label=label)  # fmt: skip
