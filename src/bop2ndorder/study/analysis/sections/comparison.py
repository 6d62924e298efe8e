"""Sections 5.2 and 5.3, and any other experiment: settings against each other."""

from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from ..exhibits import Exhibits, Picture, Table, interval, mean_cell
from ..names import NETWORKS, OPTIMIZERS, SOURCES, schedule_text, slug, with_labels
from ..published import FULL_SCALE, published_top1
from ..records import ACCURACY, HYPERPARAMETERS, SPLITS, Records
from ..statistics import Model, over_seeds
from ..style import panels
from .costs import cost_table
from .curves import line_styles
from .effects import apart, model_of, single, spoken
from .learning import convergence, flip_rates
from .reaching import images_table, sooner

BIASED, BOP = OPTIMIZERS["biased"], OPTIMIZERS["bop"]
CORRECTIONS = OPTIMIZERS["corrected"], OPTIMIZERS["adam"]
KEYS = ["network", "label", "optimizer", "arm", "setting", "source"]


def exhibits(records: Records) -> Exhibits:
    return [
        accuracy_picture(records),
        final_table(records),
        convergence(records),
        images_table(records),
        flip_rates(records),
        cost_table(records),
    ]


def headline(records: Records) -> dict:
    """network -> setting -> accuracy; the network is left out where there is but one."""
    name = records.accuracy.removesuffix("_percent")
    found: dict = {}
    for row in final(records).itertuples():
        numbers = {name: row.mean, "std": row.std, "seeds": row.n}
        found.setdefault(row.network, {})[slug(row.label)] = numbers
    return found if len(found) > 1 else next(iter(found.values()))


def finding(records: Records) -> list[str]:
    """Of each network biased against Bop, then its corrections against biased.

    Where a network has not both biased and Bop, which setting is the best.
    """
    runs = with_labels(records.runs)
    runs = runs.assign(cell=[*zip(runs["network"], runs["label"], strict=True)])
    model = model_of(replace(records, runs=runs), "cell")  # one, with one variance, for all
    networks, said = list(dict.fromkeys(runs["network"])), []
    for network in networks if model else ():
        where = f"with {NETWORKS[network]}, " if len(networks) > 1 else ""
        texts = _finding(records, runs[runs["network"] == network], model)
        said.append([f"{where}{text}." for text in texts])
    paragraphs = zip_longest(*said, fillvalue="")
    return [
        " ".join(f"{text[:1].upper()}{text[1:]}" for text in paragraph if text)
        for paragraph in paragraphs
    ]


def _finding(records: Records, runs: pd.DataFrame, model: Model) -> list[str]:
    """What is to be said of one network's runs: of Bop and biased, then of the corrections."""
    cells = {label: (network, label) for network, label in runs["cell"]}
    means = {name: model.means[cell] for name, cell in cells.items() if cell in model.means}
    if len(means) < 2:
        return []
    if not means.keys() >= {BIASED, BOP}:
        best = max(means, key=means.__getitem__)
        return [f"{spoken(best)} is the most accurate of {len(means)}"]
    text = _apart(model, cells, BIASED, BOP)
    text = f"in {records.measured} after the last epoch {text}"
    if records.curve == "val_accuracy":  # how soon a run knows its own images by heart says little
        pair = runs[runs["label"].isin([BIASED, BOP]) & ~runs["missing"].astype(bool)]
        pace = sooner(records, pair, BIASED, BOP)
        text = f"{text}; {pace}" if pace else text
    corrections = [_apart(model, cells, name, BIASED) for name in CORRECTIONS if name in means]
    return [text, "; ".join(corrections)] if corrections else [text]


def _apart(model: Model, cells: dict[str, tuple], of: str, against: str) -> str:
    """A difference in words; without an interval where one side has one seed."""
    weights = {cells[of]: 1.0, cells[against]: -1.0}
    found = model.contrast(weights)
    return apart(replace(found, se=np.nan) if single(model, weights) else found, of, against)


def final(records: Records) -> pd.DataFrame:
    """One row a setting.

    Returns:
        network, label, optimizer, arm, setting, source, those of `over_seeds`, top5, train_top1,
        flip_rate (means over seeds, of the last epoch) and published_top1 (empty on other images).
    """
    runs = with_labels(records.runs)
    table = over_seeds(runs, KEYS, records.accuracy)
    means = runs.groupby(KEYS, sort=False)[
        ["test_top5_percent", "train_accuracy_percent", "flip_rate"]
    ].mean()
    means.columns = ["top5", "train_top1", "flip_rate"]
    published = [
        published_top1(records.experiment, *known)
        for known in table[["source", "network", "optimizer"]].values
    ]
    return table.merge(means.reset_index(), on=KEYS).assign(published_top1=published)


