"""Beyond the paper: gamma x threshold in steps of m, the same for both rules."""

from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from ...config.settings import CLASSES
from ..exhibits import Exhibits, Picture, Table, accuracy_cell, listed, mean_cell, signed
from ..names import OPTIMIZERS, number_text
from ..records import ACCURACY, Records
from ..statistics import Model, difference, joined, over_seeds, robustness
from ..style import ink_on, panels
from .effects import apart, contrast_of, effect_cell, effect_row, model_of, paired, spoken

SIGN, BOP, SECOND = "sign", "bop", "bop2ndorder"
NAMES = {SIGN: OPTIMIZERS["sign"], BOP: OPTIMIZERS["bop"], SECOND: OPTIMIZERS["biased"]}
STEPS = "threshold (steps of m)"
# What the history says of the last epoch, where it says it.
AUDIT = {"off": "off (%)", "wait": "held per flip", "threshold_steps": "counted (steps of m)"}
DRAWN = ("off", "wait")
GIVEN = (
    "Bop's thresholds are in steps of m because it is given the size of a typical gradient, which "
    "Bop2ndOrder claims to find by itself."
)


def exhibits(records: Records) -> Exhibits:
    return [heat_maps(records), rules_table(records), cells_table(records)]


def headline(records: Records) -> dict:
    """Per rule: mean and spread over the cells with a threshold; and the difference of means."""
    found = {
        row.arm: {"mean": row.mean, "spread": row.spread, "cells": row.cells}
        for row in rules(records).itertuples()
    }
    return {**found, "difference": {"points": less_bop(records)["estimate"]}}


def finding(records: Records) -> list[str]:
    labelled, weights = _less_bop(records)
    model = model_of(labelled)
    said = apart(contrast_of(model, weights), NAMES[SECOND], NAMES[BOP])
    if not said:
        return []
    text = f"On average over gammas and thresholds, {said}"
    spread = {row.arm: row.spread for row in rules(records).itertuples()}
    if not any(map(pd.isna, spread.values())):
        more = f"{spread[SECOND]:.1f} points (standard deviation) against {spread[BOP]:.1f}"
        text += f"; its accuracy varies over them by {more}"
        if not pd.isna(model.deviation):
            alone = [
                _by_seeds(model, [cell for cell, weight in weights.items() if sign * weight > 0])
                for sign in (1, -1)
            ]
            text += f"; seeds alone would give {alone[0]:.1f} and {alone[1]:.1f}"
    table = cells(records)
    by_threshold, detail = _by_threshold(records), [*_by_cell(table), *_counted(table), GIVEN]
    return [" ".join([f"{text}.", *by_threshold]), " ".join(detail)]


def _by_threshold(records: Records) -> list[str]:
    """In a sentence: the difference at each threshold, by one value a seed, its mean over gammas.

    The mean over all thresholds hides it, and cells are no repetitions.
    """
    runs = _cells_of(records).dropna(subset=[records.accuracy])
    said = []
    for times, here in runs[runs["arm"] != SIGN].groupby("times"):
        sides = [here[here["arm"] == arm] for arm in (SECOND, BOP)]
        found = paired(*sides, records.accuracy)
        if pd.isna(found["difference"]):
            return []
        cell = effect_cell(found["difference"], found["low"], found["high"])
        said.append(f"{cell} at {number_text(times)}")
    if len(said) < 2:
        return []
    return [
        "Taken apart by threshold, in steps of m, which was not planned, the mean difference over "
        f"gammas is {listed(said)}."
    ]


def _by_cell(table: pd.DataFrame) -> list[str]:
    """In a sentence: how far apart cells are."""
    means = table.pivot(index=["gamma", "times"], columns="arm", values="mean")
    means = means.reindex(columns=[SECOND, BOP]).dropna()
    if means.empty:
        return []
    away = (means[SECOND] - means[BOP]).sort_values()
    ends = [
        f"{signed(points)} (gamma {number_text(gamma)}, threshold {number_text(times)})"
        for (gamma, times), points in away.iloc[[0, -1]].items()
    ]
    return [f"By cell it goes from {' to '.join(ends)}."]


