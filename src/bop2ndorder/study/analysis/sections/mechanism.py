"""Beyond the paper: what each published rule does to the weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from ..exhibits import Exhibits, Picture, Table
from ..names import number_text
from ..records import HYPERPARAMETERS, Records
from ..style import panels
from .audits import EVERY, LITTLE, PART, SIGNS, SUM, facts

AS_BOP = (
    ", as Bop does with a threshold of 0, and dividing by the root of the second moment does "
    "nothing"
)
SHARES = {"held": "held", "off": "off", "disagree": "against the sign rule"}


def exhibits(records: Records) -> Exhibits:
    return [plane(records), mechanism_table(records)]


def headline(records: Records) -> dict:
    """arm -> percent held and off, wait, threshold in steps of m."""
    columns = ["held", "off", "wait", "threshold_steps"]
    table = facts(records).dropna(subset="off")
    return {row["arm"]: row[columns].dropna().to_dict() for _, row in table.iterrows()}


def finding(records: Records) -> list[str]:
    """Which rules are a threshold, and which are none."""
    table = facts(records).dropna(subset="held")
    if table.empty:
        return []
    signs, second = table["rule"].str.startswith(SIGNS), table["optimizer"] != "bop"
    said, more = [f"Counted in the first {table['steps'].max():.0f} steps on {records.images}."], []
    for rows, how in ((table[signs & second], AS_BOP), (table[signs & ~second], "")):
        if len(rows):
            said.append(
                f"With {len(rows)} of {len(table)} settings ({_list(rows['name'])}) the threshold "
                f"holds back at most {_percent(rows['held'].max())} % of the weights that would "
                f"flip in a step without it: they flip by the sign of m alone{how}."
            )
    binding = table["held"] >= LITTLE
    if len(rows := table[~signs & binding]):
        said.append(
            f"With {len(rows)} of {len(table)} it holds back {_ends(rows, 'held', _percent, ' %')} "
            "of the weights that would flip in a step without it."
        )
        more.append(
            "A weight that is held back step after step counts in each: to every flip there are "
            f"{_ends(rows, 'wait', _number)} that are held back."
        )
    if len(rows := table[~signs & ~binding]):
        more.append(
            "Little is held back, but of what the rule or the sign rule flips, one alone flips "
            f"{_shares(rows, 'disagree')}."
        )
    return [" ".join(said), *([" ".join(more)] if more else [])]


def _ends(rows: pd.DataFrame, column: str, written: Callable[[float], str], unit: str = "") -> str:
    """The least and the most of a column, each with the setting that has it."""
    known = rows.dropna(subset=column).sort_values(column)  # none per flip where nothing flips
    ends = known.iloc[[0, -1] if len(known) > 1 else slice(0, 1)]
    return " to ".join(
        f"{written(value)}{unit} ({name})"
        for value, name in zip(ends[column], ends["name"], strict=True)
    )


def _shares(rows: pd.DataFrame, share: str) -> str:
    each = zip(rows[share].map(_percent), rows["name"], strict=True)
    return "; ".join(f"{value} % with {name}" for value, name in each)


def mechanism_table(records: Records) -> Table:
    table = facts(records)
    agreed = [
        f"{row.noted}: {row.agrees or 'no record'}" if row.noted else "–"
        for row in table.itertuples()
    ]
    shown = {
        "settings": table["name"],
        "network": table["network"],
        **{name: table[name].replace("", "–") for name in HYPERPARAMETERS},
        **{f"{what} (%)": table[name].map(_percent) for name, what in SHARES.items()},
        "flips (%)": table["flips"].map(_percent),
        "held per flip": table["wait"].map(_number),
        "threshold (steps of m)": table["threshold_steps"].map(_number),
        "the rule is": table["rule"].replace("", "–"),
        "held as found before (%)": agreed,
    }
    return Table(
        "mechanism",
        "What the threshold does to the weights",
        f"Over every {EVERY}th step. Due: weights that have the sign of m. Held: the share of "
        "them that the threshold keeps. Off: the share of all weights that are due after the step. "
        "Flips: the share of all weights that flip in it. Held per flip: off by flips. A weight "
        "counts in every step in which it is held back; it flips later, or m turns back before. "
        "Threshold in steps of m: how many typical gradients in a row "
        "move m from 0 to it. Against the sign rule: of the weights that the rule or, on the same "
        "gradients, the sign rule flips, those that one of the two alone does; at the same gamma "
        "these are the weights that are held. The rule is a threshold where held or that is at "
        f"least {PART} %, and the sign of m where both are below {LITTLE} %, which is the sign of "
        "the sum of all gradients where gamma, summed over the steps of the whole schedule, is "
        f"below {SUM:g}. Found before: in the runs that led to this experiment, on CIFAR-10, to "
        "the digits that were noted.",
        table,
        pd.DataFrame(shown),
    )


def plane(records: Records) -> Picture | None:
    table = facts(records).dropna(subset=["threshold_steps", "gamma_total", "held"])
    table = table[(table["threshold_steps"] > 0) & (table["gamma_total"] > 0)]
    if table.empty:
        return None
    figure, [[axes]] = panels(1, 1, 4.6)
    scale = Normalize(0, 100)
    widths = sorted(table["width"].unique())
    for marker, width in zip("osD^", widths, strict=False):
        here = table[table["width"] == width]
        points = axes.scatter(
            here["gamma_total"], here["threshold_steps"], c=here["held"], norm=scale, marker=marker,
            s=70, cmap="cividis", edgecolors="#333333", linewidths=0.8, zorder=3,
        )  # fmt: skip
        axes.scatter(
            [], [], marker=marker, s=70, color="white", edgecolors="#333333", linewidths=0.8,
            label=f"width {width:g}",
        )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="gamma, summed over the steps of the whole schedule",
        ylabel="threshold in steps of m",
    )
    axes.margins(x=0.35, y=0.12)
    for _, column in table.groupby("gamma_total"):
        left, before = False, 0.0
        for row in column.sort_values("threshold_steps").itertuples():
            # Close neighbours at the same gamma are named on alternating sides.
            left = row.threshold_steps < 3 * before and not left
            before = row.threshold_steps
            axes.annotate(
                row.name, (row.gamma_total, row.threshold_steps), (-8 if left else 8, 0),
                textcoords="offset points", va="center", ha="right" if left else "left", size=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=2,
            )  # fmt: skip
    axes.axhline(1, color="#777777", linestyle="--", linewidth=1, zorder=1)
    axes.axvline(1, color="#777777", linestyle=":", linewidth=1, zorder=1)
    if len(widths) > 1:
        axes.legend(loc="best")
    figure.colorbar(points, ax=axes, label="held (% of due weights)")
    bound, free = (table[part] for part in (table["held"] >= PART, table["held"] < PART))
    return Picture(
        "plane",
        "Where a threshold does something",
        f"Up and colour: what was counted in the first {table['steps'].max():.0f} steps; across: "
        "of the whole schedule, as it stands in the settings. Below the dashed line, "
        "one step of m, a single typical gradient passes the threshold; left of the dotted line m "
        "never forgets its first gradients. Colour: held, the share of the weights with the sign "
        "of m that the threshold keeps in a step.",
        "A scatter chart of the threshold in steps of m over gamma summed over all steps, both "
        f"logarithmic. At least {PART} % of the due weights are held with "
        f"{_list(bound['name']) or 'none'}; fewer with {_list(free['name']) or 'none'}.",
        figure,
    )


def _list(names: Any) -> str:
    """Names in a sentence; they hold commas."""
    return "; ".join(dict.fromkeys(names))


def _percent(value: float) -> str:
    """Two digits of what is held or of what is not, whichever is less: 0.031, 31, 99.94."""
    if pd.isna(value):
        return "–"
    small = min(value, 100 - value)
    if small < 1e-4:
        return f"{value:.0f}" if small == 0 else number_text(float(f"{value:.1e}"))
    return f"{value:.{max(0, 1 - int(np.floor(np.log10(small))))}f}"


def _number(value: float) -> str:
    """Two digits, or all before the point: 0.59, 11, 119."""
    if pd.isna(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else number_text(float(f"{value:.2g}"))