def final_table(records: Records) -> Table:
    """Hyperparameters and accuracy, with the published number on the same images beside ours."""
    table = final(records)
    settings = records.runs.drop_duplicates("setting").set_index("setting")
    shown = settings[[*HYPERPARAMETERS]].map(schedule_text)
    columns = {
        "network": table["network"].map(NETWORKS),
        "optimizer": table["label"],
        **{name: table["setting"].map(shown[name]) for name in shown},
        ACCURACY[records.accuracy]: [mean_cell(row.mean, row.std, 2) for row in table.itertuples()],
        "95 % interval": [interval(row.low, row.high) for row in table.itertuples()],
        "seeds": [
            str(row.n) if row.n == row.planned else f"{row.n} of {row.planned}"
            for row in table.itertuples()
        ],
    }
    note = ""
    if _bears_comparison(records, table):
        note = f" Published: single runs on {SOURCES[records.experiment]}."
        columns["published (%)"] = table["published_top1"].map(mean_cell)
    if records.experiment == "imagenet":
        columns["test top-5 (%)"] = table["top5"].map(mean_cell)
    columns["training accuracy (%)"] = table["train_top1"].map(mean_cell)
    if table["network"].nunique() == 1:
        del columns["network"]
    return Table(
        "table",
        "Final comparison",
        f"Accuracy on the {SPLITS[records.accuracy]} images after the last epoch, mean and "
        "standard deviation over seeds, and the 95 % interval of the mean (Student's t)."
        f"{note}",
        table.drop(columns=["setting", "source"]),
        pd.DataFrame(columns),
    )


def accuracy_picture(records: Records) -> Picture | None:
    """Rows: settings. Left: each seed and the mean. Right, on its own axis: what is published."""
    table, runs = final(records), with_labels(records.runs)
    if table["mean"].isna().all():
        return None
    networks = list(table["network"].unique())
    has_published = _bears_comparison(records, table)
    colours, _ = line_styles(runs)
    counts = [int((table["network"] == name).sum()) for name in networks]
    figure, grid = panels(
        len(networks), 2 if has_published else 1, 0.42 * sum(counts) + 0.55 * len(counts) + 0.6,
        sharex="col", sharey="row",
        gridspec_kw={
            "height_ratios": [count + 0.8 for count in counts],
            "width_ratios": [3, 1] if has_published else [1],
        },
    )  # fmt: skip
    for network, row in zip(networks, grid, strict=True):
        here = table[table["network"] == network].reset_index()
        labels = list(here["label"])
        for place, line in enumerate(here.itertuples()):
            colour = colours[line.label]
            seeds = runs.loc[runs["setting"] == line.setting, records.accuracy]
            row[0].scatter(
                seeds, np.full(len(seeds), place), s=32, color=colour, alpha=0.4, linewidth=0
            )
            row[0].plot([line.mean] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=3)
            if line.n > 2:  # the interval of two would cover all
                row[0].plot([line.low, line.high], [place] * 2, color=colour, linewidth=1.2)
            if has_published:
                row[1].plot(line.published_top1, place, "D", color=colour, markersize=7,
                            fillstyle="none", markeredgewidth=1.8)  # fmt: skip
        row[0].set_yticks(range(len(labels)), labels)
        row[0].set_ylim(len(labels) - 0.4, -0.6)
        this_study = has_published and len(networks) == 1
        row[0].set_title("this study" if this_study else NETWORKS[network], loc="left")
    grid[-1][0].set_xlabel(ACCURACY[records.accuracy])
    if has_published:
        grid[0][1].set_title("published", loc="left")
        grid[-1][1].set_xlabel(f"{SOURCES[records.experiment]} (%)")
        for row in grid:
            row[1].tick_params(axis="y", length=0)
            row[1].margins(x=0.25)
            row[1].xaxis.set_major_locator(MaxNLocator(3))
    right = (
        f" Right, on an axis of its own: the published number on {SOURCES[records.experiment]}."
        if has_published
        else ""
    )
    return Picture(
        "accuracy",
        "Final accuracy",
        f"Accuracy on the {SPLITS[records.accuracy]} images after the last epoch; dots: seeds; "
        f"bar: their mean; line: its 95 % interval, where there are more than two seeds.{right}",
        "Rows of dots, a row for each optimizer: "
        + "; ".join(f"{row.label} {mean_cell(row.mean)} %" for row in table.itertuples())
        + ".",
        figure,
    )


def _bears_comparison(records: Records, table: pd.DataFrame) -> bool:
    """Whether the published numbers may stand beside ours: at full scale, on the same images."""
    return records.scale == FULL_SCALE and table["published_top1"].notna().any()