def _counted(table: pd.DataFrame) -> list[str]:
    """In a sentence: whether the highest threshold is what it says."""
    highest = table["times"].max()
    counted = table[table["times"] == highest].dropna(subset="threshold_steps")
    if counted.empty:
        return []
    spans = [
        f"{steps.min():.0f} to {steps.max():.0f} with {spoken(NAMES[arm])}"
        for arm, steps in counted.groupby("arm", sort=False)["threshold_steps"]
    ]
    return [
        f"A threshold of nominally {number_text(highest)} steps of m, by the size of a "
        f"gradient fixed beforehand, is {listed(spans)} when counted in the last epoch."
    ]


def _by_seeds(model: Model, cells: list[str]) -> float:
    """The standard deviation over cells that seeds alone would give, were all cells alike."""
    return model.deviation * float(np.mean([1 / model.n[cell] for cell in cells])) ** 0.5


def cells(records: Records) -> pd.DataFrame:
    """One row an arm and cell of its grid.

    Returns:
        arm, gamma, times (the threshold in steps of m; 0 for the sign rule), those of `over_seeds`,
        off (share of all weights that are due after a step), wait (off by the flip rate) and
        threshold_steps (the threshold in steps of m, as counted), of the last epoch, mean over
        seeds; empty where records do not say.
    """
    runs = _cells_of(records).merge(_last_audit(records), on="run", how="left")
    keys = ["arm", "gamma", "times"]
    table = over_seeds(runs, keys, records.accuracy)
    return table.merge(runs.groupby(keys, sort=False)[[*AUDIT]].mean().reset_index(), on=keys)


def rules(records: Records) -> pd.DataFrame:
    """One row a rule, over its cells with a threshold above 0 that have a record.

    Returns:
        arm, cells (how many), mean, spread (standard deviation over cells), best and worst
        (percent), metric and runs (ids).
    """
    rows = []
    for arm, of_arm in cells(records).groupby("arm", sort=False):
        found = robustness(of_arm["mean"])
        if arm != SIGN and found["settings"]:
            named = {"arm": arm, "cells": found["settings"], "mean": of_arm["mean"].mean()}
            numbers = {name: found[name] for name in ("spread", "best", "worst")}
            runs = joined(of_arm["runs"].replace("", np.nan))
            rows.append({**named, **numbers, "metric": records.accuracy, "runs": runs})
    columns = ["arm", "cells", "mean", "spread", "best", "worst", "metric", "runs"]
    return pd.DataFrame(rows, columns=columns)


def less_bop(records: Records) -> dict:
    """Mean accuracy over cells with a threshold, Bop2ndOrder less Bop; see `effect_row`."""
    labelled, weights = _less_bop(records)
    return effect_row(labelled, model_of(labelled), weights)


def _less_bop(records: Records) -> tuple[Records, dict[str, float]]:
    """The records with each cell as an arm, and the weights of the difference."""
    runs = _cells_of(records)
    names = runs["arm"].str.cat([runs[key].map(number_text) for key in ("gamma", "times")], "/")
    sides = [list(dict.fromkeys(names[runs["arm"] == arm])) for arm in (SECOND, BOP)]
    weights = difference(*sides) if all(sides) else {}  # a scale may leave one of the rules out
    return replace(records, runs=runs.assign(arm=names)), weights


def _cells_of(records: Records) -> pd.DataFrame:
    times = [t["times"] if isinstance(t, dict) else t for t in records.runs["threshold"]]
    return records.runs.assign(times=times, gamma=records.runs["gamma"].astype(float))


def _last_audit(records: Records) -> pd.DataFrame:
    """What `AUDIT` names, of each run's last epoch."""
    history = records.history.reindex(columns=["run", "epoch", *AUDIT])
    last = history.sort_values("epoch").drop_duplicates("run", keep="last")
    return last[["run", *AUDIT]].astype({name: float for name in AUDIT})


def rules_table(records: Records) -> Table:
    table = rules(records)
    row = less_bop(records)
    shown = pd.DataFrame(
        {
            "rule": table["arm"].map(NAMES),
            "cells": table["cells"].astype(str),
            "mean (%)": table["mean"].map(mean_cell),
            "spread (points)": table["spread"].map(mean_cell),
            "best (%)": table["best"].map(mean_cell),
            "worst (%)": table["worst"].map(mean_cell),
        }
    )
    cell = effect_cell(row["estimate"], row["low"], row["high"])
    return Table(
        "rules",
        "Both rules over gamma × threshold",
        f"{records.measured.capitalize()} over the cells with a threshold above 0; spread: "
        f"standard deviation over cells. {NAMES[SECOND]} less {NAMES[BOP]}, mean over cells: "
        f"{cell} points, in brackets the 95 % interval. {GIVEN}",
        table,
        shown,
    )


