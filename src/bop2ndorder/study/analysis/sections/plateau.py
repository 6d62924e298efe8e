"""Beyond the paper: whether training had come to its end, on images held out of it."""

import numpy as np
import pandas as pd

from ..exhibits import Exhibits, Table, signed, signed_interval
from ..names import slug, with_labels
from ..records import Records
from ..statistics import joined, mean_interval
from .learning import convergence

FIFTH = 0.2


def exhibits(records: Records) -> Exhibits:
    return [rise_table(records), convergence(records)]


def headline(records: Records) -> dict:
    """Per setting: the accuracy that it came to rest at, and how far it still rose."""
    return {
        slug(row.label): {"last_fifth_top1": row.last, "rise_points": row.rise}
        for row in rises(records).itertuples()
    }


def rises(records: Records) -> pd.DataFrame:
    """One row a setting that has a record.

    Returns:
        label, before and last (mean accuracy over the last but one and the last fifth of the
        epochs, in percent, mean over seeds), rise (their difference in points), low, high, n (its
        interval over seeds), metric (the column of history.csv), and runs (ids).
    """
    runs, rows = with_labels(records.runs), []
    for label, of_one in runs[~runs["missing"].astype(bool)].groupby("label", sort=False):
        fifths = np.array([_fifths(records, run) for run in of_one["run"]])
        found = mean_interval(fifths[:, 1] - fifths[:, 0])
        rows.append([label, *fifths.mean(axis=0), *found, records.curve, joined(of_one["run"])])
    names = ["label", "before", "last", "rise", "low", "high", "n", "metric", "runs"]
    return pd.DataFrame(rows, columns=names)


def _fifths(records: Records, run: str) -> tuple[float, float]:
    """Mean accuracy over the last but one and the last fifth of a run's epochs, in percent."""
    history = records.history[records.history["run"] == run].sort_values("epoch")
    accuracy = 100 * history[records.curve].to_numpy()
    fifth = max(1, round(FIFTH * len(accuracy)))
    return accuracy[-2 * fifth : -fifth].mean(), accuracy[-fifth:].mean()


def rise_table(records: Records) -> Table | None:
    table = rises(records)
    if table.empty:
        return None
    shown = {
        "optimizer": table["label"],
        "last fifth but one (%)": table["before"].map("{:.2f}".format),
        "last fifth (%)": table["last"].map("{:.2f}".format),
        "rise (points)": table["rise"].map(signed),
    }
    if table["low"].notna().any():
        shown["95 % interval"] = list(map(signed_interval, table["low"], table["high"]))
    return Table(
        "table",
        "How far accuracy still rose",
        "Validation accuracy, averaged over the epochs of the last fifth of training and of the "
        "fifth before.",
        table,
        pd.DataFrame(shown),
    )
