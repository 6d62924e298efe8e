"""Numbers of the result tables, recomputed from the records that the tables name.

By other means than the analysis: plain files, the standard library and scipy's own tests.
"""

import csv
import json
import math
import statistics
from functools import cache
from pathlib import Path

from scipy import stats

# What the study says, not what a run found.
SETTINGS = {
    "seed", "gamma", "gamma_start", "sigma", "threshold", "lr", "batch_size", "epochs", "times",
    "level", "margin", "planned", "published_top1", "missing", "settings", "axis",
}  # fmt: skip
EPOCHS = "images_seen"


class Trace:
    """The records of one scale."""

    def __init__(self, results: Path):
        self.metrics = cache(lambda run: json.loads(self._text(run, "metrics.json")))
        self.settings = cache(
            lambda run: json.loads(self._text(run, "provenance.json"))["settings"]
        )
        self.history = cache(
            lambda run: [*csv.DictReader(self._text(run, "history.csv").splitlines())]
        )
        self.results = results

    def _text(self, run: str, name: str) -> str:
        return (self.results / "runs" / run / name).read_text(encoding="utf-8")

    def row(self, table: str, row: dict[str, str]) -> dict[str, float]:
        """column -> value recomputed, for every column that can be followed."""
        ways = {
            "runs": self._run,
            "images": self._images,
            "summary": self._summary,
            "collapse": self._paired,
            "claims": self._claim,
        }
        return ways.get(table, self._mean)(row)

    def values(self, ids: str, metric: str) -> list[float]:
        return [self.metrics(run)[metric] for run in ids.split()]

    def _run(self, row: dict) -> dict:
        return {} if row["missing"] == "True" else dict(self.metrics(row["run"]))

    def _mean(self, row: dict) -> dict:
        """A setting over its seeds."""
        values = self.values(row["runs"], row["metric"])
        if not values:
            return {"n": 0}
        found = {"mean": statistics.fmean(values), "n": len(values), **_limits(values)}
        if len(values) > 1:
            found["std"] = statistics.stdev(values)
        for column, metric in (
            ("top5", "test_top5_percent"),
            ("train_top1", "train_accuracy_percent"),
            ("flip_rate", "flip_rate"),
        ):
            found[column] = statistics.fmean(self.values(row["runs"], metric))
        if row.get("against_runs"):
            paired = self._paired(row)
            names = {"effect": "difference", "effect_low": "low", "effect_high": "high"}
            found |= {column: paired[name] for column, name in names.items() if name in paired}
        if row.get("grid_runs"):
            found["runner_up"] = self._second_best(row)
        return found

    def _second_best(self, row: dict) -> float:
        by_setting: dict[str, list] = {}
        for run in row["grid_runs"].split():
            key = json.dumps({**self.settings(run), "seed": 0}, sort_keys=True)
            by_setting.setdefault(key, []).append(self.metrics(run)[row["metric"]])
        return sorted(map(statistics.fmean, by_setting.values()))[-2]

    def _paired(self, row: dict) -> dict:
        """Over the seeds that both sides have."""
        sides = [
            {self.settings(run)["seed"]: self.metrics(run)[row["metric"]] for run in ids.split()}
            for ids in (row["runs"], row["against_runs"])
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        differences = [sides[0][seed] - sides[1][seed] for seed in seeds]
        if not differences:
            return {"n": 0}
        mean = statistics.fmean(differences)
        return {"difference": mean, "n": len(seeds), **_limits(differences)}

    def _summary(self, row: dict) -> dict:
        """A grid with one seed."""
        values = sorted(self.values(row["runs"], row["metric"]))
        return {
            "best": values[-1],
            "worst": values[0],
            "median": statistics.median(values),
            "spread": values[-1] - values[0],
            "std": statistics.stdev(values),
            "share_within": 100 * sum(v >= values[-1] - 2 for v in values) / len(values),
        }

    def images(self, run: str, metric: str, level: float) -> tuple[float, float]:
        before = None
        for epoch in self.history(run):
            seen, accuracy = float(epoch[EPOCHS]), 100 * float(epoch[metric])
            if accuracy >= level:
                if before is None:
                    return 0.0, seen
                part = (level - before[1]) / (accuracy - before[1])
                return (before[0] + part * (seen - before[0]),) * 2
            before = seen, accuracy
        return before[0], math.inf

    def _images(self, row: dict) -> dict:
        bounds = [
            self.images(run, row["metric"], float(row["level"])) for run in row["runs"].split()
        ]
        found = {
            "n": len(bounds),
            "never": sum(math.isinf(high) for _, high in bounds),
            "at_once": sum(low == 0 for low, _ in bounds),
        }
        if found["never"] or found["at_once"]:
            return found
        logs = [math.log(low) for low, _ in bounds]
        limits = {name: math.exp(value) for name, value in _limits(logs).items()}
        return {**found, "mean": math.exp(statistics.fmean(logs)), **limits}

    def _claim(self, row: dict) -> dict:
        if not row["effect"]:
            return {}
        of, against = row["runs"].split(), row["against_runs"].split()
        if row["measure"] == "images":
            level = float(row["level"])
            sides = [
                {
                    self.settings(run)["seed"]: math.log(self.images(run, row["metric"], level)[0])
                    for run in ids
                }
                for ids in (against, of)
            ]
            logs = [sides[0][seed] - sides[1][seed] for seed in sorted(sides[0])]
            found = {"effect": statistics.fmean(logs), **_limits(logs)}
            return {name: 100 * (1 - math.exp(-value)) for name, value in found.items()}
        one, other = (self.values(row[side], row["metric"]) for side in ("runs", "against_runs"))
        if row["measure"] == "spread":
            return {"effect": max(other) - min(other) - (max(one) - min(one))}
        if row["measure"] == "share":
            shares = [100 * sum(v >= max(values) - 2 for v in values) / len(values)
                      for values in (one, other)]  # fmt: skip
            return {"effect": shares[0] - shares[1]}
        found = {"effect": statistics.fmean(one) - statistics.fmean(other)}
        if row["over"] == "seeds" and len(of) == len(against) == int(row["n"]):
            paired = self._paired(row)
            found |= {name: paired[name] for name in ("n", "low", "high") if name in paired}
        return found


def _limits(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return {"low": found.low, "high": found.high}
