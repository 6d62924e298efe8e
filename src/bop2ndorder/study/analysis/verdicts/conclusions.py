"""What can and what cannot be concluded, in sentences filled from the verdicts."""

import pandas as pd

from ..exhibits import signed, signed_interval
from .claims import statements
from .deciding import CONTRADICTED, EQUIVALENT, SUPPORTED, UNDECIDED, VERDICTS, points
from .judging import BY_SEED, OVERALL

# Measures of accuracy itself.
POINTS = ("accuracy", "mean_validation_accuracy")


def conclusions(table: pd.DataFrame, varied: pd.DataFrame | None = None) -> list[str]:
    """One sentence or more a claim, then what holds for all.

    Args:
        table: of `read_claims`.
        varied: of `read_sensitivity`: what another way of judging would change is said.
    """
    found = [
        _of_claim(row, table)
        + _beside(row, table)
        + otherwise(row, table, varied)
        + _secondary(row, table)
        for row in statements(table).itertuples()
    ]
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


def _beside(row, table: pd.DataFrame) -> str:
    """How far accuracy spreads, which a claim about a grid's mean is read with."""
    spread = table[(table["claim"] == row.claim) & (table["measure"] == "spread")]
    return "".join(
        f" Over the settings of a seed accuracy spreads by {signed(-one.estimate)} points "
        f"({signed_interval(-one.high, -one.low)}) more with {one.of} than with {one.against}"
        f"{', which may be chance' if one.low <= 0 <= one.high else ''}."
        for one in spread.dropna(subset=["low"]).itertuples()
    )


def otherwise(row, table: pd.DataFrame, varied: pd.DataFrame | None) -> str:
    """What other ways of judging a claim that is judged would have said.

    Which lead to another verdict; and where it stays undecided, what could have been found by one
    value a seed, which counts the cells of a grid as no repetitions.
    """
    if varied is None or pd.isna(row.p_holm):
        return ""
    ways = varied[(varied["claim"] == row.claim) & varied["verdict"].isin(VERDICTS)]
    by_way = ways.set_index("variation")
    said = ""
    if BY_SEED in by_way.index and row.verdict == by_way.loc[BY_SEED, "verdict"] == UNDECIDED:
        why = by_way.loc[BY_SEED, "why"]
        said = f" Were each seed counted as one value, {why}." if why != row.why else ""
    other = ways[ways["verdict"] != row.verdict]
    by = pd.Series(
        [_otherwise(one, row, table) for one in other.itertuples()], other.index, dtype=str
    )
    found = [f"{verdict} ({'; '.join(how)})" for verdict, how in other.groupby(by)["variation"]]
    return said + (f" Judged otherwise it would be {' or '.join(found)}." if found else "")


def _otherwise(way, row, table: pd.DataFrame) -> str:
    """Another verdict, how small its effect is, and which comparison it hangs on."""
    small = f", {way.why}" if way.why and way.verdict in (SUPPORTED, CONTRADICTED) else ""
    if not way.open:
        return way.verdict + small
    part = table[(table["claim"] == row.claim) & (table["comparison"] == way.open)]
    innocent = row.verdict == CONTRADICTED and (part["verdict"] != CONTRADICTED).all()
    name = way.open.replace("_", " ")
    which = ", which does not contradict it" if innocent else ""
    return f"{way.verdict} for its comparison {name}{which}"


def _secondary(row, table: pd.DataFrame) -> str:
    """What the claim's secondary comparisons found, of those that have all planned seeds."""
    others = table[(table["claim"] == row.claim) & ~table["primary"].astype(bool)]
    others = others[others["measure"].isin(POINTS) & (others["n"] >= others["planned"])]
    found = [
        f"{one.comparison.replace('_', ' ')} {signed(one.estimate)} points "
        f"[{signed_interval(one.low, one.high)}], {one.verdict}"
        for one in others.dropna(subset=["low"]).itertuples()
    ]
    if not found:
        return ""
    return f" Secondary, each judged alone, and deciding nothing: {'; '.join(found)}."


def _effect(part) -> str:
    if pd.isna(part.low):
        return f"{signed(part.estimate)} points in {part.experiment}, without an interval"
    return (
        f"{signed(part.estimate)} points [{corrected_interval(part)}] in {part.experiment} "
        f"({part.of} less {part.against})"
    )


def corrected_interval(part) -> str:
    """The interval of a primary comparison, after Holm's correction where there is one."""
    if pd.isna(part.holm_low):
        return signed_interval(part.low, part.high)
    return f"{signed_interval(part.holm_low, part.holm_high)} after Holm"


def _of_all(table: pd.DataFrame) -> list[str]:
    """What no verdict says."""
    compared = table[(table["comparison"] != OVERALL) & (table["measure"] != "images")]
    judged = compared[compared["n"] >= compared["planned"]]
    whole = f"{len(judged)} of {len(compared)} comparisons have all planned seeds."
    claims = statements(table)
    out = claims["p_holm"].isna()
    open_still = (~out & (claims["verdict"] == UNDECIDED)).any()
    if out.any() and open_still:
        whole += (
            " Holm's correction counts what cannot be judged yet "
            f"({', '.join(claims['claim'][out])}) as if it found nothing; once it is judged, a "
            "claim that is undecided now may be decided."
        )
    compared = judged[judged["detectable"].notna()]
    if compared.empty:
        return [whole]
    data = " and ".join(dict.fromkeys(compared["data"]))
    primary = compared["primary"].astype(bool)
    found = compared["detectable"].where(~primary, compared["detectable_holm"])
    least, most = (f"{found.agg(end):.1f}" for end in ("min", "max"))
    missed = least if least == most else f"{least} to {most}"
    same = ""
    if (compared["verdict"] == EQUIVALENT).any():
        margin = points(compared["margin"].iloc[0])
        same = f" What was found equivalent contradicts no published difference within {margin}."
    return [
        f"All of this is said of {data}, and of the networks and lengths that this scale trains; "
        "whether it holds for wider networks, it cannot tell, nor for longer trainings, but for "
        "what the experiment on length shows of a narrow network.",
        f"Effects smaller than {missed} points, by comparison, are missed more "
        f"than once in five.{same}",
        whole,
    ]
