"""Beyond the paper: what of the sign rule less Bop is the rule, and what the schedules.

With the schedules of Section 5.2. Bop2ndOrder as published there is not trained; how nearly it is
that rule, the experiment `mechanism` measures.
"""

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from ..exhibits import Exhibits, Picture, Table, interval, mean_cell, signed
from ..names import COLOURS, OPTIMIZERS, schedule_text, slug
from ..records import ACCURACY, HYPERPARAMETERS, Records
from ..statistics import Model, difference, over_seeds
from ..style import panels
from .effects import (
    apart,
    contrast_of,
    effect_cell,
    effect_row,
    model_of,
    seeds_for,
    spoken,
    with_mean_curve,
)

RULES, GAMMAS = ("sign", "bop", "biased"), ("exponential", "polynomial")
# Half-widths, in points, that intervals should not exceed.
MAIN, STEP = 0.7, 0.9
BOP, SIGN = "bop_published", "sign_polynomial"
# Each path leads from Bop as published to the sign rule with the schedules of Section 5.2.
FIRST = {
    "the learning rate": (BOP, "bop_exponential"),
    "the rule at Bop's schedule": ("bop_exponential", "sign_exponential"),
    "gamma's schedule under the sign rule": ("sign_exponential", SIGN),
}
SECOND = {
    "the learning rate": (BOP, "bop_exponential"),
    "gamma's schedule under Bop's rule": ("bop_exponential", "bop_polynomial"),
    "the rule at 5.2's schedule": ("bop_polynomial", SIGN),
}
PATHS = {"first the rule": FIRST, "first the schedule": SECOND}
NOT_TRAINED = (
    "No arm of this experiment is Bop2ndOrder as published in 5.2; how nearly that is the sign "
    "rule, the experiment on the mechanism counts."
)
EXPLAINED = (
    "in points, of one model with arms and seeds and one residual variance; in brackets the 95 % "
    "interval. n: seeds of the arm that has the fewest. Last, where the half-width exceeds "
    f"{MAIN:g} (main effects) or {STEP:g} points (steps): the seeds an arm that would narrow it to "
    "that."
)


def exhibits(records: Records) -> Exhibits:
    return [
        path_picture(records), arms_table(records), effects_table(records), pace_table(records)
    ]  # fmt: skip


def headline(records: Records) -> dict:
    """Points of each main effect, and of each step from Bop to the sign rule."""
    rows = effects(records)
    return {
        slug(part): {row.key: row.estimate for row in of_part.itertuples()}
        for part, of_part in rows.groupby("part", sort=False)
    }


def finding(records: Records) -> list[str]:
    model = model_of(records)
    whole = contrast_of(model, _step(BOP, SIGN))
    said = apart(whole, "the sign rule with 5.2's schedules", "Bop as published")
    if not said:
        return []
    counts = sorted({min(model.n.values()), max(model.n.values())})
    seeds = f"{' to '.join(map(str, counts))} seed{'s' * (counts[-1] > 1)} an arm"
    lead = [f"In {records.measured} after the last epoch, {seeds}, {said}."]
    if path := _by_steps(model):
        lead.append(f"Changed one at a time: {path}.")
    soon = model_of(with_mean_curve(records), metric=records.curve) if records.held_out else None
    if path := _by_steps(soon):
        lead.append(
            "In the mean over all epochs, by which C1 is judged, and which was not planned here, "
            f"the same steps are {path}."
        )
    detail = [NOT_TRAINED]
    rule = contrast_of(model, difference(*_sides("biased", "bop")))
    names = [
        f"{OPTIMIZERS[name]}, threshold {_threshold(records, name)}" for name in ("biased", "bop")
    ]
    if said := apart(rule, *names):
        detail.append(f"On average over both schedules of gamma, {said}.")
    return [" ".join(lead), " ".join([*detail, *_by_schedule(soon)])]


