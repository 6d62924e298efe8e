"""The best setting of each arm of the experiment `tuning`, and whether the comparison uses it."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from ..config import Entry, Run
from .records import Records, load_records
from .statistics import joined, over_seeds

TUNING, COMPARISON = "tuning", "cifar10"
FILE = "choice.json"
# What a grid may vary and a choice settles.
CHOSEN = {"optimizer", "lr", "batch_size"}


def ranked(records: Records) -> pd.DataFrame:
    """The settings of every arm, the best of each arm first: arm, setting, see `over_seeds`."""
    table = over_seeds(records.runs, ["arm", "setting"], records.accuracy)
    order = table["mean"].sort_values(ascending=False, kind="stable", na_position="last").index
    arms = pd.Categorical(table["arm"], categories=table["arm"].unique(), ordered=True)
    return table.assign(arm=arms).loc[order].sort_values("arm", kind="stable").astype({"arm": str})


def choose(records: Records, entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """The best setting of each arm, by validation accuracy after the last epoch.

    Args:
        records: of the experiment.
        entries: its entries, for the settings.

    Returns:
        arm -> settings (optimizer, lr, batch_size; without what is the default),
        val_top1_percent (mean over seeds), runs (ids behind it), runner_up (the same of the
        second best), grid_settings (how many) and grid_runs (ids).

    Raises:
        ValueError: a run has no record yet.
    """
    if records.missing:
        raise ValueError(
            f"{len(records.missing)} of {records.runs['run'].nunique()} runs of the experiment "
            f"{records.experiment} have no record yet, the first is {records.missing[0]}: "
            "`snakemake` trains and records them"
        )
    runs = {entry.run.id: entry.run for entry in entries}
    found = {}
    for arm, rows in ranked(records).groupby("arm", sort=False):
        first, *others = (
            {
                "settings": settings_of(runs[row.runs.split()[0]]),
                "val_top1_percent": round(row.mean, 4),
                "runs": row.runs.split(),
            }
            for row in rows.head(2).itertuples()
        )
        runner_up = {"runner_up": others[0]} if others else {}
        grid = {"grid_settings": len(rows), "grid_runs": joined(rows["runs"]).split()}
        found[arm] = {**first, **runner_up, **grid}
    return found


def settings_of(run: Run) -> dict[str, Any]:
    """What of a run's settings is chosen, without what is the default."""
    return run.settings.model_dump(include=CHOSEN, exclude_defaults=True)


def advice(
    choice: dict[str, dict[str, Any]], entries: Iterable[Entry], scale: str
) -> list[tuple[bool, str]]:
    """For each arm whether the final comparison has its choice, and a sentence that says so.

    Args:
        choice: see `choose`.
        entries: those of the study; the arm tuned_ARM of cifar10 is held against the choice.
        scale: its name, for the place in params.yaml.
    """
    used: dict[str, list] = {}
    for entry in entries:
        if entry.experiment == COMPARISON:
            used.setdefault(entry.arm, []).append(settings_of(entry.run))
    return [_advise(f"tuned_{arm}", found, used, scale) for arm, found in choice.items()]


def _advise(arm: str, found: dict, used: dict[str, list], scale: str) -> tuple[bool, str]:
    accuracy = f"validation accuracy {found['val_top1_percent']:.2f} %"
    if "runner_up" in found:
        accuracy += f", next {found['runner_up']['val_top1_percent']:.2f} %"
    there = used.get(arm, [])
    if there and all(settings == found["settings"] for settings in there):
        return True, f"{arm} of {COMPARISON} uses the best of its grid ({accuracy})."
    what = "uses other settings than" if there else "is not there yet; it should use"
    return False, (
        f"{arm} of {COMPARISON} {what} the best of its grid ({accuracy}): write at "
        f"scales.{scale}.experiments.{COMPARISON}.arms in params.yaml\n"
        f"  {arm}: {{set: {_yaml(found['settings'])}}}"
    )


def _yaml(value: dict) -> str:
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 10_000, False
    yaml.dump(value, text)
    return text.getvalue().strip()


def write_choice(entries: Iterable[Entry], results: Path, scale: str) -> list[tuple[bool, str]]:
    """Choose, write results/choice.json, and say what the final comparison makes of it.

    Args:
        entries: all entries of the scale.
        results: the folder results/SCALE with the records.
        scale: its name.

    Returns:
        see `advice`.
    """
    entries = list(entries)
    tuned = [entry for entry in entries if entry.experiment == TUNING]
    choice = choose(load_records(tuned, results, scale, TUNING), tuned)
    text = json.dumps(choice, indent=1) + "\n"
    (Path(results) / FILE).write_text(text, encoding="utf-8")
    return advice(choice, entries, scale)
