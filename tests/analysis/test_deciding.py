"""Holm's correction, equivalence and the words that follow from both, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bop2ndorder.study.analysis.statistics import Contrast
from bop2ndorder.study.analysis.verdicts.deciding import Primary, holm, holm_levels, judge_together

YES, NO, SAME, OPEN = "supported", "contradicted", "equivalent", "undecided"


def test_holm_by_hand():
    ps = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert holm(ps) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    # 0.005 is below 0.05 / 5, 0.01 below 0.05 / 4; 0.03 is not below 0.05 / 3.
    third = 0.05 / 3
    assert holm_levels([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx(
        [0.0125, third, third, 0.01, third]
    )
    assert holm([]) == holm_levels([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=7))
def test_intervals_at_holms_levels_exclude_0_where_holm_rejects(ps):
    """A t interval at a level excludes 0 where p is below the level."""
    for p, corrected, level in zip(ps, holm(ps), holm_levels(ps), strict=True):
        assert (p < level) == (corrected < 0.05)


def one(estimate, se, df=14, lacks=""):
    return Primary([Contrast(estimate, se, df)], lacks)


@pytest.mark.parametrize(
    ("estimate", "se", "verdict", "why"),
    [
        (2.0, 0.5, YES, ""),  # t = 4
        (-2.0, 0.5, NO, ""),
        (0.5, 0.1, YES, "by less than 1 point"),  # 90 %: 0.5 +- 0.18
        (-0.5, 0.1, NO, "by less than 1 point"),
        (0.9, 0.1, YES, ""),  # 0.9 +- 0.18 goes beyond
        (0.1, 0.3, SAME, "no difference of 1 point or more"),  # (1 - 0.1) / 0.3 = 3
        (0.1, 0.6, OPEN, "a difference of 1.8 points would have been found four times in five"),
        (1.0, 0.5, OPEN, "a difference of 1.5 points would have been found four times in five"),
    ],
)
def test_a_verdict_by_hand(estimate, se, verdict, why):
    [found] = judge_together([one(estimate, se)], margin=1.0)
    assert (found.verdict, found.why) == (verdict, why)


def test_the_family_is_corrected_and_unfinished_tests_count_as_1():
    ps = [stats.t.sf(2.4, 14) * 2, stats.t.sf(4, 14) * 2]  # 0.031, 0.0013
    two = [one(2.4, 1.0), one(4.0, 1.0)]
    found = judge_together(two, margin=1.0)
    assert [f.p for f in found] == pytest.approx([ps[0], 2 * ps[1]])
    assert [f.verdict for f in found] == [YES, YES]
    found = judge_together([*two, one(9.0, 0.1, lacks="3 of 8 planned seeds")], margin=1.0)
    assert [f.p for f in found] == pytest.approx([2 * ps[0], 3 * ps[1], 1])
    assert [f.verdict for f in found] == [OPEN, YES, OPEN]
    assert found[0].why.endswith("five, one of 3.6 after Holm's correction")
    assert found[2].why == "3 of 8 planned seeds"
    assert [f.verdict for f in judge_together(two[:1] * 2, 1.0, corrected=False)] == [YES, YES]


def test_equivalence_is_corrected_too():
    same = one(0.0, 0.5)  # t = 2 against either margin: 0.033
    assert judge_together([same], 1.0)[0].verdict == SAME
    assert {found.verdict for found in judge_together([same, same], 1.0)} == {OPEN}
    assert judge_together([same, same], 2.0)[0].verdict == SAME


@pytest.mark.parametrize(
    ("pair", "verdict"),
    [
        ([(2.0, 0.5), (2.0, 0.4)], YES),
        ([(2.0, 0.5), (-2.0, 0.5)], NO),  # better with both normalizations
        ([(2.0, 0.5), (0.6, 0.5)], OPEN),
        ([(2.0, 0.5), (0.1, 0.2)], OPEN),  # the one is there, the other is none
        ([(0.2, 0.2), (0.1, 0.2)], SAME),
    ],
)
def test_a_conjunction_holds_where_both_do(pair, verdict):
    tested = Primary([Contrast(*both, 14) for both in pair])
    assert tested.p == max(contrast.p for contrast in tested.contrasts)
    assert judge_together([tested], 1.0)[0].verdict == verdict
