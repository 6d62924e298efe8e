"""From records to verdicts: all comparisons of the claims, measured and judged together."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ...config.claims import Claim, Claims, Comparison
from ..records import Records, sizes
from ..statistics import NO_CONTRAST, Contrast
from .deciding import (
    CONTRADICTED,
    LEVEL,
    SUPPORTED,
    UNDECIDED,
    Primary,
    Verdict,
    judge_together,
)
from .samples import NOT_RUN, UNITS, Sample, sample, times_as_many

OVERALL = "overall"  # the row of a claim itself
COLUMNS = (
    "claim", "comparison", "primary", "verdict", "why", "estimate", "low", "high", "holm_low",
    "holm_high", "wide_low", "wide_high", "unit", "p", "p_holm", "p_equivalent", "n", "planned",
    "detectable", "detectable_holm", "margin", "experiment", "data", "measure", "metric",
    "level", "of", "against", "setup", "runs", "against_runs", "model_runs", "statement",
    "criterion", "plan", "deviations", "commits",
)  # fmt: skip
# How the verdicts of secondary comparisons are called, which are no claims.
SECONDARY = {SUPPORTED: "above 0", CONTRADICTED: "below 0"}
NOT_RECORDED = "not recorded"
BY_SEED = "one value a seed"


def judge(claims: Claims, records: Mapping[str, Records]) -> pd.DataFrame:
    """The verdicts, as claims.csv has them.

    Args:
        claims: the claims and what decides them.
        records: experiment -> its records; of all experiments of a scale.

    Returns:
        one row a claim (its comparison is called `overall`), which has the numbers of the primary
        comparison with the largest p, where it is contradicted of those that speak against it; and
        one a comparison; of images, one a level.

        estimate and its limits are in `unit`, points or, of images, how many times as many;
        points above 0 speak for the claim, images below 1. low and high: 95 %. holm_low,
        holm_high: at the level of Holm's procedure, empty for what is secondary. wide_low,
        wide_high: test images drawn, too. p: of no effect. p_holm, p_equivalent (of a difference
        as large as the margin) and verdict are the claim's where the comparison is primary, but
        what has an effect is supported or contradicted by its own sign; where it is secondary,
        p_holm is empty, and the others are its own without correction, in the words of `SECONDARY`.
        n: seeds of the setting with the fewest. detectable: found with a probability of 80 %;
        detectable_holm: under the hardest correction. setup: networks and epochs, in words. runs,
        against_runs, model_runs: ids of both sides, and of all runs of the linear model. commits:
        that the records were made at.
    """
    tested = {label: _tested(claim, claims, records) for label, claim in claims.statements.items()}
    verdicts = judge_together([*tested.values()], claims.margin)
    rows = []
    for (label, claim), found in zip(claims.statements.items(), verdicts, strict=True):
        own = [
            {"claim": label, "comparison": name, **row}
            for name, one in claim.comparisons.items()
            for row in _rows(one, name in claim.primary, claims, records, found)
        ]
        parts = [row for row in own if row["primary"]]
        against = [row for row in parts if row.get("verdict") == CONTRADICTED]
        deciding = max(against or parts, key=_place)
        plan, deviations = claims.plan.commit, claims.plan.deviations
        about = {"statement": claim.claim, "criterion": claim.criterion, "why": found.why}
        if 0 < len(against) < len(parts):
            names = " and ".join(str(row["comparison"]).replace("_", " ") for row in against)
            about["why"] = f"by {len(against)} of its {len(parts)} comparisons, {names}"
        if tested[label].lacks:
            about["p_holm"] = np.nan
        about |= {
            "plan": plan,
            "deviations": deviations,
            "commits": _commits(claim, claims, records),
        }
        rows += [{**deciding, "comparison": OVERALL, **about}, *own]
    return pd.DataFrame(rows, columns=COLUMNS)


def vary(claims: Claims, records: Mapping[str, Records]) -> pd.DataFrame:
    """Each claim's verdict had something been decided otherwise.

    Returns:
        claim, variation, verdict, why, and open: where a claim of several comparisons is undecided,
        the one with the largest p.
    """
    margins = [margin for margin in (0.5, 1.0, 2.0) if margin != claims.margin]
    ways = {
        "as planned": {},
        **{f"margin {margin:g}": {"margin": margin} for margin in margins},
        "seeds unpaired": {"how": "unpaired"},
        "Welch's test": {"how": "welch"},
        BY_SEED: {"how": "seeds"},
        "without Holm's correction": {"corrected": False},
    }
    rows = []
    for way, change in ways.items():
        how = change.pop("how", "paired")
        tested = [_tested(claim, claims, records, how) for claim in claims.statements.values()]
        verdicts = judge_together(tested, **{"margin": claims.margin, **change})
        for label, one, found in zip(claims.statements, tested, verdicts, strict=True):
            names, ps = list(claims.statements[label].primary), [c.p for c in one.contrasts]
            several = found.verdict == UNDECIDED and not one.lacks and len(names) > 1
            rows.append(
                {"claim": label, "variation": way, "verdict": found.verdict, "why": found.why,
                 "open": names[int(np.argmax(ps))] if several else ""}
            )  # fmt: skip
    averages = "batch norm's moving averages, or those taken anew"
    why = "a run's answers are kept with one kind of averages only"
    rows += [
        {"claim": label, "variation": averages, "verdict": NOT_RECORDED, "why": why, "open": ""}
        for label in claims.statements
    ]
    return pd.DataFrame(rows, columns=["claim", "variation", "verdict", "why", "open"])


def _tested(
    claim: Claim, claims: Claims, records: Mapping[str, Records], how: str = "paired"
) -> Primary:
    samples = [_sample(one, claims, records) for one in claim.primary.values()]
    lacks = [_lacks(*pair) for pair in zip(claim.primary.values(), samples, strict=True)]
    contrasts = [found.contrast(how) if found else NO_CONTRAST for found in samples]
    return Primary(contrasts, "; ".join(dict.fromkeys(filter(None, lacks))))


def _sample(
    comparison: Comparison, claims: Claims, records: Mapping[str, Records]
) -> Sample | None:
    own = records.get(comparison.experiment)
    return None if own is None else sample(comparison, own, claims.first_seed)


def _lacks(comparison: Comparison, found: Sample | None) -> str:
    """Why a comparison can decide nothing yet."""
    if found is None:
        return NOT_RUN
    if found.n < comparison.planned:
        return f"{found.n} of {comparison.planned} planned seeds"
    if found.missing:
        return f"{found.missing} of {found.listed} runs have no record"
    return f"fewer than {comparison.least} seeds" if found.n < comparison.least else ""


def _rows(
    comparison: Comparison,
    primary: bool,
    claims: Claims,
    records: Mapping[str, Records],
    of_claim: Verdict,
) -> Iterator[dict[str, object]]:
    """The row of a comparison; of images, one a level."""
    own = records.get(comparison.experiment)
    row = {
        "primary": primary,
        "unit": UNITS.get(comparison.measure, "points"),
        "experiment": comparison.experiment,
        "data": own.images if own else "",
        "measure": comparison.measure,
        "of": described(comparison.of),
        "against": described(comparison.against),
        "planned": comparison.planned,
        "margin": claims.margin,
    }
    found = _sample(comparison, claims, records)
    lacks = _lacks(comparison, found)
    if found is None:
        yield {**row, "n": 0, "verdict": of_claim.verdict if primary else UNDECIDED, "why": lacks}
        return
    row |= {"runs": found.runs(found.of), "against_runs": found.runs(found.against)}
    compared = own.runs["run"].isin(f"{row['runs']} {row['against_runs']}".split())
    row["setup"] = sizes(own.runs[compared])
    if comparison.measure == "images":
        for level in claims.levels:
            times = times_as_many(comparison, own, level, claims.first_seed)
            yield {**row, "level": level, "metric": own.curve, "why": lacks, "n": times.n,
                   "estimate": times.value, "low": times.low, "high": times.high}  # fmt: skip
        return
    contrast = found.contrast()
    verdict = of_claim
    if not primary:
        [alone] = judge_together([Primary([contrast], lacks)], claims.margin, corrected=False)
        verdict = replace(alone, verdict=SECONDARY.get(alone.verdict, alone.verdict))
    elif of_claim.verdict in (SUPPORTED, CONTRADICTED):
        sign = SUPPORTED if contrast.estimate > 0 else CONTRADICTED
        verdict = replace(of_claim, verdict=sign)
    hardest = LEVEL / len(claims.statements)
    yield {
        **row,
        **_interval("", contrast),
        **_interval("wide_", found.widened()),
        **(_interval("holm_", contrast, 1 - of_claim.level) if primary else {}),
        "estimate": contrast.estimate,
        "metric": found.metric,
        "n": found.n,
        "p": contrast.p,
        "p_holm": verdict.p if primary and not lacks else np.nan,
        "p_equivalent": np.nan if lacks else verdict.p_equivalent,
        "detectable": contrast.detectable(),
        "detectable_holm": contrast.detectable(hardest),
        "verdict": verdict.verdict,
        "why": lacks or verdict.why,
        "model_runs": found.runs(found.frame["cell"].unique()),
    }


def _place(row: Mapping[str, float]) -> float:
    """Where a comparison without a p stands among the others: last."""
    return np.nan_to_num(row.get("p", np.nan), nan=2)


def _interval(prefix: str, contrast: Contrast, confidence: float = 0.95) -> dict[str, float]:
    low, high = contrast.interval(confidence)
    return {f"{prefix}low": low, f"{prefix}high": high}


def described(where: Mapping[str, list[str]]) -> str:
    """A selection in words."""
    return " and ".join(f"{column} {', '.join(values)}" for column, values in where.items())


def _commits(claim: Claim, claims: Claims, records: Mapping[str, Records]) -> str:
    """The commits that the records behind a claim's primary comparisons were made at."""
    names = dict.fromkeys(one.experiment for one in claim.primary.values())
    made = [
        record["commit"] or "unknown"
        for name in names if name in records
        for record in records[name].provenance
        if record["settings"]["seed"] >= claims.first_seed
    ]  # fmt: skip
    return " ".join(sorted(set(made)))
