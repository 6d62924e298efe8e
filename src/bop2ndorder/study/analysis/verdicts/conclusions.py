"""What can and what cannot be concluded, in sentences filled from the verdicts."""

import pandas as pd

from ..exhibits import signed, signed_interval
from .claims import statements
from .judging import OVERALL
from .rules import CONTRADICTED, EQUIVALENT, SUPPORTED, points


def conclusions(table: pd.DataFrame) -> list[str]:
    """One sentence or two a claim, then what holds for all; of the table of `read_claims`."""
    found = [_of_claim(row, table) for row in statements(table).itertuples()]
    return [*found, *_of_all(table)]


def _of_claim(row, table: pd.DataFrame) -> str:
    claim = f"{row.claim}, “{row.statement.removesuffix('.')}”"
    parts = table[(table["claim"] == row.claim) & table["primary"].astype(bool)]
    parts = parts[parts["comparison"] != OVERALL]
    found = " and ".join(_effect(part) for part in parts.itertuples())
    if row.verdict in (SUPPORTED, CONTRADICTED):
        how = f", {row.why}" if row.why else ""
        return f"{claim}, is {row.verdict}{how}: {found}."
    if row.verdict == EQUIVALENT:
        return (
            f"{claim}, is neither supported nor contradicted: {found}, a difference smaller than "
            f"{points(row.margin)} either way. One that small can still be there."
        )
    if pd.isna(row.estimate):
        return f"{claim}, cannot be judged: {row.why}."
    if pd.isna(row.p_holm):
        return f"{claim}, cannot be judged yet: {row.why}; {found} so far, which decides nothing."
    return (
        f"{claim}, is left undecided: {found}. An effect below {row.detectable:.1f} points (below "
        f"{row.detectable_holm:.1f} after the hardest correction) may well have been missed, and "
        "finding none is no sign that there is none."
    )


def _effect(part) -> str:
    if pd.isna(part.low):
        return f"{signed(part.estimate)} points in {part.experiment}, without an interval"
    low, high = (part.low, part.high) if pd.isna(part.holm_low) else (part.holm_low, part.holm_high)
    return (
        f"{signed(part.estimate)} points [{signed_interval(low, high)}] in {part.experiment} "
        f"({part.of} less {part.against})"
    )


def _of_all(table: pd.DataFrame) -> list[str]:
    """What no verdict says."""
    compared = table[(table["comparison"] != OVERALL) & (table["measure"] != "images")]
    judged = compared[compared["n"] >= compared["planned"]]
    whole = f"{len(judged)} of {len(compared)} comparisons have all planned seeds."
    compared = compared[compared["detectable"].notna()]
    if compared.empty:
        return [whole]
    data = " and ".join(dict.fromkeys(compared["data"]))
    margin = points(compared["margin"].iloc[0])
    least, most = (f"{compared['detectable'].agg(end):.1f}" for end in ("min", "max"))
    missed = least if least == most else f"{least} to {most}"
    return [
        f"All of this is said of {data}, and of the networks and lengths that this scale trains; "
        "whether it holds for wider networks or longer trainings, it cannot tell.",
        f"Effects smaller than {missed} points, by comparison, are missed more "
        f"than once in five; a published difference within {margin} is contradicted by no "
        "equivalence found here.",
        whole,
    ]
