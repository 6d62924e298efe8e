"""Sections 5.1.2 and 5.1.3: accuracy along each hyperparameter."""

import json
from functools import reduce
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ...config.settings import Settings
from ..exhibits import Exhibits, Picture, Table, accuracy_cell
from ..names import COLOURS, OPTIMIZERS, SYMBOLS, number_text, schedule_start, schedule_text
from ..records import ACCURACY, HYPERPARAMETERS, Records
from ..statistics import over_seeds, robustness
from ..style import legend_below, panels
from .audits import LITTLE, SUM, gamma_total
from .curves import LINE, band


def exhibits(records: Records) -> Exhibits:
    return [axes_picture(records), accuracy_table(records)]


def headline(records: Records) -> dict:
    """Per hyperparameter: the best accuracy along its axis, and best less worst in points."""
    return {
        name: {key: robustness(of_axis["mean"]).get(key) for key in ("best", "range", "settings")}
        for name, of_axis in _along_axes(records).groupby("name", sort=False)
    }


def finding(records: Records) -> list[str]:
    along = _along_axes(records).dropna(subset=["mean"])
    said = []
    for name, of_axis in along.groupby("name", sort=False):
        if len(of_axis) > 1:
            points = robustness(of_axis["mean"])["range"]
            said.append(f"{points:.1f} points over {len(of_axis)} values of {name}")
    if not said:
        return []
    chance = "; with one seed a value, chance alone moves it, too" if along["n"].max() < 2 else ""
    text = f"Varied one at a time, accuracy moves by {', '.join(said)}{chance}."
    return [f"{text}{_inactive(records)}"]


def _inactive(records: Records) -> str:
    """In a sentence: which hyperparameters do nothing, since no threshold holds anything."""
    held = _held(records)
    if records.missing or not held < LITTLE:
        return ""
    text = (
        f" No threshold of these settings holds back more than {held:.2g} % of the weights that "
        "would flip in a step without it: all are the sign rule, to which sigma and threshold are "
        "nothing"
    )
    settings = [
        Settings.model_validate({**json.loads(setting), "seed": 0})
        for setting in records.runs["setting"].unique()
    ]
    if all(gamma_total(one) < SUM for one in settings):
        text += ", nor is gamma, since m forgets no gradient"
    return f"{text}. That accuracy hardly depends on them here is no robustness."


def _held(records: Records) -> float:
    """Percent of the due weights that were held, of the setting with the most; empty if unknown."""
    history = records.history.reindex(columns=["setting", "due", "off"]).astype(
        {"due": float, "off": float}
    )
    sums = history.groupby("setting")[["due", "off"]].sum(min_count=1)
    return float((100 * sums["off"] / sums["due"]).max(skipna=False))


def accuracy_table(records: Records) -> Table:
    """Every setting of every axis."""
    along = _along_axes(records)
    accuracy = along.rename(columns={"name": "part"}).drop(columns=["setting", "axis"])
    shown = {
        "varied": [_varied(row) for row in along.itertuples()],
        **accuracy[[*HYPERPARAMETERS]].map(schedule_text),
        ACCURACY[records.accuracy]: [accuracy_cell(row) for row in accuracy.itertuples()],
    }
    return Table(
        "table",
        "Accuracy of every setting",
        f"{records.measured.capitalize()} after the last epoch.",
        accuracy,
        pd.DataFrame(shown),
    )


def _varied(row: Any) -> str:
    """What an axis varies; with its value where no column of the table has it."""
    if row.name in HYPERPARAMETERS:
        return row.name
    value = reduce(dict.__getitem__, row.axis.split("."), json.loads(row.setting))
    return f"{row.name} {value if isinstance(value, str) else schedule_text(value)}"


def axes_picture(records: Records) -> Picture | None:
    """One panel a hyperparameter of the flips, the others held at the centre."""
    along, centre = _along_axes(records), _centre(records)
    along = along[along["name"].isin(HYPERPARAMETERS)]
    if along["mean"].isna().all():
        return None
    runs = _numeric(records.runs[records.runs["axis"].notna()])
    names = list(along["name"].unique())
    # A line through single runs would make chance look like a shape.
    several = along["n"].max() > 1
    figure, [row] = panels(1, len(names), 3.2, sharey=True)
    for axes, name in zip(row, names, strict=True):
        sns.lineplot(
            runs[runs["arm"] == name], x=name, y=records.accuracy, hue="optimizer",
            palette=COLOURS, marker="o", markersize=7, errorbar=band, legend=False, ax=axes,
            linestyle="-" if several else "",
        )  # fmt: skip
        at = along[(along["name"] == name) & (along["setting"] == centre)]
        axes.scatter(
            at[name], at["mean"], s=150, facecolor="none", edgecolor="#222222", linewidth=1.4,
            label="centre: the setting that all axes share", zorder=3,
        )  # fmt: skip
        _decades(axes, along.loc[along["name"] == name, name])
        axes.set(xlabel=SYMBOLS.get(name, name), ylabel=ACCURACY[records.accuracy])
    legend_below(figure)
    optimizer = ", ".join(OPTIMIZERS[key] for key in along["optimizer"].unique())
    return Picture(
        "axes",
        "Accuracy along each hyperparameter",
        f"{optimizer}. One hyperparameter is varied at a time, by decades; the circle marks the "
        f"centre. {records.measured.capitalize()} after the last epoch. "
        f"{LINE if several else 'Dots: one run each.'}",
        f"{len(names)} charts of {records.measured}, over {', '.join(names)}, each on a "
        "logarithmic axis.",
        figure,
    )


def _numeric(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(**runs[[*HYPERPARAMETERS]].map(schedule_start).apply(pd.to_numeric))


def _along_axes(records: Records) -> pd.DataFrame:
    runs = records.runs[records.runs["axis"].notna()]
    runs = _numeric(runs).assign(name=runs["arm"])
    by = ["name", "axis", "setting", "optimizer", *HYPERPARAMETERS]
    return over_seeds(runs, by, records.accuracy)


def _centre(records: Records) -> str | None:
    """The setting that every axis passes through."""
    axes = records.runs[records.runs["axis"].notna()].groupby("axis")["setting"].agg(set)
    shared = set.intersection(*axes) if len(axes) > 1 else set()
    return next(iter(sorted(shared)), None)


def _decades(axes: Axes, values: pd.Series) -> None:
    """A logarithmic axis with a tick at each value; zero stands a decade below the smallest."""
    positive = values[values > 0]
    if (values == 0).any():
        axes.set_xscale("symlog", linthresh=positive.min())
    else:
        axes.set_xscale("log")
    ticks = sorted(values.unique())
    axes.set_xticks(ticks, [number_text(value) for value in ticks], minor=False)
    axes.minorticks_off()
