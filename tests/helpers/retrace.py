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
from by_hand import (
    equivalence,
    fitted,
    found_in_four_of_five,
    holm,
    log_ratio,
    mean_limits,
    multiply_accumulates,
    spreads,
    t_limits,
)
from scipy import stats

# What the study says, not what a run found.
SETTINGS = {
    "seed", "gamma", "gamma_start", "sigma", "threshold", "lr", "batch_size", "epochs", "times",
    "level", "margin", "planned", "deviations", "published_top1", "missing", "settings", "axis",
    "wanted",
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
        self._row = cache(lambda table, row: self._follow(table, json.loads(row)))
        self.results = results

    def _text(self, run: str, name: str) -> str:
        return (self.results / "runs" / run / name).read_text(encoding="utf-8")

    def row(self, table: str, row: dict[str, str]) -> dict[str, float]:
        """column -> value recomputed, for every column that can be followed."""
        return self._row(table, json.dumps(row))

    def _follow(self, table: str, row: dict[str, str]) -> dict[str, float]:
        ways = {
            "runs": self._run,
            "images": self._images,
            "collapse": self._paired,
            "against_decay": self._paired,
            "costs": self._cost,
            "mechanism": self._mechanism,
            "effects": self._contrast,
            "pace": self._contrast,
            "differences": self._contrast,
            "rules": self._rule,
            "claims": self._claim,
        }
        return ways.get(table, self._mean)(row)

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
        found = {"mean": statistics.fmean(values), "n": len(values), **mean_limits(values)}
        if len(values) > 1:
            found["std"] = statistics.stdev(values)
        for column, metric in (
            ("top5", "test_top5_percent"),
            ("train_top1", "train_accuracy_percent"),
            ("flip_rate", "flip_rate"),
        ):
            if row.get(column):
                found[column] = statistics.fmean(self.values(row["runs"], metric))
        for column in ("off", "wait", "threshold_steps"):
            if row.get(column):
                last = [self.history(run)[-1].get(column) for run in row["runs"].split()]
                found[column] = statistics.fmean(float(value) for value in last if value)
        if row.get("off"):
            found["off_percent"] = 100 * found["off"]
        if row.get("against_runs"):
            paired = self._paired(row)
            names = {"effect": "difference", "effect_low": "low", "effect_high": "high"}
            found |= {column: paired[name] for column, name in names.items() if name in paired}
        return found

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
        return {"difference": mean, "n": len(seeds), **mean_limits(differences)}

    def _contrast(self, row: dict) -> dict:
        """Least squares over all runs of the experiment: arms, and seeds where both are told."""
        path = self.results / row["experiment"] / "runs.csv"
        table = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        runs = [run for run in table if run["missing"] == "False"]
        pairs = (pair.rsplit("=", 1) for pair in row["weights"].split())
        weights = {arm: float(weight) for arm, weight in pairs}
        arms = sorted({run["arm"] for run in runs})
        if not weights.keys() <= {*arms}:
            return {"n": 0}
        seeds = sorted({run["seed"] for run in runs})[1:]
        values = np.array([self._value(run["run"], row["metric"]) for run in runs])
        design = np.array(
            [[run["arm"] == a for a in arms] + [run["seed"] == s for s in seeds] for run in runs],
            dtype=float,
        )
        if np.linalg.matrix_rank(design) < design.shape[1]:
            design = design[:, : len(arms)]
        means = np.linalg.lstsq(design, values, rcond=None)[0]
        each = np.array([weights.get(arm, 0.0) for arm in arms])
        each = np.pad(each, (0, design.shape[1] - len(arms)))
        fewest = min(sum(run["arm"] == arm for run in runs) for arm in weights)
        found = {"estimate": each @ means, "n": fewest}
        if free := len(values) - design.shape[1]:
            variance = ((values - design @ means) ** 2).sum() / free
            error = math.sqrt(variance * each @ np.linalg.inv(design.T @ design) @ each)
            half = stats.t(free).ppf(0.975) * error
            found |= {"half_width": half, "low": each @ means - half, "high": each @ means + half}
            if row.get("seeds"):
                found["seeds"] = math.ceil(fewest * (half / float(row["wanted"])) ** 2)
        return found

    def _rule(self, row: dict) -> dict:
        """The cells of a rule's grid, each the mean over its seeds."""
        cells: dict[str, list] = {}
        for run in row["runs"].split():
            key = json.dumps({**self.settings(run), "seed": 0}, sort_keys=True)
            cells.setdefault(key, []).append(self.metrics(run)[row["metric"]])
        means = [*map(statistics.fmean, cells.values())]
        found = {"cells": len(means), "mean": statistics.fmean(means)}
        found |= {"best": max(means), "worst": min(means)}
        return found | ({"spread": statistics.stdev(means)} if len(means) > 1 else {})

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
            found["flips"] = 100 * (due - off) / count
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
        limits = {name: math.exp(value) for name, value in mean_limits(logs).items()}
        return {**found, "mean": math.exp(statistics.fmean(logs)), **limits}

    def _claim(self, row: dict) -> dict:
        """A contrast of a model of all runs, fitted by numpy; of images, the ratio seed by seed."""
        of, against = row["runs"].split(), row["against_runs"].split()
        if not of or not against:
            return {"n": 0}
        if row["measure"] == "images":
            return self._times_as_many(of, against, row["metric"], float(row["level"]))
        values, cells = self._compared(row)
        counts = [sum(value[0] == cell for value in values) for side in cells for cell in side]
        estimate, error, df = fitted(values, *cells)
        found = {"estimate": estimate, "n": min(counts)}
        if df:
            found |= self._decided(row, estimate, error, df)
            if row["measure"] != "spread":
                images = self._judged_on(of[0], row["metric"])
                shares = [
                    statistics.fmean(
                        statistics.fmean(v for c, _, v in values if c == cell) for cell in side
                    ) / 100
                    for side in cells
                ]  # fmt: skip
                drawn = sum(100**2 * share * (1 - share) / images for share in shares)
                wide = math.sqrt(error**2 + drawn)
                found |= t_limits("wide_", estimate, wide, df * (wide / error) ** 4, 0.05)
        return found

    def _compared(self, row: dict) -> tuple[list[tuple], list[set]]:
        """(setting, seed, value) of all runs of the model, and the settings of both sides."""
        values = [
            (
                self._apart_from_seed(run),
                self.settings(run)["seed"],
                self._value(run, row["metric"]),
            )
            for run in row["model_runs"].split()
        ]
        sides = [row["runs"].split(), row["against_runs"].split()]
        cells = [{self._apart_from_seed(run) for run in ids} for ids in sides]
        if row["measure"] == "spread":
            return spreads(values, cells), [{"0"}, {"1"}]
        return values, cells

    def _decided(self, row: dict, estimate: float, error: float, df: int) -> dict:
        p = 2 * stats.t(df).sf(abs(estimate) / error)
        found = {"p": p, **t_limits("", estimate, error, df, 0.05)}
        with (self.results / "claims.csv").open(encoding="utf-8") as file:
            deciding = [other for other in csv.DictReader(file) if other["primary"] == "True"]
        family: dict[str, list[dict]] = {}  # claim -> its parts, all of which must hold
        for other in deciding:
            family.setdefault(other["claim"], [])
            if other["comparison"] != "overall":
                family[other["claim"]].append(other)
        found["detectable"] = found_in_four_of_five(error, df, 0.05)
        found["detectable_holm"] = found_in_four_of_five(error, df, 0.05 / len(family))
        margin = float(row["margin"])
        if row["primary"] == "False":
            same = equivalence(estimate, error, df, margin)
            return {**found, "p_equivalent": same} if row["p_equivalent"] else found
        ps, same = {}, {}
        for claim, parts in family.items():
            complete = all(part["p_holm"] for part in parts)
            compared = map(self._compared, parts if complete else [])
            contrasts = [fitted(values, *cells) for values, cells in compared]
            ps[claim] = max([2 * stats.t(n).sf(abs(m) / e) for m, e, n in contrasts], default=1.0)
            same[claim] = max([equivalence(*one, margin) for one in contrasts], default=1.0)
        found["p_holm"], level = holm(ps)[row["claim"]]
        found["p_equivalent"], _ = holm(same)[row["claim"]]
        return {**found, **t_limits("holm_", estimate, error, df, level)}

    def _value(self, run: str, metric: str) -> float:
        if metric != "val_accuracy":
            return self.metrics(run)[metric]
        return 100 * statistics.fmean(float(epoch[metric]) for epoch in self.history(run))

    def _judged_on(self, run: str, metric: str) -> int:
        """Number of images behind a value."""
        if metric == "val_accuracy":
            data = self.settings(run)["data"]
            return min(data["validation"], data["limit"] or math.inf)
        return self.metrics(run)[metric.replace("top1_percent", "images")]

    def _apart_from_seed(self, run: str) -> str:
        return json.dumps({**self.settings(run), "seed": 0}, sort_keys=True)

    def _times_as_many(self, of: list, against: list, metric: str, level: float) -> dict:
        """Bounds on the logarithm of the ratio, seed by seed."""
        sides = [
            {self.settings(run)["seed"]: self.images(run, metric, level) for run in ids}
            for ids in (of, against)
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        least = [log_ratio(sides[0][seed][0], sides[1][seed][1]) for seed in seeds]
        most = [log_ratio(sides[0][seed][1], sides[1][seed][0]) for seed in seeds]
        found = {}
        if len(seeds) > 1:
            finite = [all(map(math.isfinite, logs)) for logs in (least, most)]
            found["low"] = mean_limits(least)["low"] if finite[0] else -math.inf
            found["high"] = mean_limits(most)["high"] if finite[1] else math.inf
        if least == most:
            found["estimate"] = statistics.fmean(least)
        return {**{name: math.exp(value) for name, value in found.items()}, "n": len(seeds)}
