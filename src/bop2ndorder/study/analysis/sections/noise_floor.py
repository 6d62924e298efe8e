"""Beyond the paper: thresholds in units of what noise alone does to m / sqrt(v)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..exhibits import Exhibits, Picture, Table, accuracy_cell, interval
from ..names import number_text, schedule_kind, schedule_start, schedule_text
from ..records import ACCURACY, Records
from ..statistics import over_seeds
from ..style import legend_below, panels
from .curves import band
from .effects import PAIRED, effect_cell, paired

KEYS = ["decay", "gamma_start", "gamma", "times"]
CONSTANT, DECAYING = "constant", "decaying"
SHADES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
MARKERS = "osD^v"
AXIS = "threshold / noise floor"
EFFECT = {"difference": "effect", "low": "effect_low", "high": "effect_high"}


def exhibits(records: Records) -> Exhibits:
    if _runs(records).empty:
        return []
    return [
        accuracy_picture(records),
        accuracy_table(records),
        collapse_table(records),
        decay_table(records),
        flip_picture(records),
    ]


def headline(records: Records) -> dict:
    """constant, decaying -> the best point, and how far apart the gammas are at most."""
    found: dict = {}
    name = records.accuracy.removesuffix("_percent")
    apart = collapse(records)
    for decay, table in accuracy(records).dropna(subset="mean").groupby("decay", sort=False):
        best = table.loc[table["mean"].idxmax()]
        found[decay] = {
            f"best_{name}": best["mean"],
            "best_times": best["times"],
            "best_gamma": best["gamma_start"],
            "gammas_apart_points": apart.loc[apart["decay"] == decay, "difference"].abs().max(),
        }
    return found


def finding(records: Records) -> list[str]:
    table = accuracy(records)
    table = table[table["n"] == table["planned"]]  # one with few seeds is soon the best
    constant = table[table["decay"] == CONSTANT]
    if len(constant) < 2:
        return []
    best = constant.loc[constant["mean"].idxmax()]
    height = f"{number_text(best['times'])} times the noise floor" if best["times"] else "none"
    text = (
        f"With a constant gamma the best threshold of {len(constant)} is {height}, at gamma "
        f"{best['gamma']} ({best['mean']:.1f} %)"
    )
    if best["times"] and pd.notna(best["effect"]):
        effect = effect_cell(best["effect"], best["effect_low"], best["effect_high"])
        text += f", {effect} points from none (chosen as the best, it is rather too good)"
    without = table[(table["decay"] == DECAYING) & (table["times"] == 0)]
    if len(without):
        reached = f"{without['mean'].max():.1f} %"
        text += f"; a gamma that decays reaches {reached} without any threshold"
    return [f"{text}."]


def accuracy(records: Records) -> pd.DataFrame:
    """One row a setting, by gamma and threshold.

    Returns:
        decay (constant or decaying), gamma_start, gamma (as text), times (threshold / noise floor),
        those of `over_seeds`, flip_rate (of the last epoch, mean over seeds), effect (points above
        the same gamma without a threshold, over the seeds that both have), effect_low,
        effect_high, and against_runs (ids of the runs without).
    """
    runs = _runs(records)
    if runs.empty:
        return pd.DataFrame(columns=[*KEYS, "mean", "n", "planned", *EFFECT.values()])
    table = over_seeds(runs, KEYS, records.accuracy)
    flips = runs.groupby(KEYS, sort=False)["flip_rate"].mean().reset_index()
    rows = []
    for row in table.itertuples():
        here = runs[runs["gamma"] == row.gamma]
        one, other = here[here["times"] == row.times], here[here["times"] == 0]
        rows.append(paired(one, other, records.accuracy))
    effects = pd.DataFrame(rows)[[*EFFECT, "against_runs"]].rename(columns=EFFECT)
    table = table.merge(flips, on=KEYS).join(effects)
    return table.sort_values(["decay", "gamma_start", "times"], ignore_index=True)


def collapse(records: Records) -> pd.DataFrame:
    """Whether gamma still matters where threshold / noise floor is the same.

    Returns:
        decay, times, gamma (the outermost two, as text), difference (accuracy at the larger minus
        at the smaller in points, over the seeds that both have), low, high, n, metric, runs and
        against_runs (ids).
    """
    runs, rows = _runs(records).dropna(subset=[records.accuracy]), []
    for (decay, times), here in runs.groupby(["decay", "times"]):
        by_gamma = [of_gamma for _, of_gamma in here.groupby("gamma_start")]
        if len(by_gamma) > 1:
            found = _gammas(by_gamma[-1], by_gamma[0], records.accuracy)
            rows.append({"decay": decay, "times": times, **found})
    return pd.DataFrame(rows, columns=["decay", "times", "gamma", *PAIRED])


def against_decay(records: Records) -> pd.DataFrame:
    """What a threshold at a constant gamma reaches, beside the same gamma decaying without one.

    Returns:
        times, gamma (both, as text), difference (points, over the seeds that both have), low,
        high, n, metric, runs and against_runs (ids).
    """
    runs, rows = _runs(records).dropna(subset=[records.accuracy]), []
    without = runs[(runs["decay"] == DECAYING) & (runs["times"] == 0)]
    constant = runs[runs["decay"] == CONSTANT]
    for (gamma, times), here in constant.groupby(["gamma_start", "times"]):
        other = without[without["gamma_start"] == gamma]
        if len(other):
            rows.append({"times": times, **_gammas(here, other, records.accuracy)})
    return pd.DataFrame(rows, columns=["times", "gamma", *PAIRED])


def _gammas(of: pd.DataFrame, against: pd.DataFrame, metric: str) -> dict:
    """`paired` of two gammas, and both as text."""
    gammas = " against ".join(runs["gamma"].iloc[0] for runs in (of, against))
    return {"gamma": gammas, **paired(of, against, metric)}


def accuracy_table(records: Records) -> Table:
    table = accuracy(records)
    shown = {
        "gamma": table["gamma"],
        AXIS: table["times"].map(number_text),
        ACCURACY[records.accuracy]: [accuracy_cell(row) for row in table.itertuples()],
        "95 % interval": [interval(row.low, row.high) for row in table.itertuples()],
        "above no threshold (points)": [
            "" if row.times == 0 else effect_cell(row.effect, row.effect_low, row.effect_high)
            for row in table.itertuples()
        ],
        "flips per weight and step, last epoch": [
            "–" if pd.isna(rate) else number_text(float(f"{rate:.1e}"))
            for rate in table["flip_rate"]
        ],
    }
    return Table(
        "table",
        "Accuracy over threshold / noise floor",
        f"{records.measured.capitalize()} after the last epoch, mean and standard deviation over "
        "seeds; in brackets the 95 % interval of the difference, paired by seed (Student's t)."
        + _left_out(records),
        table,
        pd.DataFrame(shown),
    )


def collapse_table(records: Records) -> Table | None:
    return _differences(
        collapse(records),
        "collapse",
        "Gammas at the same threshold / noise floor",
        f"Difference of {records.measured} between the outermost gammas, threshold / noise floor "
        "being the same; in brackets its 95 % interval, paired by seed. Were threshold / noise "
        "floor all that counts, it would be 0 throughout.",
    )


def decay_table(records: Records) -> Table | None:
    return _differences(
        against_decay(records),
        "against_decay",
        "A threshold instead of a decay of gamma",
        f"{records.measured.capitalize()} with a constant gamma and a threshold, minus that of "
        "the same gamma decaying without a threshold; in brackets the 95 % interval, paired by "
        "seed.",
    )


def _differences(table: pd.DataFrame, name: str, title: str, what: str) -> Table | None:
    if table.empty:
        return None
    shown = {
        "gamma": table["gamma"],
        AXIS: table["times"].map(number_text),
        "difference (points)": [
            effect_cell(row.difference, row.low, row.high) for row in table.itertuples()
        ],
        "seeds": table["n"].astype(str),
    }
    return Table(name, title, what, table, pd.DataFrame(shown))


def accuracy_picture(records: Records) -> Picture | None:
    """Left: constant gamma; right: decaying. One line a gamma."""
    return _picture(
        records,
        records.accuracy,
        "accuracy",
        "Accuracy over threshold / noise floor",
        ACCURACY[records.accuracy],
        f"{records.measured.capitalize()} after the last epoch",
    )


def flip_picture(records: Records) -> Picture | None:
    """The same for flip rates, on a logarithmic axis."""
    return _picture(
        records,
        "flip_rate",
        "flip_rates",
        "Flips over threshold / noise floor",
        "flips per weight and step",
        "Flips per binary weight and step, mean over the last epoch; none are left out",
    )


def _picture(
    records: Records, column: str, name: str, title: str, label: str, what: str
) -> Picture | None:
    runs = _runs(records).dropna(subset=[column])
    if column == "flip_rate":
        runs = runs[runs[column] > 0]
    if runs.empty:
        return None
    decays = [decay for decay in (CONSTANT, DECAYING) if (runs["decay"] == decay).any()]
    gammas = sorted(runs["gamma_start"].unique())
    figure, [row] = panels(1, len(decays), 3.6, sharey=True, sharex=True)
    for decay, axes in zip(decays, row, strict=True):
        axes.set_xticks(sorted(runs["times"].unique()))
        for place, gamma in enumerate(gammas):
            here = runs[(runs["decay"] == decay) & (runs["gamma_start"] == gamma)]
            if len(here):
                _draw_line(axes, here, column, place, f"gamma {number_text(gamma)}")
        axes.set(title=f"{decay} gamma", xlabel=AXIS)
        if column == "flip_rate":
            axes.set_yscale("log")
    row[0].set_ylabel(label)
    legend_below(figure)
    return Picture(
        name,
        title,
        f"{what}. One line a gamma, a decaying one named by its first value; dots: mean over "
        "seeds, bars: its 95 % interval, or both seeds where there are only two.",
        f"{len(decays)} line charts of {label} over the threshold in units of the noise floor, one "
        f"line for each gamma: {', '.join(map(number_text, gammas))}.",
        figure,
    )


def _draw_line(axes: Axes, runs: pd.DataFrame, column: str, place: int, label: str) -> None:
    by_times = runs.groupby("times")[column]
    mean = by_times.mean()
    limits = np.array([band(values.tolist()) for _, values in by_times]).T
    axes.errorbar(
        mean.index + 0.03 * place, mean, yerr=np.abs(limits - mean.to_numpy()), label=label,
        color=SHADES[place % len(SHADES)], marker=MARKERS[place % len(MARKERS)], capsize=3,
    )  # fmt: skip


def _runs(records: Records) -> pd.DataFrame:
    """The runs whose threshold is in noise floors: decay, gamma_start, gamma as text, times."""
    runs = records.runs[_in_floors(records)]
    return runs.assign(
        decay=np.where(runs["gamma"].map(schedule_kind) == "none", CONSTANT, DECAYING),
        gamma_start=runs["gamma"].map(schedule_start),
        gamma=runs["gamma"].map(schedule_text),
        times=runs["threshold"].map(lambda threshold: threshold["times"]),
    )


def _in_floors(records: Records) -> pd.Series:
    return records.runs["threshold"].map(schedule_kind) == "noise_floor"


def _left_out(records: Records) -> str:
    """For captions: how many runs are not among these."""
    count = int((~_in_floors(records)).sum())
    total = len(records.runs)
    return f" {count} of {total} runs, with another threshold, are left out." if count else ""