def _by_schedule(soon: Model | None) -> list[str]:
    """In a sentence: biased less Bop at each schedule of gamma in the mean over all epochs."""
    names = {"exponential": "Bop's schedule", "polynomial": "5.2's"}
    rules = [
        (contrast_of(soon, _step(f"bop_{gamma}", f"biased_{gamma}")), name)
        for gamma, name in names.items()
    ]
    if any(pd.isna(found.estimate) for found, _ in rules):
        return []
    parts = " and ".join(
        f"{effect_cell(found.estimate, found.low, found.high)} at {name}" for found, name in rules
    )
    return [f"{spoken(OPTIMIZERS['biased'])} less Bop is {parts} in the mean over all epochs."]


def _by_steps(model: Model | None) -> str:
    """The steps of the first path in words; "" where an arm has no record."""
    steps = {name: contrast_of(model, _step(*arms)) for name, arms in FIRST.items()}
    if any(pd.isna(step.estimate) for step in steps.values()):
        return ""
    return ", ".join(
        f"{effect_cell(step.estimate, step.low, step.high)} from {name}"
        for name, step in steps.items()
    )


def effects(records: Records, metric: str = "") -> pd.DataFrame:
    """Main effects, and the steps of both paths from Bop to the sign rule.

    Args:
        records: of the experiment.
        metric: as `effects.model_of` takes it.

    Returns:
        part (main, and the names of `PATHS`), key, effect (words), those of
        `effects.effect_row`, wanted (the half-width that should not be exceeded) and seeds (that
        an arm would need for it; empty where it has them).
    """
    model, rows = model_of(records, metric=metric), []

    def add(part: str, key: str, effect: str, weights: dict[str, float], wanted: float) -> None:
        row = effect_row(records, model, weights, metric)
        seeds = seeds_for(row["half_width"], row["n"], wanted)
        named = {"part": part, "key": key, "effect": effect}
        rows.append({**named, **row, "wanted": wanted, "seeds": seeds})

    arms = {gamma: [f"{rule}_{gamma}" for rule in RULES] for gamma in GAMMAS}
    schedule = difference(arms["polynomial"], arms["exponential"])
    add("main", "schedule", "gamma's schedule: 5.2's less Bop's", schedule, MAIN)
    for of, against in (("sign", "bop"), ("sign", "biased"), ("biased", "bop")):
        text = f"rule: {OPTIMIZERS[of]} less {OPTIMIZERS[against]}"
        add("main", f"{of}_less_{against}", text, difference(*_sides(of, against)), MAIN)
    for name, path in PATHS.items():
        for place, (effect, step) in enumerate(path.items(), 1):
            add(name, f"step_{place}", effect, _step(*step), STEP)
        add(name, "sum", "sum: sign rule less Bop", _step(BOP, SIGN), STEP)
    return pd.DataFrame(rows).astype({"seeds": "Int64"})


def _threshold(records: Records, rule: str) -> str:
    """The threshold of a rule's arms, as params.yaml has it."""
    [arms] = _sides(rule)
    of_rule = records.runs[records.runs["arm"].isin(arms)]
    return " or ".join(dict.fromkeys(of_rule["threshold"].map(schedule_text)))


def _sides(*rules: str) -> list[list[str]]:
    """The arms of each rule."""
    return [[f"{rule}_{gamma}" for gamma in GAMMAS] for rule in rules]


def _step(before: str, after: str) -> dict[str, float]:
    return {after: 1.0, before: -1.0}


def arms_table(records: Records) -> Table:
    """Hyperparameters and accuracy of every arm."""
    runs = records.runs
    table = over_seeds(runs, ["arm"], records.accuracy)
    first = runs.drop_duplicates("arm").set_index("arm")[[*HYPERPARAMETERS, "lr"]]
    text = first.map(schedule_text)
    shown = {
        "arm": table["arm"].str.replace("_", ", "),
        **{name: table["arm"].map(text[name]) for name in HYPERPARAMETERS},
        "learning rate": table["arm"].map(text["lr"]),
        ACCURACY[records.accuracy]: [mean_cell(row.mean, row.std, 2) for row in table.itertuples()],
        "95 % interval": [interval(row.low, row.high) for row in table.itertuples()],
        "seeds": [f"{row.n} of {row.planned}" for row in table.itertuples()],
    }
    return Table(
        "table",
        "Three rules and two schedules of gamma",
        f"{records.measured.capitalize()} after the last epoch, mean and standard deviation over "
        "seeds. Arms: rule, schedule of gamma, exponential as published with Bop, polynomial as in "
        "Section 5.2.",
        table,
        pd.DataFrame(shown),
    )


