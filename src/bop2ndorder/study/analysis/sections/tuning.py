"""Grids of equal size for each optimizer, judged on the validation images."""

import itertools

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..exhibits import Exhibits, Picture, Table, accuracy_cell, mean_cell
from ..names import NETWORKS, OPTIMIZERS, schedule_text
from ..records import Records
from ..statistics import joined
from ..style import panels
from .choice import ranked

VARIED = ("gamma", "sigma", "threshold", "lr", "batch_size")
NAMES = {name: name for name in VARIED} | {"lr": "learning rate", "batch_size": "batch size"}
ACROSS = 3  # panels at most, in rows of equal length


def exhibits(records: Records) -> Exhibits:
    return [choice_table(records), heat_maps(records), accuracy_table(records)]


def headline(records: Records) -> dict:
    """Per arm: the best setting's accuracy, how far ahead it is, and the size of the grid."""
    return {
        row.arm: {
            "best_val_top1": row.mean,
            "ahead_points": row.mean - row.runner_up,
            "settings": row.settings,
        }
        for row in best(records).itertuples()
    }


def best(records: Records) -> pd.DataFrame:
    """One row an arm: its best setting (see `settings`), and how it stands in its grid.

    Returns:
        besides those of `settings`: runner_up (accuracy of the second best), settings (how many
        the grid has), and grid_runs (their ids).
    """
    rows = []
    for _, grid in settings(records).groupby("arm", sort=False):
        runner_up = grid["mean"].iloc[1] if len(grid) > 1 else np.nan
        runs = {"grid_runs": joined(grid["runs"].replace("", np.nan))}
        rows.append({**grid.iloc[0], "runner_up": runner_up, "settings": len(grid), **runs})
    return pd.DataFrame(rows)


def settings(records: Records) -> pd.DataFrame:
    """The settings of every grid, the best of each first.

    Returns:
        arm, network, optimizer, VARIED (as text), and those of `over_seeds`.
    """
    keys = ["arm", "setting"]
    runs = records.runs.drop_duplicates(keys)[[*keys, "network", "optimizer", *VARIED]]
    runs = runs.assign(**runs[[*VARIED]].map(schedule_text))
    return runs.merge(ranked(records), how="right", on=keys).drop(columns="setting")


def choice_table(records: Records) -> Table:
    """The best setting of each arm's grid, and the accuracy of the next best."""
    table = best(records)
    return Table(
        "table",
        "The best setting of each grid",
        "By validation accuracy after the last epoch; the test images play no part. Next best: the "
        "second setting of the same grid.",
        table,
        _shown(table).assign(
            **{
                "next best (%)": table["runner_up"].map(mean_cell),
                "settings": table["settings"].astype(str),
            }
        ),
    )


def accuracy_table(records: Records) -> Table:
    """Every setting of every grid."""
    table = settings(records)
    return Table(
        "settings",
        "Every setting of the grids",
        "Validation accuracy after the last epoch, the best of each grid first.",
        table,
        _shown(table),
    )


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    columns = {NAMES[name]: table[name] for name in VARIED if (table[name] != "").any()}
    several = table["network"].nunique() > 1
    return pd.DataFrame(
        {
            **({"network": table["network"].map(NETWORKS)} if several else {}),
            "optimizer": table["optimizer"].map(OPTIMIZERS),
            **columns,
            "validation accuracy (%)": [accuracy_cell(row) for row in table.itertuples()],
        }
    )


def heat_maps(records: Records) -> Picture | None:
    """One panel an arm, on one colour scale; the best setting is framed."""
    table = settings(records)
    if table["mean"].isna().all():
        return None
    arms = list(dict.fromkeys(table["arm"]))
    limits = {"vmin": table["mean"].min(), "vmax": table["mean"].max()}
    rows = -(-len(arms) // ACROSS)
    figure, grid = panels(rows, -(-len(arms) // rows), 2.6 * rows + 0.2)
    places = [axes for row in grid for axes in row]
    for axes in places[len(arms) :]:
        axes.set_visible(False)
    for arm, axes in zip(arms, places, strict=False):
        of_arm = records.runs[records.runs["arm"] == arm]
        orders = {name: list(dict.fromkeys(of_arm[name].map(schedule_text))) for name in VARIED}
        of_grid = table[table["arm"] == arm]
        _draw_grid(axes, of_grid, orders, limits)
        network, optimizer = of_grid[["network", "optimizer"]].iloc[0]
        above = f"{NETWORKS[network]}\n" if table["network"].nunique() > 1 else ""
        axes.set_title(above + OPTIMIZERS[optimizer])
    bar = figure.colorbar(places[0].collections[0], ax=figure.axes, shrink=0.9, pad=0.02)
    bar.set_label("validation accuracy (%)")
    bar.outline.set_visible(False)
    return Picture(
        "heatmaps",
        "The grids",
        "Validation accuracy after the last epoch, mean over seeds, on one colour scale; framed: "
        "the best of each grid; empty where a record is missing.",
        f"{len(arms)} grids of coloured cells, one an arm; validation accuracy goes from "
        f"{limits['vmin']:.1f} % to {limits['vmax']:.1f} %.",
        figure,
    )


def _draw_grid(axes: Axes, table: pd.DataFrame, orders: dict[str, list], limits: dict) -> None:
    """What varies first goes down, the rest across."""
    down, *across = [name for name in VARIED if len(orders[name]) > 1] or [VARIED[0]]
    rest = [", ".join(row) for row in table[across].itertuples(index=False)]
    columns = [", ".join(row) for row in itertools.product(*(orders[name] for name in across))]
    cells = table.assign(rest=rest).pivot(index=down, columns="rest", values="mean")
    cells = cells.reindex(index=orders[down], columns=columns)
    sns.heatmap(
        cells, ax=axes, **limits, cmap="viridis", annot=True, fmt=".1f", annot_kws={"size": 9},
        linewidths=1.5, cbar=False,
    )  # fmt: skip
    best = table.iloc[0]
    corner = columns.index(rest[0]), orders[down].index(best[down])
    frame = {"fill": False, "edgecolor": "#D55E00", "linewidth": 2.5, "clip_on": False}
    axes.add_patch(Rectangle(corner, 1, 1, **frame))
    axes.set(
        ylabel=NAMES[down],
        xlabel=", ".join(NAMES[name] for name in across),
    )
    axes.tick_params(length=0, rotation=0)
    axes.grid(False)
