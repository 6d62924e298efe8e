"""What is made of the records of each experiment."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ....store import write_json
from ...config.runs import Entry
from ..exhibits import Picture, Table
from ..names import schedule_text
from ..records import ACCURACY, HYPERPARAMETERS, Records, load_records
from ..style import look
from . import section_of


def exhibits_of(records: Records) -> dict[str, Table | Picture]:
    """The tables and pictures of an experiment, by name; last, its runs.

    All are drawn in one style, and every caption ends with what it rests on.
    """
    with look():
        shown = section_of(records.experiment).load().exhibits(records)
    return {
        exhibit.name: replace(exhibit, caption=f"{exhibit.caption} {records.basis()}")
        for exhibit in (*shown, run_table(records))
        if exhibit is not None
    }


def run_table(records: Records) -> Table:
    """Every run with its numbers, the missing ones too."""
    runs = records.runs
    as_text = {name: runs[name].map(schedule_text) for name in (*HYPERPARAMETERS, "lr")}
    accuracy = [
        "missing" if missing else f"{value:.2f}"
        for missing, value in zip(runs["missing"], runs[records.accuracy], strict=True)
    ]
    shown = {
        "run": runs["run"],
        "arm or axis": runs["arm"],
        "seed": runs["seed"].astype(str),
        ACCURACY[records.accuracy]: accuracy,
    }
    return Table(
        "runs",
        "Every run",
        "The records behind this experiment are in runs/, in a folder of this name each.",
        runs.assign(**as_text).drop(columns=["setting", "source"]),
        pd.DataFrame(shown),
    )


def analyse(experiment: str, entries: Iterable[Entry], results: Path, scale: str) -> None:
    """Write the tables and figures of one experiment to results/EXPERIMENT.

    Writes TABLE.csv and TABLE.md, FIGURE.png and FIGURE.svg, and exhibits.json, from which the
    report is made. A missing record is listed, and left out of means.

    Args:
        experiment: its name in params.yaml.
        entries, results, scale: as `load_records` takes them.
    """
    records, section = load_records(entries, results, scale, experiment), section_of(experiment)
    # All before the old files go, which stay where something fails.
    finding, exhibits = section.load().finding(records), exhibits_of(records)
    folder = Path(results) / experiment
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.suffix in (".csv", ".md", ".png", ".svg"):
            old.unlink()
    shown = {
        "experiment": experiment,
        "title": section.title.format(records.images),
        "asks": section.asks,
        "finding": finding,
        "basis": records.basis(),
        "exhibits": [exhibit.write(folder) for exhibit in exhibits.values()],
        "missing": records.missing,
    }
    write_json(folder / "exhibits.json", shown)