def effects_table(records: Records) -> Table:
    """Main effects, and both ways to take the sign rule less Bop apart."""
    return Table(
        "effects",
        "What the rule does, and what the schedules",
        f"Differences of {records.measured} after the last epoch, {EXPLAINED}",
        *_effects_shown(effects(records)),
    )


def pace_table(records: Records) -> Table | None:
    """The same for how soon a run learns, where it has validation curves."""
    if not records.held_out:
        return None
    return Table(
        "pace",
        "The same for how soon: mean accuracy over the epochs",
        f"Differences of accuracy on validation images, mean over all epochs, {EXPLAINED} Explored "
        "when the records were there: the plan asks for the last epoch only.",
        *_effects_shown(effects(with_mean_curve(records), records.curve)),
    )


def _effects_shown(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = {"main": "main effect", **{name: f"path, {name}" for name in PATHS}}
    shown = {
        "part": rows["part"].map(names),
        "effect": rows["effect"],
        "points": [effect_cell(row.estimate, row.low, row.high) for row in rows.itertuples()],
        "half-width": ["–" if pd.isna(half) else f"{half:.1f}" for half in rows["half_width"]],
        "n": rows["n"].astype(str),
        f"seeds for {MAIN:g} or {STEP:g}": [
            "" if pd.isna(seeds) else str(seeds) for seeds in rows["seeds"]
        ],
    }
    return rows, pd.DataFrame(shown)


def path_picture(records: Records) -> Picture | None:
    """Two panels, a path each, from Bop as published to the sign rule with 5.2's schedules."""
    rows = effects(records)
    rows = rows[rows["part"] != "main"]
    if rows["estimate"].isna().any():
        return None
    figure, [row] = panels(1, len(PATHS), 3.6, sharex=True)
    said = []
    for axes, (name, _) in zip(row, PATHS.items(), strict=True):
        here = rows[rows["part"] == name]
        _draw_path(axes, here)
        axes.set_title(name)
        steps = here.iloc[:-1].itertuples()
        said.append(", ".join(f"{step.effect} {signed(step.estimate)}" for step in steps))
    return Picture(
        "path",
        "From Bop to the sign rule, one change at a time",
        f"Points of {records.measured} above Bop as published. Each bar begins where the one "
        "before ends; its line is the 95 % interval of that step alone. The last bar is the sum: "
        f"the sign rule with the schedules of Section 5.2. {NOT_TRAINED}",
        f"Bars in steps from 0 to {signed(rows['estimate'].iloc[-1])} points, by two paths. "
        f"{'. '.join(said)}.",
        figure,
    )


def _draw_path(axes: Axes, rows: pd.DataFrame) -> None:
    start = 0.0
    for place, row in enumerate(rows.itertuples()):
        begin = 0.0 if row.key == "sum" else start
        end = begin + row.estimate
        colour = COLOURS["latent"] if row.key == "sum" else COLOURS["biased"]
        axes.barh(place, row.estimate, left=begin, height=0.55, color=colour, alpha=0.75)
        if pd.notna(row.low):
            axes.plot([begin + row.low, begin + row.high], [place] * 2, color="#222222")
        axes.plot([end, end], [place, min(place + 1, len(rows) - 1)], color="#999999", linewidth=1)
        start = end
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_yticks(range(len(rows)), [fill(text, 18) for text in rows["effect"]])
    axes.set(xlabel="points above Bop", ylim=(len(rows) - 0.4, -0.6))
    axes.grid(False, axis="y")
