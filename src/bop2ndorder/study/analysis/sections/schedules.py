"""Section 5.1.4: what a schedule on one hyperparameter, or on all, changes."""

from dataclasses import replace

import pandas as pd
from matplotlib.lines import Line2D

from ..exhibits import Exhibits, Picture, Table, accuracy_cell, signed
from ..names import OPTIMIZERS, SCHEDULES, Names, coloured, schedule_kind, slug
from ..records import ACCURACY, HYPERPARAMETERS, Records
from ..statistics import difference, over_seeds
from ..style import legend_below, panels
from .curves import LINE, describe_curve, draw_curves, history_of
from .effects import apart, contrast_cell, contrast_of, model_of, paired

SCHEDULED = (*HYPERPARAMETERS, "lr")
TARGETS = Names(lr="learning rate")
# What is said beside polynomial schedules on all.
OTHERS = {
    "lr/polynomial": "the learning rate's alone changes it by",
    "all/exponential": "exponential ones on all change it by",
}


def exhibits(records: Records) -> Exhibits:
    return [effect_picture(records), accuracy_table(records), convergence(records)]


def headline(records: Records) -> dict:
    """Per optimizer: accuracy without schedules, and what each schedule adds, in points."""
    found: dict = {}
    name = records.accuracy.removesuffix("_percent")
    for row in effects(records).itertuples():
        of_one = found.setdefault(row.optimizer, {})
        if row.schedule == "none":
            of_one["none"] = {name: row.mean, "std": row.std, "seeds": row.n}
        else:
            of_one[f"{slug(row.target)}_{row.schedule}"] = {"effect_points": row.effect}
    return found


def finding(records: Records) -> list[str]:
    runs = _scheduled(records)
    # Runs of other seeds share no block with those without a schedule, and would hide the blocks.
    runs = runs[runs["seed"].isin(runs.loc[runs["target"] == "none", "seed"])]
    kinds = runs["optimizer"].str.cat([runs["target"], runs["schedule"]], "/")
    model = model_of(replace(records, runs=runs.assign(arm=kinds)))
    optimizers = list(dict.fromkeys(runs["optimizer"]))

    def less_none(kind: str) -> dict[str, float]:
        sides = [[f"{name}/{one}" for name in optimizers] for one in (kind, "none/none")]
        return difference(*sides)

    whole = contrast_of(model, less_none("all/polynomial"))
    said = apart(whole, "accuracy", "that without a schedule")
    if not said:
        return []
    text = f"With polynomial schedules on gamma, sigma, threshold and the learning rate {said}"
    for kind, words in OTHERS.items():
        if not pd.isna(contrast_of(model, less_none(kind)).estimate):
            text += f"; {words} {contrast_cell(model, less_none(kind))} points"
    return [f"{text}."]


def effects(records: Records) -> pd.DataFrame:
    """Accuracy of each schedule and its distance from the same optimizer without any.

    Returns:
        optimizer, target (what is scheduled: a hyperparameter, "all", or several joined by +),
        schedule (its kind; none, or several joined by +), those of `over_seeds`, effect
        (points, over the seeds that both have; empty where they share none), effect_low,
        effect_high (95 %; empty for one seed) and against_runs (ids of the runs without any that
        it is less than).
    """
    runs = _scheduled(records)
    without = {name: own for name, own in runs[runs["schedule"] == "none"].groupby("optimizer")}
    found = [
        paired(own, without.get(optimizer, own.iloc[:0]), records.accuracy)
        for (optimizer, *_), own in runs.groupby(KEYS, sort=False)
    ]
    return over_seeds(runs, KEYS, records.accuracy).assign(
        effect=[one["difference"] for one in found],
        effect_low=[one["low"] for one in found],
        effect_high=[one["high"] for one in found],
        against_runs=[one["against_runs"] for one in found],
    )


KEYS = ["optimizer", "target", "schedule"]


def accuracy_table(records: Records) -> Table:
    """Schedules down, optimizers across."""
    table = effects(records)
    cells = table.assign(
        cell=[
            accuracy_cell(row)
            + ("" if row.schedule == "none" or pd.isna(row.effect) else f" ({signed(row.effect)})")
            for row in table.itertuples()
        ],
        optimizer=table["optimizer"].map(OPTIMIZERS),
        target=table["target"].map(TARGETS),
    )
    shown = cells.set_index(["target", "schedule", "optimizer"])["cell"].unstack(sort=False)
    shown = shown.fillna("–").rename_axis(columns=None).reset_index()
    return Table(
        "table",
        "Accuracy with each schedule",
        f"{records.measured.capitalize()} in percent after the last epoch; in brackets the "
        "difference from the same optimizer without schedules, in points, over the seeds that "
        "both have.",
        table,
        shown.rename(columns={"target": "scheduled"}),
    )