def cells_table(records: Records) -> Table:
    table = cells(records)
    shown = {
        "rule": table["arm"].map(NAMES),
        "gamma": table["gamma"].map(number_text),
        STEPS: table["times"].map(number_text),
        ACCURACY[records.accuracy]: [accuracy_cell(row) for row in table.itertuples()],
        AUDIT["off"]: [mean_cell(100 * off, digits=2) for off in table["off"]],
        AUDIT["wait"]: table["wait"].map(mean_cell),
        AUDIT["threshold_steps"]: table["threshold_steps"].map(mean_cell),
    }
    return Table(
        "table",
        "Every cell",
        f"{records.measured.capitalize()} after the last epoch. Off: share of all weights that a "
        "step leaves with the sign of m, which without a threshold would flip; held per flip: off "
        "by the flip rate, a weight being counted in every step that it is held back; counted: "
        "what the threshold came to, by the gradients that there were. All three of the last "
        "epoch.",
        table,
        pd.DataFrame(shown),
    )


def heat_maps(records: Records) -> Picture | None:
    """Rows: rules, each with that of the sign rule; columns: accuracy, off, held per flip."""
    table = cells(records)
    if table["mean"].isna().all():
        return None
    table = table.assign(off=100 * table["off"])
    known = {"mean": "accuracy (%)", **{n: AUDIT[n] for n in DRAWN if table[n].notna().any()}}
    figure, grid = panels(2, len(known), 5.6, sharey=True)
    for arm, row in zip((BOP, SECOND), grid, strict=True):
        here = table[table["arm"].isin([SIGN, arm])]
        for name, axes in zip(known, row, strict=True):
            _draw_cells(axes, here, name, _colours(table[name], name))
            axes.set(title=f"{NAMES[arm]}\n{known[name]}", xlabel="gamma", ylabel="")
        row[0].set_ylabel(STEPS)
    low, high = table["mean"].min(), table["mean"].max()
    beside = (
        " Beside it, of the last epoch, the share of weights that are off, that is due after a "
        "step, and how many of them there are to every flip."
        if len(known) > 1
        else ""
    )
    return Picture(
        "heatmaps",
        "Gamma × threshold in steps of m",
        f"{records.measured.capitalize()} after the last epoch, mean over seeds; at a threshold "
        f"of 0 both rules are the sign rule, trained once.{beside} {GIVEN} Empty where nothing "
        "is held back, or flips, or a record is missing. By chance accuracy is "
        f"{100 / CLASSES[records.runs['source'].iloc[0]]:g} %.",
        "Grids of coloured cells, threshold down and gamma across, a row of grids for each rule: "
        f"{', '.join(known.values())}. Accuracy goes from {low:.1f} to {high:.1f} %.",
        figure,
    )


def _written(value: float, name: str) -> str:
    """In a cell of a heat map."""
    if name == "wait" and value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if name == 'off' else 1}f}"


def _colours(values: pd.Series, name: str) -> Normalize:
    """One scale for both rules; of what is held per flip, a logarithmic one."""
    positive = values[values > 0]
    if name == "wait" and len(positive):
        return LogNorm(positive.min(), max(positive.max(), positive.min() * 1.01))
    return Normalize(values.min(), values.max())


def _draw_cells(axes: Axes, table: pd.DataFrame, name: str, norm: Normalize) -> None:
    values = table.pivot_table(index="times", columns="gamma", values=name, dropna=False)
    if name == "wait":
        values = values.where(values > 0)  # on a logarithmic scale
    if values.notna().any(axis=None):
        colours = colormaps["viridis" if name == "mean" else "cividis"]
        sns.heatmap(values, ax=axes, norm=norm, cmap=colours, linewidths=1.5, cbar=False)
        for (row, column), value in np.ndenumerate(values):
            if pd.notna(value):
                axes.text(
                    column + 0.5, row + 0.5, _written(value, name), ha="center", va="center",
                    size=8.5, color=ink_on(colours(norm(value))),
                )  # fmt: skip
    axes.set_xticks(np.arange(len(values.columns)) + 0.5, map(number_text, values.columns))
    labels = ["0, sign rule" if times == 0 else number_text(times) for times in values.index]
    axes.set_yticks(np.arange(len(values.index)) + 0.5, labels)
    axes.tick_params(length=0, rotation=0)
    axes.grid(False)
