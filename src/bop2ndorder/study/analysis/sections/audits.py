"""What the audits of runs counted, and what each rule amounts to: one row an arm."""

import json

import numpy as np
import pandas as pd

from ...config.settings import Settings
from ..names import NETWORKS, schedule_text
from ..records import HYPERPARAMETERS, Records
from ..statistics import joined

EVERY = 10  # steps between two audits, as in run/audit.py, which would load torch
SIGN = "disagree/sign"
AUDITED = ("due", "off", "threshold_steps", SIGN)
# Percent of due weights that were held in the runs that led to this experiment, on CIFAR-10: by arm
# what was noted, as it was noted, and the bounds that this leaves.
NOTED = {
    "biased_5_2": ("≤ 0.03", 0, 0.035),
    "constant_5_2": ("≤ 0.03", 0, 0.035),
    "biased_5_2_last": ("0.15", 0.145, 0.155),
    "biased_5_1": ("95 to 98", 94.5, 98.5),
    "constant_5_1": ("0.00", 0, 0.005),
    "bop": ("88 to 90", 87.5, 90.5),
    "bop_fast": ("32", 31.5, 32.5),
    "wide_bop": ("99.9", 99.85, 99.95),
}
NAMES = {
    "biased_5_2": "5.2, biased",
    "constant_5_2": "5.2, corrected",
    "adam_5_2": "5.2, Adam's correction",
    "biased_5_2_last": "5.2's last values, biased",
    "biased_5_1": "5.1, biased",
    "constant_5_1": "5.1, corrected",
    "bop": "Bop",
    "bop_fast": "Bop, faster",
}
# Shares of due weights, in percent, below which a threshold does nothing, or a part.
LITTLE, PART = 1, 50
# Gamma times steps below which m is still the sum of all gradients, times gamma.
SUM = 0.1
SIGNS = "the sign"  # what the words for a rule that has no threshold in effect begin with


def facts(records: Records) -> pd.DataFrame:
    """One row an arm, over the steps that were audited and all seeds.

    Returns:
        arm, name, optimizer, network (with its width), width, gamma, sigma, threshold (as text),
        gamma_total (gamma summed over the steps of the whole schedule), steps (that were made),
        held, off, flips, disagree (percent), wait (off by flips), threshold_steps, noted (percent
        held before, as text), agrees (yes, no, or empty where nothing was noted), rule (in words),
        runs (ids).
    """
    rows = []
    for setting, runs in records.runs.groupby("setting", sort=False):
        history = records.history[records.history["setting"] == setting]
        settings = Settings.model_validate({**json.loads(setting), "seed": 0})
        arm, width = runs["arm"].iloc[0], settings.network.width
        of_images = settings.data.source == "cifar10"
        noted, low, high = NOTED.get(arm, ("", 0, 0)) if of_images else ("", 0, 0)
        found = _audited(history)
        if not _same_gamma(settings):  # then it is gamma that they differ in, too
            found["disagree"] = np.nan
        agrees = "yes" if low <= found["held"] <= high else "no"
        total = gamma_total(settings)
        rows.append(
            {
                "arm": arm,
                "name": _name(arm, width),
                "optimizer": runs["optimizer"].iloc[0],
                "network": f"{NETWORKS[settings.network.name]} {width:g}",
                "width": width,
                **{name: schedule_text(runs[name].iloc[0]) for name in HYPERPARAMETERS},
                "gamma_total": total,
                **found,
                "noted": noted,
                "agrees": agrees if noted and not pd.isna(found["held"]) else "",
                "rule": _rule(found["held"], found["disagree"], total),
                "runs": joined(runs.loc[~runs["missing"], "run"]),
            }
        )
    return pd.DataFrame(rows)


def _audited(history: pd.DataFrame) -> dict[str, float]:
    """Ratios of sums over the epochs of runs of one setting; an epoch counts by its audits."""
    told = {*AUDITED} - {SIGN} <= {*history.columns} and history["due"].notna().any()
    if not told:  # of latent weights nothing is due, and no records of old say it
        return dict.fromkeys(
            ("steps", "held", "off", "flips", "disagree", "wait", "threshold_steps"), np.nan
        )
    history = history.reindex(columns=[*history.columns, *({SIGN} - {*history.columns})])
    audits = history["step"] // EVERY
    begun = history.groupby("run")["step"].shift(fill_value=0) // EVERY
    count = (audits - begun).to_numpy()
    seen = {name: history[name].to_numpy(float) for name in AUDITED}
    due, off = (np.nansum(seen[name] * count) for name in ("due", "off"))
    steps = np.nansum(seen["threshold_steps"] * count)
    # By what is due, since that is what the sign rule flips.
    differing = np.nansum(seen[SIGN] * seen["due"] * count)
    some = due > 0
    return {
        "steps": history["step"].max(),
        "held": 100 * off / due if some else np.nan,
        "off": 100 * off / count.sum() if count.sum() else np.nan,
        "flips": 100 * (due - off) / count.sum() if count.sum() else np.nan,
        "disagree": 100 * differing / due if some and not np.isnan(seen[SIGN]).all() else np.nan,
        "wait": off / (due - off) if due > off else np.nan,
        "threshold_steps": steps / count.sum() if count.sum() else np.nan,
    }


def _same_gamma(settings: Settings) -> bool:
    """Whether the run's sign rule has its own gamma."""
    sign = settings.shadows.get("sign")
    return sign is not None and sign.gamma == getattr(settings.optimizer, "gamma", None)


def gamma_total(settings: Settings) -> float:
    """Gamma summed over all steps of the schedule, made or not; empty for latent weights."""
    gamma = settings.model_dump()["optimizer"].get("gamma")
    if gamma is None:
        return np.nan
    epochs = settings.epochs
    steps = epochs * (settings.data.images(settings.train_on) // settings.batch_size)
    # By the mean over 1,000 places, in epochs; there may be half a million steps.
    places = epochs * (np.arange(1000) + 0.5) / 1000
    if not isinstance(gamma, dict):
        return steps * gamma
    if gamma["kind"] == "exponential":
        return steps * float(np.mean(gamma["start"] * gamma["rate"] ** (places // gamma["every"])))
    left = 1 - np.minimum(places / (gamma["until"] * epochs), 1)
    fall = gamma["start"] - gamma["end"]
    return steps * float(np.mean(gamma["end"] + fall * left ** gamma["power"]))


def _rule(held: float, disagree: float, total: float) -> str:
    """What a rule amounts to, by the larger of the two percentages."""
    share = np.nanmax([held, disagree]) if not pd.isna(held) else np.nan
    if pd.isna(share):
        return ""
    if share >= PART:
        return "a threshold"
    if share >= LITTLE:
        return "a threshold in part"
    return f"{SIGNS} of the sum of all gradients" if total < SUM else f"{SIGNS} of m"


def _name(arm: str, width: float) -> str:
    """For readers; with its width where the arm has one of its own."""
    plain = arm.removeprefix("wide_")
    name = NAMES.get(plain, plain.replace("_", " "))
    return name if plain == arm else f"{name}, width {width:g}"
