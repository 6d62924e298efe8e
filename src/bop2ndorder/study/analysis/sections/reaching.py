"""How many training images it takes to reach an accuracy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from ..exhibits import Table, times
from ..names import NETWORKS, with_labels
from ..records import SPLITS, Records
from ..statistics import Model, bounded_interval, joined
from .effects import spoken

LEVELS, STRIDE = 3, 10  # so many accuracies are shown, so many percent apart


def images_to_reach(
    images: Sequence[float], accuracy: Sequence[float], level: float
) -> tuple[float, float]:
    """Training images seen when an accuracy is first reached, as a lower and an upper bound.

    Both are the same where it is reached between two epochs, by linear interpolation. Within the
    first epoch it is known only that it took at most that many; where it is never reached, that
    it takes more than the last number (and the upper bound is infinite).

    Args:
        images: training images seen at the end of each epoch, rising.
        accuracy: the accuracy there, in the unit of `level`.
        level: the accuracy to reach.
    """
    images, accuracy = np.asarray(images, dtype=float), np.asarray(accuracy, dtype=float)
    [there] = np.nonzero(accuracy >= level)
    if not len(there):
        return images[-1], np.inf
    at = there[0]
    if at == 0:
        return 0.0, images[0]
    seen = np.interp(level, accuracy[[at - 1, at]], images[[at - 1, at]])
    return float(seen), float(seen)


def images_of_run(records: Records, run: str, level: float) -> tuple[float, float]:
    """Bounds on the training images that a run needs to reach an accuracy in percent."""
    history = records.history[records.history["run"] == run].sort_values("epoch")
    return images_to_reach(history["images_seen"], 100 * history[records.curve], level)


def images_table(records: Records) -> Table | None:
    """Settings down, accuracies across: the highest multiples of `STRIDE` that any run reaches."""
    if records.history.empty:
        return None
    highest = int(100 * records.history[records.curve].max() / STRIDE) * STRIDE
    lowest = highest - STRIDE * (LEVELS - 1)
    levels = [level for level in range(lowest, highest + 1, STRIDE) if level > 0]
    if not levels:
        return None
    runs = with_labels(records.runs)
    recorded = runs[~runs["missing"].astype(bool)].groupby(["network", "label"], sort=False)
    rows = [
        {"network": network, "label": label, **_reaching(records, of_one["run"], level)}
        for (network, label), of_one in recorded
        for level in levels
    ]
    numbers = pd.DataFrame(rows)
    cells = numbers.assign(cell=[_cell(row) for row in numbers.itertuples()])
    shown = cells.set_index(["network", "label", "level"])["cell"].unstack(sort=False).reset_index()
    shown.columns = ["network", "optimizer", *(f"to {level} %" for level in levels)]
    shown["network"] = shown["network"].map(NETWORKS)
    if shown["network"].nunique() == 1:
        del shown["network"]
    return Table(
        "images",
        "Training images to reach an accuracy",
        f"Until the {SPLITS[records.curve]} accuracy is first reached, between epochs by linear "
        "interpolation; geometric mean over seeds, in brackets its 95 % interval. A run that never "
        "gets there, or does so within its first epoch, bounds the number on one side only.",
        numbers,
        shown,
    )


def _reaching(records: Records, runs: pd.Series, level: float) -> dict:
    bounds = np.array([images_of_run(records, run, level) for run in runs])
    with np.errstate(divide="ignore"):
        found = bounded_interval(*np.log(bounds).T)
    return {
        "level": level,
        "mean": np.exp(found.value),
        "low": np.exp(found.low),
        "high": np.exp(found.high),
        "n": found.n,
        "never": int(np.isinf(bounds[:, 1]).sum()),
        "at_once": int((bounds[:, 0] == 0).sum()),
        "metric": records.curve,
        "runs": joined(runs),
    }


def sooner(records: Records, runs: pd.DataFrame, one: str, other: str) -> str:
    """Which of two settings learns sooner, in words.

    At the highest multiple of `STRIDE` that all their runs reach, and none within its first epoch.

    Args:
        records: of the experiment.
        runs: those of the two that have a record, with a column "label".
        one, other: their labels.

    Returns:
        A sentence without its full stop; "" where there is no such accuracy.
    """
    if records.history.empty:
        return ""
    for level in range(100 - STRIDE, 0, -STRIDE):
        bounds = np.array([images_of_run(records, run, level) for run in runs["run"]])
        if (bounds[:, 0] == bounds[:, 1]).all():
            break
    else:
        return ""
    model = Model.of(runs.assign(images=np.log(bounds[:, 0])), "images", "label")
    slow, fast = (one, other) if model.means[one] > model.means[other] else (other, one)
    found = model.contrast({slow: 1.0, fast: -1.0})
    ratio = np.exp(found.estimate)
    many = f"{times(ratio)} times as many" if ratio >= 1.05 else "about as many"
    text = (
        f"{spoken(slow)} needs {many} images as {spoken(fast)} to reach a "
        f"{SPLITS[records.curve]} accuracy of {level} %"
    )
    if pd.isna(found.low):
        return text
    chance = ", which may be chance" if found.low <= 0 else ""
    return f"{text} [{times(np.exp(found.low))} to {times(np.exp(found.high))}]{chance}"


def _cell(row) -> str:
    if row.never:
        return f"never in {row.never} of {row.n}"
    if row.at_once:
        return f"first epoch in {row.at_once} of {row.n}"
    interval = "" if pd.isna(row.low) else f" ({_images(row.low)} to {_images(row.high)})"
    return _images(row.mean) + interval


def _images(count: float) -> str:
    return EngFormatter(places=1 if count >= 1000 else 0, sep="")(count)
