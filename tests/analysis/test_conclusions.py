"""What can and cannot be concluded, in sentences: of claims that are made up."""

import math

import pytest
from claims import both, claims_of, of_two, six
from synthetic import arms, made_up

from bop2ndorder.study.analysis.verdicts.conclusions import conclusions
from bop2ndorder.study.analysis.verdicts.judging import OVERALL, judge, vary

YES, NO, SAME, OPEN = "supported", "contradicted", "equivalent", "undecided"


def test_how_it_would_have_been_judged_otherwise_is_said():
    claims = claims_of(C1=(["b"], ["a"]), C2=(["b"], ["gone"]))
    rows = arms(a=six(60), b=six(62)[::-1], d=six(66, 5)[3:])
    records = {"cifar10": made_up("cifar10", rows)}
    said = conclusions(judge(claims, records), vary(claims, records))
    assert "is left undecided" in said[0] and said[0].endswith(
        " Judged otherwise it would be supported (Welch's test; one value a seed)."
    )
    assert "Judged otherwise" not in said[1], "of what nothing is known"
    assert "counts what cannot be judged yet (C2) as if it found nothing" in said[-1]


def test_a_part_without_its_seeds_leaves_the_claim_without_a_p():
    """Also where the part that has them speaks against it, and has the numbers of the row."""
    table = both(a=six(60), b=six(60.1)[::-1], c=six(62)[:3])
    assert table.loc[OVERALL, "why"] == "3 of 6 planned seeds"
    assert math.isnan(table.loc[OVERALL, "p_holm"]) and table.loc[OVERALL, "verdict"] == OPEN
    assert "cannot be judged yet" in conclusions(table.reset_index())[0]


def test_the_spread_is_said_beside_the_mean():
    claims = claims_of(C1=(["b", "c"], ["a", "d"]))
    it = claims.statements["C1"].primary["it"]
    claims.statements["C1"].secondary["spread"] = it.model_copy(update={"measure": "spread"})
    rows = arms(a=six(50), b=six(60)[::-1], c=six(62), d=six(58)[::-1])
    said = conclusions(judge(claims, {"cifar10": made_up("cifar10", rows)}))[0]
    assert "is supported" in said and "of a seed accuracy spreads by −4." in said
    assert "points (−" in said and "more with arm b, c than with arm a, d." in said
    arms_apart = claims.statements["C1"].primary["it"].model_copy(update={"planned": 3})
    unsure = claims_of(C1=(["b", "c"], ["a", "d"]))
    unsure.statements["C1"].secondary["spread"] = arms_apart.model_copy(
        update={"measure": "spread"}
    )
    rows = arms(a=six(60), b=six(60, 3)[::-1], c=six(61, 2), d=six(61)[::-1])
    said = conclusions(judge(unsure, {"cifar10": made_up("cifar10", rows)}))[0]
    assert "than with arm a, d, which may be chance." in said


def test_cells_of_a_grid_are_not_taken_for_repetitions_in_silence():
    """Cells agree, seeds do not: with a value a seed far less can be found."""
    claims = claims_of(C1=(["b", "c"], ["a", "d"]))
    rows = arms(a=six(60), d=six(60), b=six(60.5, 6)[::-1], c=six(60.5, 6)[::-1])
    records = {"cifar10": made_up("cifar10", rows)}
    table, varied = judge(claims, records), vary(claims, records)
    alone = varied.set_index("variation").loc["one value a seed", "why"]
    assert f" Were each seed counted as one value, {alone}." in conclusions(table, varied)[0]
    one = claims_of(C1=(["b"], ["a"]))
    pair = {"cifar10": made_up("cifar10", arms(a=six(60), b=six(60.5, 6)[::-1]))}
    said = conclusions(judge(one, pair), vary(one, pair))[0]
    assert "as one value" not in said, "where it is the same"


def test_of_two_comparisons_that_must_hold_the_one_that_does_not_is_named():
    """Each has the word of its own sign; the claim has the numbers of what speaks against it."""
    table = both(a=six(60), b=six(62)[::-1], c=six(56)[::-1])
    assert table["verdict"].to_dict() == {OVERALL: NO, "it": YES, "other": NO}
    assert table.loc[OVERALL, "why"] == "by 1 of its 2 comparisons, other"
    assert table.loc[OVERALL, "estimate"] == table.loc["other", "estimate"] == pytest.approx(-4)
    assert table["p_holm"].nunique() == 1
    (sentence, *_) = conclusions(table.reset_index())
    assert "is contradicted, by 1 of its 2 comparisons, other: +2.0 points [" in sentence
    table = both(a=six(60), b=six(56)[::-1], c=six(56.5)[::-1])
    assert set(table["verdict"]) == {NO} and table.loc[OVERALL, "why"] == ""


def test_what_secondary_comparisons_found_is_said_once_their_seeds_are_there():
    claims = claims_of(C1=(["b"], ["a"]))
    it = claims.statements["C1"].primary["it"]
    for name, against, planned in (("b_less_c", "c", 6), ("wide", "d", 6), ("few", "e", 6)):
        other = it.model_copy(update={"against": {"arm": [against]}, "planned": planned})
        claims.statements["C1"].secondary[name] = other
    rows = arms(a=six(60), b=six(62), c=six(62), d=six(64), e=six(62)[:3])
    table = judge(claims, {"cifar10": made_up("cifar10", rows)})
    said = conclusions(table)[0]
    by_name = table.set_index("comparison")
    low, high = by_name.loc["wide", ["low", "high"]].astype(float)
    assert by_name.loc["b_less_c", "verdict"] == SAME
    assert " Secondary, each judged alone, and deciding nothing: b less c " in said
    assert said.endswith(f"; wide −2.0 points [−{-low:.1f} to −{-high:.1f}], below 0.")
    alone = table[table["comparison"].isin([OVERALL, "it"])]
    assert "Secondary" not in conclusions(alone)[0]


def test_a_part_that_hangs_by_a_thread_is_told_from_the_one_that_contradicts():
    """c varies more than the others, so that Welch's test finds less of it."""
    for c, said in ((six(63, 3), ", which does not contradict it"), (six(57, 3), "")):
        values = {"a": six(60), "b": six(56)[::-1], "c": c[::-1], "d": six(70), "e": six(70)}
        claims, records = of_two(**values)
        sentence = conclusions(judge(claims, records), vary(claims, records))[0]
        assert "is contradicted" in sentence and f"its comparison other{said} (Welch" in sentence
        assert ("does not contradict" in sentence) == bool(said)
