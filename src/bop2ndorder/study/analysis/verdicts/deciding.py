"""How verdicts follow from contrasts: Holm's correction, equivalence, three words and a fourth.

Nothing here knows of records or of params.yaml.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.multitest import multipletests

from ..statistics import Contrast

LEVEL = 0.05
SUPPORTED, CONTRADICTED = "supported", "contradicted"
EQUIVALENT, UNDECIDED = "equivalent", "undecided"
VERDICTS = (SUPPORTED, CONTRADICTED, EQUIVALENT, UNDECIDED)


@dataclass(frozen=True)
class Verdict:
    """What was decided on a claim.

    Attributes:
        verdict: one of `VERDICTS`.
        why: the reason, in half a sentence.
        p, p_equivalent: two-sided, and of two one-sided tests against the margin; after correction.
        level: what intervals leave out, so that they agree with the corrected p.
    """

    verdict: str
    why: str
    p: float
    p_equivalent: float
    level: float = LEVEL


@dataclass(frozen=True)
class Primary:
    """The contrasts that decide a claim, all of which must hold.

    Attributes:
        contrasts: positive where they speak for the claim.
        lacks: why nothing can be decided yet; empty where it can.
    """

    contrasts: Sequence[Contrast]
    lacks: str = ""

    @property
    def p(self) -> float:
        """Two-sided; of several contrasts the largest (intersection-union test)."""
        return self._largest([contrast.p for contrast in self.contrasts])

    def equivalence(self, margin: float) -> float:
        """p of all effects being smaller than the margin; again the largest."""
        return self._largest([contrast.equivalence(margin) for contrast in self.contrasts])

    def _largest(self, found: list[float]) -> float:
        """1 where a test is still out: the others are corrected as if it found nothing."""
        return 1.0 if self.lacks or not found or np.isnan(found).any() else max(found)


def judge_together(
    tested: Sequence[Primary], margin: float, corrected: bool = True
) -> list[Verdict]:
    """A verdict for each claim of a family, with Holm's correction over all of them.

    Args:
        tested: the claims.
        margin: below which an effect is too small to matter, in points.
        corrected: False leaves the correction out.
    """
    ps = [one.p for one in tested]
    same = [one.equivalence(margin) for one in tested]
    after, after_same, levels = ps, same, [LEVEL] * len(ps)
    if corrected:
        after, after_same, levels = holm(ps), holm(same), holm_levels(ps)
    return [
        _verdict(one, p, p_same, level, margin, LEVEL / len(ps) if corrected else LEVEL)
        for one, p, p_same, level in zip(tested, after, after_same, levels, strict=True)
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Each p after Holm's correction over all."""
    return multipletests(ps, method="holm")[1].tolist()


def holm_levels(ps: Sequence[float]) -> list[float]:
    """At which level Holm's procedure tests each: 0.05 / n the smallest p, and so on.

    From the first that it does not reject on, the level stays. An interval that leaves out that
    much excludes 0 where, and only where, p after correction is below 0.05.
    """
    levels, count, place = [LEVEL] * len(ps), len(ps), 0
    for at in np.argsort(ps, kind="stable"):
        levels[at] = LEVEL / (count - place)
        if ps[at] < levels[at]:
            place += 1
    return levels


def _verdict(
    one: Primary, p: float, p_equivalent: float, level: float, margin: float, hardest: float
) -> Verdict:
    def found(verdict: str, why: str) -> Verdict:
        return Verdict(verdict, why, p, p_equivalent, level)

    if one.lacks:
        return found(UNDECIDED, one.lacks)
    if p < LEVEL:
        positive = all(contrast.estimate > 0 for contrast in one.contrasts)
        small = all(
            max(map(abs, contrast.interval(1 - 2 * LEVEL))) < margin for contrast in one.contrasts
        )
        why = f"by less than {points(margin)}" if small else ""
        return found(SUPPORTED if positive else CONTRADICTED, why)
    if p_equivalent < LEVEL:
        return found(EQUIVALENT, f"no difference of {points(margin)} or more")
    usual, worst = (
        max(contrast.detectable(at) for contrast in one.contrasts) for at in (LEVEL, hardest)
    )
    why = f"a difference of {usual:.1f} points would have been found four times in five"
    if hardest < LEVEL:
        why += f", one of {worst:.1f} after Holm's correction"
    return found(UNDECIDED, why)


def points(count: float) -> str:
    """1 point, 0.5 points."""
    return f"{count:g} point" if count == 1 else f"{count:g} points"
