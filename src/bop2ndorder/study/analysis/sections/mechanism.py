"""Beyond the paper: what each published rule does to the weights."""

import json
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm

from ...config.settings import Settings
from ..exhibits import Exhibits, Picture, Table, listed
from ..names import NETWORKS, number_text, schedule_text
from ..records import HYPERPARAMETERS, Records
from ..statistics import joined
from ..style import panels

EVERY = 10  # steps between two audits, as in run/audit.py, which would load torch
SIGN = "disagree/sign"
AUDITED = ("due", "off", "threshold_steps", SIGN)
# Percent of due weights that were held in the runs that led to this experiment, on CIFAR-10: by arm
# what was noted, as it was noted, and the bounds that this leaves.
NOTED = {
    "biased_5_2": ("≤ 0.03", 0, 0.035),
    "constant_5_2": ("≤ 0.03", 0, 0.035),
    "biased_5_2_last": ("0.15", 0.145, 0.155),
    "biased_5_1": ("95 to 98", 94.5, 98.5),
    "constant_5_1": ("0.00", 0, 0.005),
    "bop": ("88 to 90", 87.5, 90.5),
    "bop_fast": ("32", 31.5, 32.5),
    "wide_bop": ("99.9", 99.85, 99.95),
}
NAMES = {
    "biased_5_2": "5.2, biased",
    "constant_5_2": "5.2, corrected",
    "adam_5_2": "5.2, Adam's correction",
    "biased_5_2_last": "5.2's last values, biased",
    "biased_5_1": "5.1, biased",
    "constant_5_1": "5.1, corrected",
    "bop": "Bop",
    "bop_fast": "Bop, faster",
}
# Shares of due weights, in percent, below which a threshold does nothing, or a part.
LITTLE, PART = 1, 50
# Gamma times steps below which m is still the sum of all gradients, times gamma.
SUM = 0.1
SIGNS = "the sign"  # what the words for a rule that has no threshold in effect begin with
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


def finding(records: Records) -> str:
    """Which rules are a threshold, and which are none."""
    table = facts(records).dropna(subset="held")
    if table.empty:
        return ""
    signs, second = table["rule"].str.startswith(SIGNS), table["optimizer"] != "bop"
    said = [f"Counted in the first {table['steps'].max():.0f} steps on {records.images}."]
    for rows, more in ((table[signs & second], AS_BOP), (table[signs & ~second], "")):
        if len(rows):
            said.append(
                f"With {len(rows)} of {len(table)} settings ({_list(rows['name'])}) the threshold "
                f"holds back at most {_percent(rows['held'].max())} % of the weights that would "
                f"flip without it: they flip by the sign of m alone{more}."
            )
    binding = table["held"] >= LITTLE
    if len(rows := table[~signs & binding]):
        waits = listed([_number(wait) for wait in rows["wait"]])
        said.append(
            f"The threshold does hold back {_shares(rows, 'held')}. To be held back is to wait, "
            f"on average for {waits} steps."
        )
    if len(rows := table[~signs & ~binding]):
        said.append(
            "Little is held back, but of what the rule or the sign rule flips, one alone flips "
            f"{_shares(rows, 'disagree')}."
        )
    return " ".join(said)


def _shares(rows: pd.DataFrame, share: str) -> str:
    each = zip(rows[share].map(_percent), rows["name"], strict=True)
    return "; ".join(f"{value} % with {name}" for value, name in each)


def facts(records: Records) -> pd.DataFrame:
    """One row an arm, over the steps that were audited and all seeds.

    Returns:
        arm, name, optimizer, network (with its width), width, gamma, sigma, threshold (as text),
        gamma_total (gamma summed over the steps of the whole schedule), steps (that were made),
        held, off, disagree (percent), wait (steps), threshold_steps, noted (percent held before,
        as text), agrees (yes, no, or empty where nothing was noted), rule (in words), runs (ids).
    """
    rows = []
    for setting, runs in records.runs.groupby("setting", sort=False):
        history = records.history[records.history["setting"] == setting]
        settings = Settings.model_validate({**json.loads(setting), "seed": 0})
        arm, width = runs["arm"].iloc[0], settings.network.width
        of_images = settings.data.source == "cifar10"
        noted, low, high = NOTED.get(arm, ("", 0, 0)) if of_images else ("", 0, 0)
        found = _audited(history)
        if not _same_gamma(settings):  # then it is gamma that they differ in, too
            found["disagree"] = np.nan
        agrees = "yes" if low <= found["held"] <= high else "no"
        total = _gamma_total(settings)
        rows.append(
            {
                "arm": arm,
                "name": _name(arm, width),
                "optimizer": runs["optimizer"].iloc[0],
                "network": f"{NETWORKS[settings.network.name]} {width:g}",
                "width": width,
                **{name: schedule_text(runs[name].iloc[0]) for name in HYPERPARAMETERS},
                "gamma_total": total,
                **found,
                "noted": noted,
                "agrees": agrees if noted and not pd.isna(found["held"]) else "",
                "rule": _rule(found["held"], found["disagree"], total),
                "runs": joined(runs.loc[~runs["missing"], "run"]),
            }
        )
    return pd.DataFrame(rows)


