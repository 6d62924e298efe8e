"""Sections 5.1.2 and 5.1.3: accuracy along each hyperparameter, and over gamma x threshold."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ..exhibits import Exhibits, Picture, Table, accuracy_cell
from ..names import COLOURS, OPTIMIZERS, SYMBOLS, number_text, schedule_start, schedule_text
from ..records import HYPERPARAMETERS, Records
from ..statistics import WITHIN, joined, over_seeds, robustness
from ..style import legend_below, panels
from .curves import LINE, band


def exhibits(records: Records) -> Exhibits:
    return [
        axes_picture(records),
        heat_maps(records),
        robustness_picture(records),
        robustness_table(records),
        accuracy_table(records),
    ]


def headline(records: Records) -> dict:
    grid = {
        row.optimizer: {
            "best": row.best,
            "median": row.median,
            "range": row.range,
            "spread": row.spread,
            f"share_within_{WITHIN:g}_points": row.share_within,
            "settings": row.settings,
        }
        for row in _robustness(records).itertuples()
    }
    axes = {
        name: {key: robustness(of_axis["mean"]).get(key) for key in ("best", "range", "settings")}
        for name, of_axis in _along_axes(records).groupby("name", sort=False)
    }
    return {"grid": grid, "axes": axes}


def accuracy_table(records: Records) -> Table:
    """Every setting of axes and grid."""
    along = _along_axes(records).rename(columns={"name": "part"})
    accuracy = pd.concat([along, _grid(records).assign(part="grid")], ignore_index=True)
    accuracy = accuracy.drop(columns="setting")
    shown = {
        "varied": accuracy["part"].replace("grid", "gamma × threshold"),
        "optimizer": accuracy["optimizer"].map(OPTIMIZERS),
        **accuracy[[*HYPERPARAMETERS]].map(schedule_text).replace("", "–"),
        "validation accuracy (%)": [accuracy_cell(row) for row in accuracy.itertuples()],
    }
    return Table(
        "table",
        "Accuracy of every setting",
        "Validation accuracy after the last epoch.",
        accuracy,
        pd.DataFrame(shown),
    )


def robustness_table(records: Records) -> Table | None:
    """Robustness over the gamma x threshold grid, one row an optimizer."""
    summary = _robustness(records)
    if summary.empty:
        return None
    tenths = "{:.1f}".format
    shown = {
        "optimizer": summary["optimizer"].map(OPTIMIZERS),
        "settings": summary["settings"].astype(str),
        **{f"{name} (%)": summary[name].map(tenths) for name in ("best", "median", "worst")},
        "best − worst (points)": summary["range"].map(tenths),
        "spread (points)": summary["spread"].map(tenths),
        f"within {WITHIN:g} points of best (%)": summary["share_within"].map("{:.0f}".format),
    }
    return Table(
        "summary",
        "Robustness over gamma × threshold",
        "Validation accuracy over the settings of each optimizer's grid: the smaller its spread "
        "(standard deviation over settings), and the larger the share of settings near the best, "
        "the less the choice matters.",
        summary,
        pd.DataFrame(shown),
    )


def axes_picture(records: Records) -> Picture | None:
    """One panel a hyperparameter, the others held at the centre."""
    along, centre = _along_axes(records), _centre(records)
    if along["mean"].isna().all():
        return None
    runs = _numeric(records.runs[records.runs["axis"].notna()])
    names = list(along["name"].unique())
    figure, [row] = panels(1, len(names), 3.2, sharey=True)
    for axes, name in zip(row, names, strict=True):
        sns.lineplot(
            runs[runs["arm"] == name], x=name, y=records.accuracy, hue="optimizer",
            palette=COLOURS, marker="o", markersize=7, errorbar=band, legend=False, ax=axes,
        )  # fmt: skip
        at = along[(along["name"] == name) & (along["setting"] == centre)]
        axes.scatter(
            at[name], at["mean"], s=150, facecolor="none", edgecolor="#222222", linewidth=1.4,
            label="centre: the setting that all axes share", zorder=3,
        )  # fmt: skip
        _decades(axes, along.loc[along["name"] == name, name])
        axes.set(xlabel=SYMBOLS.get(name, name), ylabel="validation accuracy (%)")
    legend_below(figure)
    optimizer = ", ".join(OPTIMIZERS[key] for key in along["optimizer"].unique())
    return Picture(
        "axes",
        "Accuracy along each hyperparameter",
        f"{optimizer}. One hyperparameter is varied at a time, by decades; the circle marks the "
        f"centre. Validation accuracy after the last epoch. {LINE}",
        f"{len(names)} line charts of validation accuracy, over {', '.join(names)}, each on a "
        "logarithmic axis.",
        figure,
    )


def heat_maps(records: Records) -> Picture | None:
    """gamma x threshold for each optimizer, on one colour scale."""
    grid = _grid(records)
    if grid["mean"].isna().all():
        return None
    optimizers = list(grid["optimizer"].unique())
    low, high = grid["mean"].min(), grid["mean"].max()
    figure, [row] = panels(1, len(optimizers), 3.6)
    for axes, optimizer in zip(row, optimizers, strict=True):
        cells = grid[grid["optimizer"] == optimizer].pivot_table(
            index="gamma", columns="threshold", values="mean", dropna=False
        )
        cells = cells.sort_index(ascending=False)
        sns.heatmap(
            cells, ax=axes, vmin=low, vmax=high, cmap="viridis", annot=True, fmt=".1f",
            annot_kws={"size": 9}, linewidths=1.5, cbar=False,
            xticklabels=[number_text(t) for t in cells.columns],
            yticklabels=[number_text(g) for g in cells.index],
        )  # fmt: skip
        axes.set(title=OPTIMIZERS[optimizer], xlabel="threshold", ylabel="gamma")
        axes.tick_params(length=0, rotation=0)
        axes.grid(False)
    bar = figure.colorbar(row[0].collections[0], ax=row, shrink=0.9, pad=0.02)
    bar.set_label("validation accuracy (%)")
    bar.outline.set_visible(False)
    return Picture(
        "heatmaps",
        "Accuracy over gamma × threshold",
        "Validation accuracy after the last epoch, mean over seeds, on one colour scale; empty "
        "where a record is missing.",
        "Grids of coloured cells, gamma down and threshold across, one grid for each of: "
        f"{'; '.join(OPTIMIZERS[key] for key in optimizers)}. Validation accuracy goes from "
        f"{low:.1f} % to {high:.1f} %.",
        figure,
    )


def robustness_picture(records: Records) -> Picture | None:
    """Every setting of the grid, and the share of them within a distance of the best."""
    grid = _grid(records).dropna(subset=["mean"])
    if grid.empty:
        return None
    figure, [(left, right)] = panels(1, 2, 3.3)
    for place, (optimizer, of_one) in enumerate(grid.groupby("optimizer", sort=False)):
        label, colour = OPTIMIZERS[optimizer], COLOURS[optimizer]
        values = np.sort(of_one["mean"])[::-1]
        below = values[0] - values
        left.scatter(
            values, np.full(len(values), -place), s=60, color=colour, alpha=0.5, linewidth=0
        )
        left.plot([np.median(values)] * 2, [-place - 0.25, -place + 0.25], color="#222222")
        right.step(
            [*below, grid["mean"].max() - grid["mean"].min()],
            [*(100 * (np.arange(len(values)) + 1) / len(values)), 100],
            where="post", color=colour, label=label,
        )  # fmt: skip
    optimizers = list(grid["optimizer"].unique())
    left.set_yticks(
        [-place for place in range(len(optimizers))],
        [OPTIMIZERS[key].replace(", ", ",\n") for key in optimizers],
    )
    left.set(xlabel="validation accuracy (%)", ylim=(-len(optimizers) + 0.4, 0.6))
    left.set_title("each setting; bar: median")
    right.axvline(WITHIN, color="#999999", linestyle=":", linewidth=1.2)
    right.set(xlabel="points below the optimizer's best", ylabel="share of settings (%)")
    right.set(ylim=(0, 103), xlim=(0, None))
    right.set_title("settings within a distance of the best")
    legend_below(figure)
    return Picture(
        "robustness",
        "How much the setting matters",
        "The settings of the gamma × threshold grids. Left: accuracy of each setting. Right: share "
        "of an optimizer's settings within a distance of its best one; a curve that rises sooner "
        f"means that the choice matters less; dotted: {WITHIN:g} points.",
        "Left, a row of dots for each optimizer: the accuracies of its settings. Right, a rising "
        "line of steps for each: the share of its settings that are near its best one.",
        figure,
    )


def _numeric(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(**runs[[*HYPERPARAMETERS]].map(schedule_start).apply(pd.to_numeric))


def _along_axes(records: Records) -> pd.DataFrame:
    runs = records.runs[records.runs["axis"].notna()]
    runs = _numeric(runs).assign(name=runs["arm"])
    return over_seeds(runs, ["name", "setting", "optimizer", *HYPERPARAMETERS], records.accuracy)


def _grid(records: Records) -> pd.DataFrame:
    runs = _numeric(records.runs[records.runs["axis"].isna()])
    return over_seeds(runs, ["optimizer", *HYPERPARAMETERS], records.accuracy)


def _robustness(records: Records) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "optimizer": optimizer,
            **robustness(of_one["mean"]),
            "metric": records.accuracy,
            "runs": joined(of_one["runs"]),
        }
        for optimizer, of_one in _grid(records).groupby("optimizer", sort=False)
        if of_one["mean"].notna().any()
    )


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
