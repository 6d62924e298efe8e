"""What DVC shows of a scale: numbers for `dvc metrics`, tables for the charts of `dvc plots`.

The headline is of the experiments that compare settings with each other; the charts' form is in
.dvc/plots, and dvc.yaml says which table is drawn by which.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ....store import write_json
from ...config.runs import Entry
from ...run.record import read_record
from ..names import NETWORKS, SOURCES, with_labels
from ..records import SPLITS, Records, load_records
from ..sections import comparison, section_of
from ..sections.curves import history_of


def summarise(entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write the numbers and tables of a scale.

    Writes metrics.json: experiment -> setting -> accuracy, about ten numbers; metrics_all.json: the
    same for all experiments, with what else each has of numbers; plots/accuracy.csv and
    plots/convergence.csv: see `final_rows` and `curve_rows`.

    Args:
        entries, results, scale: as `load_records` takes them.
    """
    entries = list(entries)
    names = dict.fromkeys(entry.experiment for entry in entries)
    records = {name: load_records(entries, results, scale, name) for name in names}
    numbers = {name: section_of(name).load().headline(found) for name, found in records.items()}
    compared = [name for name in names if section_of(name).load() is comparison]
    runs = {entry.run.id for entry in entries}
    done = sum(read_record(Path(results) / "runs" / run) is not None for run in runs)
    study = {"study": {"runs": len(runs), "records": done}}
    headline = {name: _accuracies(numbers[name]) for name in compared}
    write_json(Path(results) / "metrics.json", rounded(headline | study))
    write_json(Path(results) / "metrics_all.json", rounded(numbers | study))
    plots = Path(results) / "plots"
    plots.mkdir(exist_ok=True)
    for name, rows in (("accuracy", final_rows), ("convergence", curve_rows)):
        table = pd.concat([rows(records[each]) for each in compared] or [pd.DataFrame()])
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        (plots / f"{name}.csv").write_text(text, encoding="utf-8")


def final_rows(records: Records) -> pd.DataFrame:
    """One row an arm.

    Returns:
        panel (the chart that it belongs in), arm, accuracy (mean over seeds, in percent), low and
        high (its 95 % interval; empty for less than three seeds), seeds.
    """
    table = comparison.final(records)
    few = table["n"] < 3  # the interval of two would cover all
    found = pd.DataFrame(
        {
            "panel": _panels(records, table["network"], records.accuracy),
            "arm": table["label"],
            "accuracy": table["mean"],
            "low": table["low"].mask(few),
            "high": table["high"].mask(few),
            "seeds": table["n"],
        }
    )
    return found.dropna(subset="accuracy")


def curve_rows(records: Records) -> pd.DataFrame:
    """One row an arm and epoch.

    Returns:
        panel, arm, epoch, accuracy (mean over seeds, in percent), seeds.
    """
    history = history_of(records, with_labels(records.runs), ["network", "label"])
    by = ["network", "label", "epoch"]
    grouped = history.dropna(subset=records.curve).groupby(by, sort=False)[records.curve]
    table = grouped.agg(mean="mean", n="count").reset_index()
    return pd.DataFrame(
        {
            "panel": _panels(records, table["network"], records.curve),
            "arm": table["label"],
            "epoch": table["epoch"],
            "accuracy": 100 * table["mean"],
            "seeds": table["n"],
        }
    )


def _panels(records: Records, networks: pd.Series, column: str) -> pd.Series:
    data = " and ".join(SOURCES[source] for source in records.runs["source"].unique())
    where = f"on {data}, {SPLITS[column]} images"
    return networks.map(lambda name: f"{records.experiment}: {NETWORKS[name]} {where}")


def _accuracies(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison's numbers without spread and seeds."""
    return {
        key: _accuracies(value) if isinstance(value, Mapping) else value
        for key, value in numbers.items()
        if isinstance(value, Mapping) or key.endswith("_top1")
    }


def rounded(value: Any) -> Any:
    """Nested numbers with three digits after the point, without the empty ones."""
    if isinstance(value, Mapping):
        inner = {key: rounded(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in (None, {})}
    if pd.isna(value):
        return None
    return int(value) if isinstance(value, int | np.integer) else round(float(value), 3)
