"""Sections 5.2 and 5.3, and any other experiment: settings against each other."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from .curves import LINE, describe_curve, draw_curves, draw_flip_rates, history_of, line_styles
from .exhibits import Exhibits, Picture, Table, by_name, spread
from .names import NETWORKS, label_settings, slug, text
from .published import DATA, published_top1
from .records import HYPERPARAMETERS, Records
from .statistics import over_seeds
from .style import WIDTH, legend_below, look, panels

KEYS = ["network", "label", "optimizer", "arm", "setting"]
FROM = {"test_top1_percent": "test", "val_accuracy_percent": "validation"}


def exhibits(records: Records) -> Exhibits:
    return by_name(
        accuracy_picture(records),
        final_table(records),
        convergence(records),
        flip_rates(records),
    )


def headline(records: Records) -> dict:
    """network -> setting -> accuracy; the network is left out where there is but one."""
    name = f"{FROM[records.accuracy].removesuffix('idation')}_top1"
    found: dict = {}
    for row in final(records).itertuples():
        numbers = {name: row.mean, "std": row.std, "seeds": row.n}
        found.setdefault(row.network, {})[slug(row.label)] = numbers
    return found if len(found) > 1 else next(iter(found.values()))


def final(records: Records) -> pd.DataFrame:
    """One row a setting.

    Returns:
        network, label, optimizer, arm, setting, mean, std, n, runs, top5, train_top1, flip_rate
        (means over seeds, of the last epoch) and published_top1.
    """
    runs = _labelled(records)
    table = over_seeds(runs, KEYS, records.accuracy)
    means = runs.groupby(KEYS, sort=False)[
        ["test_top5_percent", "train_accuracy_percent", "flip_rate"]
    ].mean()
    means.columns = ["top5", "train_top1", "flip_rate"]
    published = [
        published_top1(records.experiment, row.network, row.optimizer) for row in table.itertuples()
    ]
    return table.merge(means.reset_index(), on=KEYS).assign(published_top1=published)


def final_table(records: Records) -> Table:
    table = final(records)
    first = _labelled(records).drop_duplicates("setting").set_index("setting")
    columns = {
        "network": table["network"].map(NETWORKS),
        "optimizer": table["label"],
        **{
            name: table["setting"].map(first[name]).map(text)
            for name in HYPERPARAMETERS
        },
        f"{FROM[records.accuracy]} top-1 (%)": [
            spread(row.mean, row.std, 2) for row in table.itertuples()
        ],
        "seeds": table["n"].astype(str),
        "training top-1 (%)": table["train_top1"].map(_one_digit),
        "flip rate": table["flip_rate"].map(lambda x: "–" if pd.isna(x) else f"{x:.1e}"),
    }  # fmt: skip
    if records.accuracy == "test_top1_percent" and table["top5"].notna().any():
        columns["test top-5 (%)"] = table["top5"].map(_one_digit)
    note = ""
    if records.experiment in DATA:
        columns[f"published at full scale, {DATA[records.experiment]} (%)"] = table[
            "published_top1"
        ].map(_one_digit)
        note = (
            f"The published numbers are single runs at full scale on {DATA[records.experiment]}: "
            "they bear comparison with ours only at the paper scale. "
        )
    if table["network"].nunique() == 1:
        del columns["network"]
    return Table(
        "table",
        "Final comparison",
        f"Accuracy on the {FROM[records.accuracy]} images after the last epoch, mean and standard "
        f"deviation over seeds. {note}{records.basis()}",
        table.drop(columns="setting"),
        pd.DataFrame(columns),
    )


def accuracy_picture(records: Records) -> Picture | None:
    """Rows: settings. Left: each seed and the mean; right, on its own axis: the published number."""
    table, runs = final(records), _labelled(records)
    if table["mean"].isna().all():
        return None
    networks = list(table["network"].unique())
    has_published = table["published_top1"].notna().any()
    colours, _ = line_styles(runs)
    counts = [int((table["network"] == name).sum()) for name in networks]
    with look():
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
                if has_published:
                    row[1].plot(line.published_top1, place, "D", color=colour, markersize=7,
                                fillstyle="none", markeredgewidth=1.8)  # fmt: skip
            row[0].set_yticks(range(len(labels)), labels)
            row[0].set_ylim(len(labels) - 0.4, -0.6)
            title = NETWORKS[network] if len(networks) > 1 else "this study"
            row[0].set_title(title, loc="left")
        grid[-1][0].set_xlabel(f"{FROM[records.accuracy]} accuracy (%)")
        if has_published:
            grid[0][1].set_title("published", loc="left")
            grid[-1][1].set_xlabel(f"{DATA[records.experiment]}, full scale (%)")
            for row in grid:
                row[1].tick_params(axis="y", length=0)
                row[1].margins(x=0.25)
    right = (
        f" Right, on an axis of its own: the published number on {DATA[records.experiment]} at "
        "full scale."
        if has_published
        else ""
    )
    return Picture(
        "accuracy",
        "Final accuracy",
        f"Accuracy on the {FROM[records.accuracy]} images after the last epoch; dots: seeds, bar: "
        f"their mean.{right} {records.basis()}",
        figure,
    )


def convergence(records: Records) -> Picture | None:
    """Accuracy above, flip rate below, one column a network."""
    runs = _labelled(records)
    history = history_of(records, runs, ["network", "label"])
    if history.empty:
        return None
    networks = list(runs["network"].unique())
    colours, dashes = line_styles(runs)
    with look():
        if len(networks) == 1:
            figure, [pair] = panels(1, 2, 3.8)
            columns = [pair]
        else:
            figure, grid = panels(2, len(networks), 5.6, sharex="col", sharey="row")
            columns = list(zip(*grid, strict=True))
        for network, (above, below) in zip(networks, columns, strict=True):
            here = history[history["network"] == network]
            draw_curves(above, here, records.curve, colours, dashes)
            draw_flip_rates(below, here, "flip_rate", colours, dashes)
            if len(networks) > 1:
                above.set_title(NETWORKS[network])
                above.set_xlabel("")
        legend_below(figure, columns=3)
    return Picture(
        "convergence",
        "Convergence and flip rates",
        f"{describe_curve(records)} Flip rate: flips per binary weight and step, mean over the "
        f"epoch. {LINE} {records.basis()}",
        figure,
    )


def flip_rates(records: Records) -> Picture | None:
    """Flip rate of each binary layer: one panel a setting."""
    runs = _labelled(records)
    history = history_of(records, runs, ["network", "label"])
    if history.empty:
        return None
    settings = runs.loc[~runs["missing"], ["network", "label"]].drop_duplicates()
    networks = list(settings["network"].unique())
    across = 3 if len(networks) == 1 else int(settings.groupby("network").size().max())
    blocks = [
        (network, labels[at : at + across])
        for network in networks
        for labels in [list(settings.loc[settings["network"] == network, "label"])]
        for at in range(0, len(labels), across)
    ]
    with look():
        figure, grid = panels(
            len(blocks), across, 2.1 * len(blocks) + 0.7, sharey=True, sharex="row"
        )
        for (network, labels), row in zip(blocks, grid, strict=True):
            of_network = history[history["network"] == network]
            for axes in row[len(labels) :]:
                axes.set_visible(False)
            for label, axes in zip(labels, row, strict=False):
                _draw_layers(axes, of_network[of_network["label"] == label])
                title = f"{NETWORKS[network]}\n{label}" if len(networks) > 1 else label
                axes.set_title(title, fontsize=9.5)
        for row in grid:
            row[0].set_ylabel("flips per weight and step")
        legend_below(figure, columns=int(WIDTH))
    return Picture(
        "flip_rates",
        "Flip rate of each layer",
        "Flips per binary weight and step, mean over the epoch and over seeds; binary layers are "
        f"numbered from the input (dark) to the output (light). {records.basis()}",
        figure,
    )


def _draw_layers(axes: Axes, history: pd.DataFrame) -> None:
    columns = [
        name
        for name in history.columns
        if name.startswith("flip_rate/") and history[name].notna().any()
    ]
    shades = sns.color_palette("viridis", len(columns) + 1)
    mean = history.groupby("epoch")[["images_seen", *columns]].mean()
    for number, (name, shade) in enumerate(zip(columns, shades, strict=False), start=1):
        flips = mean[name].where(mean[name] > 0)
        axes.plot(mean["images_seen"], flips, color=shade, linewidth=1.3, label=f"layer {number}")
    axes.set(yscale="log")


def _labelled(records: Records) -> pd.DataFrame:
    return records.runs.assign(label=label_settings(records.runs))


def _one_digit(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.1f}"
