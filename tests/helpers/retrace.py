"""Numbers of the result tables, recomputed from the records that the tables name.

By other means than the analysis: plain files, the standard library and scipy's own tests.
"""

import csv
import json
import math
import statistics
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from bop2ndorder.networks import build

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
            "against_decay": self._paired,
            "costs": self._cost,
            "mechanism": self._mechanism,
            "claims": self._claim,
        }
        return ways.get(table, self._rise if "rise" in row else self._mean)(row)

    def values(self, ids: str, metric: str) -> list[float]:
        return [self.metrics(run)[metric] for run in ids.split()]

    def _run(self, row: dict) -> dict:
        if row["missing"] == "True":
            return {}
        metrics = self.metrics(row["run"])
        return {name: value for name, value in metrics.items() if isinstance(value, int | float)}

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
            if row.get(column):
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
            "range": values[-1] - values[0],
            "spread": statistics.stdev(values),
            "share_within": 100 * sum(v >= values[-1] - 2 for v in values) / len(values),
        }

    def _rise(self, row: dict) -> dict:
        """Accuracy of the last fifth of the epochs and of the fifth before."""
        fifths = []
        for run in row["runs"].split():
            values = [100 * float(epoch[row["metric"]]) for epoch in self.history(run)]
            values.reverse()
            fifth = (2 * len(values) + 5) // 10  # of 12 epochs two
            last, before = values[:fifth], values[fifth : 2 * fifth]
            fifths.append((statistics.fmean(before), statistics.fmean(last)))
        before, last = map(statistics.fmean, zip(*fifths, strict=True))
        rises = [two - one for one, two in fifths]
        found = {"before": before, "last": last, "rise": last - before, "n": len(fifths)}
        return {**found, **_limits(rises)}

    def _cost(self, row: dict) -> dict:
        """Two operations a multiply-accumulate, three passes, 5e10 operations a second."""
        settings = self.settings(row["run"])
        network, width = settings["network"], float(row["width"])
        times = width / network["width"]
        wide = {key: type(value)(value * times) for key, value in network.items()
                if key in ("width", "dense")}  # fmt: skip
        macs = multiply_accumulates({**network, **wide}, settings["data"]["image_size"])
        hours = self.metrics(row["run"])["images_seen"] * 6 * macs / 5e10 / 3600
        longer = {f"core_hours_{factor}": factor * hours for factor in (1, 10, 50)}
        return {"multiply_accumulates": macs, "width": width, **longer}

    def _mechanism(self, row: dict) -> dict:
        """Every 10th step counts for the epoch that it is in; one run a row."""
        if len(row["runs"].split()) != 1:
            return {}
        run, before = row["runs"], 0
        settings = self.settings(run)
        due = off = count = steps = differing = 0.0
        for epoch in self.history(run):
            audits = int(epoch["step"]) // 10 - before
            before += audits
            count += audits
            due += audits * float(epoch["due"] or 0)
            off += audits * float(epoch["off"] or 0)
            steps += audits * float(epoch["threshold_steps"] or 0)
            differing += audits * float(epoch["due"] or 0) * float(epoch["disagree/sign"] or 0)
        total = self._gamma_total(settings)
        found = {"width": settings["network"]["width"], "gamma_total": total}
        found["steps"] = int(self.history(run)[-1]["step"])
        if due:
            found |= {"held": 100 * off / due, "disagree": 100 * differing / due}
        if count:
            found |= {"off": 100 * off / count, "threshold_steps": steps / count}
        return found | ({"wait": off / (due - off)} if due > off else {})

    def _gamma_total(self, settings: dict) -> float:
        """A number, or a straight line from start to end, over all steps of all epochs."""
        gamma, data = settings["optimizer"]["gamma"], settings["data"]
        images = {"digits": 1438, "cifar10": 50_000}[data["source"]] - data["validation"]
        steps = settings["epochs"] * (images // settings["batch_size"])
        mean = (gamma["start"] + gamma["end"]) / 2 if isinstance(gamma, dict) else gamma
        return steps * mean

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
        if not row["runs"] or not row["against_runs"]:
            return {}
        of, against = row["runs"].split(), row["against_runs"].split()
        if row["measure"] == "images":
            return self._times_as_many(of, against, row["metric"], float(row["level"]))
        one, other = (self.values(row[side], row["metric"]) for side in ("runs", "against_runs"))
        if row["measure"] in ("spread", "share"):
            return _grids(np.array(one), np.array(other), row["measure"])
        if row["over"] == "seeds":
            paired = self._paired(row)
            return {**paired, "effect": paired.get("difference")}
        return self._versions(of, against, row["metric"])

    def _versions(self, of: list, against: list, metric: str) -> dict:
        """Runs with one seed: each with that of the other version, or several with one baseline."""
        if len(of) == len(against):
            sides = [
                {self._apart(run): self.metrics(run)[metric] for run in s} for s in (of, against)
            ]
            differences = [sides[0][key] - sides[1][key] for key in sides[0]]
            mean = statistics.fmean(differences)
            return {"effect": mean, "n": len(differences), **_limits(differences)}
        groups = {self._version(run): [] for run in against}
        for run in of:
            groups[self._version(run)].append(self.metrics(run)[metric])
        means = [
            statistics.fmean(groups[self._version(run)]) - self.metrics(run)[metric]
            for run in against
        ]
        sizes = {len(values) for values in groups.values()}
        [m], k = sizes, len(groups)  # as many runs to each baseline
        variance = statistics.fmean(statistics.variance(values) for values in groups.values())
        half = stats.t(k * (m - 1)).ppf(0.975) * math.sqrt(variance * (1 + 1 / m) / k)
        mean = statistics.fmean(means)
        return {"effect": mean, "n": k * m, "low": mean - half, "high": mean + half}

    def _version(self, run: str) -> str:
        return self.settings(run)["optimizer"]["bias_correction"]

    def _apart(self, run: str) -> str:
        """All settings but the bias correction."""
        settings = self.settings(run)
        optimizer = {**settings["optimizer"], "bias_correction": ""}
        return json.dumps({**settings, "optimizer": optimizer}, sort_keys=True)

    def _times_as_many(self, of: list, against: list, metric: str, level: float) -> dict:
        """Bounds on the logarithm of the ratio, seed by seed."""
        sides = [
            {self.settings(run)["seed"]: self.images(run, metric, level) for run in ids}
            for ids in (of, against)
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        least = [_log(sides[0][seed][0], sides[1][seed][1]) for seed in seeds]
        most = [_log(sides[0][seed][1], sides[1][seed][0]) for seed in seeds]
        found = {}
        if len(seeds) > 1:
            finite = [all(map(math.isfinite, logs)) for logs in (least, most)]
            found["low"] = _limits(least)["low"] if finite[0] else -math.inf
            found["high"] = _limits(most)["high"] if finite[1] else math.inf
        if least == most:
            found["effect"] = statistics.fmean(least)
        return {**{name: math.exp(value) for name, value in found.items()}, "n": len(seeds)}


def multiply_accumulates(network: dict, size: int) -> int:
    """Of the forward pass of an image, layer by layer as it runs; 10 classes, as all sets here."""
    found = []

    def note(layer, inputs, output):
        per_output = layer.weight.numel() // layer.weight.shape[0]
        found.append(per_output * output.numel())

    built = build(num_classes=10, image_size=size, latent=False, **network).eval()
    for layer in built.modules():
        if getattr(layer, "weight", None) is not None and layer.weight.dim() > 1:
            layer.register_forward_hook(note)
    with torch.no_grad():
        built(torch.zeros(1, 3, size, size))
    return sum(found)


def _log(above: float, below: float) -> float:
    if math.isinf(below) or above == 0:
        return -math.inf
    return math.inf if math.isinf(above) or below == 0 else math.log(above / below)


def _grids(of: np.ndarray, against: np.ndarray, measure: str) -> dict:
    """The bootstrap once more, drawn with numpy alone."""

    def number(cells: np.ndarray) -> np.ndarray:
        return -np.std(cells, axis=-1, ddof=1) if measure == "spread" else np.mean(cells, axis=-1)

    if measure == "share":
        of, against = (100.0 * (grid >= max(grid) - 2) for grid in (of, against))
    draws = np.random.default_rng(0).integers(len(of), size=(10_000, len(of)))
    student = stats.t(len(of) - 1).ppf([0.025, 0.975])
    outer = stats.norm.cdf(student * math.sqrt(len(of) / (len(of) - 1)))
    low, high = np.quantile(number(of[draws]) - number(against[draws]), outer)
    return {"effect": number(of) - number(against), "low": low, "high": high, "n": len(of)}


def _limits(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return {"low": found.low, "high": found.high}
