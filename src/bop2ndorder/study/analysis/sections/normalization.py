"""Section 5.1.1: batch or layer normalization, biased or bias-corrected updates."""

from dataclasses import replace

import pandas as pd

from ..exhibits import Exhibits, Picture, Table, accuracy_cell
from ..names import OPTIMIZERS
from ..records import Records
from ..statistics import over_seeds
from ..style import legend_below, panels
from .curves import LINE, describe_curve, draw_curves, history_of, line_styles
from .effects import apart, contrast_of, model_of

NORMS = {"batch": "batch normalization", "layer": "layer normalization"}


def exhibits(records: Records) -> Exhibits:
    return [convergence(records), accuracy_table(records)]


def headline(records: Records) -> dict:
    name = records.accuracy.removesuffix("_percent")
    return {
        f"{row.norm}_{row.optimizer}": {name: row.mean, "std": row.std, "seeds": row.n}
        for row in _accuracy(records).itertuples()
    }


def finding(records: Records) -> list[str]:
    runs = records.runs
    labelled = replace(records, runs=runs.assign(arm=runs["norm"] + "/" + runs["optimizer"]))
    model, said = model_of(labelled), []
    for norm in dict.fromkeys(runs["norm"]):
        found = contrast_of(model, {f"{norm}/biased": 1.0, f"{norm}/corrected": -1.0})
        if text := apart(found, "biased", "corrected"):
            said.append(f"with {NORMS[norm]} {text}")
    text = "; ".join(said)
    return [f"{text[:1].upper()}{text[1:]}."] if text else []


def accuracy_table(records: Records) -> Table:
    """Norm down, optimizer across."""
    accuracy = _accuracy(records)
    cells = accuracy.assign(
        optimizer=accuracy["optimizer"].map(OPTIMIZERS),
        norm=accuracy["norm"].map(NORMS),
        cell=[accuracy_cell(row) for row in accuracy.itertuples()],
    )
    shown = cells.set_index(["norm", "optimizer"])["cell"].unstack(sort=False)
    return Table(
        "table",
        "Normalization and bias correction",
        f"{records.measured.capitalize()} in percent after the last epoch, mean and standard "
        "deviation over seeds.",
        accuracy,
        shown.fillna("–").rename_axis(columns=None).reset_index(names="normalization"),
    )


def convergence(records: Records) -> Picture | None:
    """One panel a norm, one line an optimizer."""
    runs = records.runs.assign(label=records.runs["optimizer"].map(OPTIMIZERS))
    colours, dashes = line_styles(runs)
    history = history_of(records, runs, ["norm", "label"])
    if history.empty:
        return None
    norms = list(dict.fromkeys(runs["norm"]))
    figure, [row] = panels(1, len(norms), 3.6, sharey=True)
    for axes, norm in zip(row, norms, strict=True):
        of_norm = history[history["norm"] == norm]
        draw_curves(axes, of_norm, records.curve, colours, dashes)
        axes.set_title(NORMS[norm])
    legend_below(figure)
    return Picture(
        "convergence",
        "Convergence with batch and layer normalization",
        f"{describe_curve(records)} {LINE}",
        f"{len(norms)} line charts of accuracy over the training images seen: "
        f"{', '.join(NORMS[norm] for norm in norms)}; one line for each of: {', '.join(colours)}.",
        figure,
    )


def _accuracy(records: Records) -> pd.DataFrame:
    return over_seeds(records.runs, ["norm", "optimizer"], records.accuracy)