def _audited(history: pd.DataFrame) -> dict[str, float]:
    """Ratios of sums over the epochs of runs of one setting; an epoch counts by its audits."""
    if history.empty or not {*AUDITED} - {SIGN} <= {*history.columns}:
        return dict.fromkeys(
            ("steps", "held", "off", "disagree", "wait", "threshold_steps"), np.nan
        )
    history = history.reindex(columns=[*history.columns, *({SIGN} - {*history.columns})])
    audits = history["step"] // EVERY
    begun = history.groupby("run")["step"].shift(fill_value=0) // EVERY
    count = (audits - begun).to_numpy()
    seen = {name: history[name].to_numpy(float) for name in AUDITED}
    due, off = (np.nansum(seen[name] * count) for name in ("due", "off"))
    steps = np.nansum(seen["threshold_steps"] * count)
    # By what is due, since that is what the sign rule flips.
    differing = np.nansum(seen[SIGN] * seen["due"] * count)
    some = due > 0
    return {
        "steps": history["step"].max(),
        "held": 100 * off / due if some else np.nan,
        "off": 100 * off / count.sum() if count.sum() else np.nan,
        "disagree": 100 * differing / due if some and not np.isnan(seen[SIGN]).all() else np.nan,
        "wait": off / (due - off) if due > off else np.nan,
        "threshold_steps": steps / count.sum() if count.sum() else np.nan,
    }


def _same_gamma(settings: Settings) -> bool:
    """Whether the run's sign rule has its own gamma."""
    sign = settings.shadows.get("sign")
    return sign is not None and sign.gamma == getattr(settings.optimizer, "gamma", None)


def _gamma_total(settings: Settings) -> float:
    """Gamma summed over all steps of the schedule, whether they were made or not."""
    gamma = settings.model_dump()["optimizer"].get("gamma")
    if gamma is None:
        return np.nan
    epochs = settings.epochs
    steps = epochs * (settings.data.images(settings.train_on) // settings.batch_size)
    # By the mean over 1,000 places, in epochs; there may be half a million steps.
    places = epochs * (np.arange(1000) + 0.5) / 1000
    if not isinstance(gamma, dict):
        return steps * gamma
    if gamma["kind"] == "exponential":
        return steps * float(np.mean(gamma["start"] * gamma["rate"] ** (places // gamma["every"])))
    left = 1 - np.minimum(places / (gamma["until"] * epochs), 1)
    fall = gamma["start"] - gamma["end"]
    return steps * float(np.mean(gamma["end"] + fall * left ** gamma["power"]))


def _rule(held: float, disagree: float, gamma_total: float) -> str:
    """What a rule amounts to, by the larger of the two percentages."""
    share = np.nanmax([held, disagree]) if not pd.isna(held) else np.nan
    if pd.isna(share):
        return ""
    if share >= PART:
        return "a threshold"
    if share >= LITTLE:
        return "a threshold in part"
    return f"{SIGNS} of the sum of all gradients" if gamma_total < SUM else f"{SIGNS} of m"


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
        "wait (steps)": table["wait"].map(_number),
        "threshold (steps of m)": table["threshold_steps"].map(_number),
        "the rule is": table["rule"].replace("", "–"),
        "held as found before (%)": agreed,
    }
    return Table(
        "mechanism",
        "What the threshold does to the weights",
        f"Over every {EVERY}th step. Due: weights that have the sign of m. Held: the share of "
        "them that the threshold keeps. Off: the share of all weights that are due after the step. "
        "Wait: off by the flip rate. Threshold in steps of m: how many typical gradients in a row "
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
    table = facts(records).dropna(subset=["threshold_steps", "gamma_total", "off"])
    table = table[(table["threshold_steps"] > 0) & (table["gamma_total"] > 0)]
    if table.empty:
        return None
    figure, [[axes]] = panels(1, 1, 4.6)
    scale = PowerNorm(0.5, 0, max(50, table["off"].max()))
    widths = sorted(table["width"].unique())
    for marker, width in zip("osD^", widths, strict=False):
        here = table[table["width"] == width]
        points = axes.scatter(
            here["gamma_total"], here["threshold_steps"], c=here["off"], norm=scale, marker=marker,
            s=70, cmap="cividis", edgecolors="#333333", linewidths=0.8, zorder=3,
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
    figure.colorbar(points, ax=axes, label="off (% of all weights)")
    bound, free = (table[part] for part in (table["off"] >= 1, table["off"] < 1))
    return Picture(
        "plane",
        "Where a threshold does something",
        f"What was counted in the first {table['steps'].max():.0f} steps. Below the dashed line, "
        "one step of m, a single typical gradient passes the threshold; left of the dotted line m "
        "never forgets its first gradients. Colour: off, the share of all weights that are due "
        "after a step.",
        "A scatter chart of the threshold in steps of m over gamma summed over all steps, both "
        f"logarithmic. At least 1 % of the weights are off with {_list(bound['name']) or 'none'}; "
        f"fewer with {_list(free['name']) or 'none'}.",
        figure,
    )


def _name(arm: str, width: float) -> str:
    """For readers; with its width where the arm has one of its own."""
    plain = arm.removeprefix("wide_")
    name = NAMES.get(plain, plain.replace("_", " "))
    return name if plain == arm else f"{name}, width {width:g}"


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
