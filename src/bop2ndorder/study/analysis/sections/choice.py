"""The best setting of each arm that was tuned, and whether the final comparison uses it.

The experiment tuning_NAME has the grids of the experiment NAME, whose arm tuned_ARM uses the best
of the grid ARM.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from ...config.runs import Entry, Run
from ..records import Records, load_records
from ..statistics import joined, over_seeds

TUNING = "tuning_"
FILE = "choice.json"
# What a grid may vary and a choice settles; the network goes with the arm.
CHOSEN = {"network", "optimizer", "lr", "batch_size"}


def ranked(records: Records) -> pd.DataFrame:
    """The settings of every arm, the best of each arm first: arm, setting, see `over_seeds`."""
    table = over_seeds(records.runs, ["arm", "setting"], records.accuracy)
    grids = [grid for _, grid in table.groupby("arm", sort=False)]
    return pd.concat(grid.sort_values("mean", ascending=False, kind="stable") for grid in grids)


def choose(records: Records, entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """The best setting of each arm, by validation accuracy after the last epoch.

    Args:
        records: of the experiment.
        entries: its entries, for the settings.

    Returns:
        arm -> settings (those of `CHOSEN`, without what is the default),
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
    comparison: str, choice: dict[str, dict[str, Any]], entries: list[Entry], scale: str
) -> list[tuple[bool, str]]:
    """For each arm whether the final comparison has its choice, and a sentence that says so.

    Args:
        comparison: its name.
        choice: see `choose`.
        entries: those of the study; the arm tuned_ARM of the comparison is held against the choice.
        scale: its name, for the place in params.yaml.
    """
    found = []
    for arm, best in choice.items():
        tuned = (comparison, f"tuned_{arm}")
        used = [settings_of(e.run) for e in entries if (e.experiment, e.arm) == tuned]
        agrees, sentence = _advise(best, used)
        sentence = f"tuned_{arm} of {comparison} {sentence}"
        if not agrees:
            sentence += (
                f": write at scales.{scale}.experiments.{comparison}.arms in params.yaml\n"
                f"  tuned_{arm}: {{set: {_yaml(best['settings'])}}}"
            )
        found.append((agrees, sentence))
    return found


def _advise(best: dict, used: list[dict]) -> tuple[bool, str]:
    accuracy = f"validation accuracy {best['val_top1_percent']:.2f} %"
    if "runner_up" in best:
        accuracy += f", next {best['runner_up']['val_top1_percent']:.2f} %"
    if used and all(settings == best["settings"] for settings in used):
        return True, f"uses the best of its grid ({accuracy})."
    what = "uses other settings than" if used else "is not there yet; it should use"
    return False, f"{what} the best of its grid ({accuracy})"


def _yaml(value: dict) -> str:
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 10_000, False
    yaml.dump(value, text)
    return text.getvalue().strip()


def write_choice(entries: Iterable[Entry], results: Path, scale: str) -> list[tuple[bool, str]]:
    """Choose, write results/choice.json, and say what the final comparisons make of it.

    Args:
        entries: all entries of the scale.
        results: the folder results/SCALE with the records.
        scale: its name.

    Returns:
        see `advice`.

    Raises:
        ValueError: there is nothing to choose from at this scale, or a run has no record yet.
    """
    entries = list(entries)
    grids: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.experiment.startswith(TUNING):
            grids.setdefault(entry.experiment, []).append(entry)
    if not grids:
        raise ValueError(f"the scale {scale} has no experiment {TUNING}NAME to choose from")
    choice = {
        name.removeprefix(TUNING): choose(load_records(grid, results, scale, name), grid)
        for name, grid in grids.items()
    }
    text = json.dumps(choice, indent=1) + "\n"
    (Path(results) / FILE).write_text(text, encoding="utf-8")
    return [line for name, best in choice.items() for line in advice(name, best, entries, scale)]