def effect_picture(records: Records) -> Picture | None:
    """One panel an optimizer: rows are what is scheduled, dots how far accuracy moves."""
    table = effects(records)
    table = table[table["schedule"] != "none"].dropna(subset="effect")
    if table.empty:
        return None
    targets = list(dict.fromkeys(table["target"]))
    colours = coloured(SCHEDULES, table["schedule"])
    kinds = [name for name in colours if (table["schedule"] == name).any()]
    optimizers = list(dict.fromkeys(table["optimizer"]))
    figure, [row] = panels(1, len(optimizers), 0.55 * len(targets) + 1.3, sharex=True,
                           sharey=True)  # fmt: skip
    for axes, optimizer in zip(row, optimizers, strict=True):
        axes.axvline(0, color=SCHEDULES["none"], linewidth=1.2)
        for line in table[table["optimizer"] == optimizer].itertuples():
            y = targets.index(line.target) + 0.28 * (
                kinds.index(line.schedule) - (len(kinds) - 1) / 2
            )
            colour = colours[line.schedule]
            axes.plot([0, line.effect], [y, y], color=colour, linewidth=2.2, alpha=0.6)
            single = pd.isna(line.effect_low)
            axes.plot(
                line.effect, y, "o", color=colour, markersize=7, markeredgewidth=1.6,
                markerfacecolor="white" if single else colour,
            )  # fmt: skip
            axes.plot([line.effect_low, line.effect_high], [y, y], color=colour, linewidth=1)
        axes.set(title=OPTIMIZERS[optimizer], xlabel="change of accuracy (points)")
        axes.grid(False, axis="y")
    row[0].set_yticks(range(len(targets)), [TARGETS[name] for name in targets])
    row[0].set_ylim(len(targets) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=colours[name], marker="o", linewidth=2.2, label=name) for name in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return Picture(
        "effects",
        "Effect of each schedule",
        f"{records.measured.capitalize()} after the last epoch, as the difference from the same "
        "optimizer without schedules (the line at 0), over the seeds that both have. Rows: what is "
        "scheduled. Thin lines: intervals of 95 %; hollow: one seed alone, of which there is none.",
        f"Dots to the left or right of a line at 0, from {signed(table['effect'].min())} to "
        f"{signed(table['effect'].max())} points; one panel an optimizer, one row for each thing "
        "that is scheduled.",
        figure,
    )


def convergence(records: Records) -> Picture | None:
    """Rows: optimizers; columns: what is scheduled; in grey, no schedule."""
    runs = _scheduled(records)
    history = history_of(records, runs.assign(label=runs["schedule"]), [*KEYS, "label"])
    if history.empty:
        return None
    targets = [name for name in dict.fromkeys(runs["target"]) if name != "none"]
    optimizers = list(dict.fromkeys(runs["optimizer"]))
    colours = coloured(SCHEDULES, runs["schedule"])
    figure, grid = panels(
        len(optimizers), max(len(targets), 1), 2.1 * len(optimizers) + 0.9, sharex=True,
        sharey=True,
    )  # fmt: skip
    for optimizer, row in zip(optimizers, grid, strict=True):
        of_one = history[history["optimizer"] == optimizer]
        for target, axes in zip(targets or ["none"], row, strict=True):
            here = of_one[of_one["target"].isin([target, "none"])]
            draw_curves(axes, here, records.curve, colours, dict.fromkeys(colours, ""))
            axes.set(ylabel="", xlabel="")
            if row is grid[0]:
                axes.set_title(TARGETS[target])
        row[-1].annotate(
            OPTIMIZERS[optimizer], (1.04, 0.5), xycoords="axes fraction", rotation=-90,
            va="center", fontsize=9.5,
        )  # fmt: skip
    for row in grid:
        row[0].set_ylabel(ACCURACY[records.curve])
    # One label under the middle: constrained layout lets supxlabel run into the legend.
    grid[-1][len(grid[-1]) // 2].set_xlabel("training images seen")
    legend_below(figure)
    return Picture(
        "convergence",
        "Convergence with each schedule",
        f"Columns: what is scheduled; grey: nothing. {describe_curve(records)} {LINE}",
        "A grid of line charts of accuracy over the training images seen; each compares schedules "
        "of one hyperparameter with none.",
        figure,
    )


def _scheduled(records: Records) -> pd.DataFrame:
    """The runs with the columns target and schedule, read off their settings."""
    runs = records.runs
    kinds = runs[list(SCHEDULED)].map(schedule_kind)
    on = kinds.ne("none")
    # lr with a schedule of its own beside those of all hyperparameters still counts as "all".
    possible = runs[list(SCHEDULED)].notna().sum(axis=1)
    target = [
        "none" if not any(row) else "all" if sum(row) == n > 1 else
        "+".join(name for name, set_ in zip(SCHEDULED, row, strict=True) if set_)
        for row, n in zip(on.to_numpy(), possible, strict=True)
    ]  # fmt: skip
    schedule = [
        "+".join(dict.fromkeys(name for name in row if name != "none")) or "none"
        for row in kinds.to_numpy()
    ]
    return runs.assign(target=target, schedule=schedule)
