"""Verdicts of simulated studies, whose truth is known: does chance do what the numbers say?

Each share is held to what it should be by a binomial test that a correct method fails once in ten
thousand times. 200 simulations each; `make test-statistics` runs 1,000 and prints what it finds.
"""

import os
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bop2ndorder.study.analysis.statistics import Contrast, Model, difference, welch
from bop2ndorder.study.analysis.verdicts.deciding import Primary, judge_together

SIMULATIONS = int(os.environ.get("SIMULATIONS", "200"))
FALSE_ALARM = 1e-4
CIFAR10 = {"biased": 16, "constant": 16, "adam": 16, "bop": 8, "latent": 5}
GRID = {f"{rule}{cell}": 3 for rule in ("new", "old") for cell in range(12)}
RULES = dict.fromkeys(["sign_a", "bop_a", "biased_a", "sign_b", "bop_b", "biased_b"], 8)


def study(chance, seeds=CIFAR10, deviation=1.0, **effects):
    """Accuracies of an experiment's runs: 50, an arm's effect, a seed's, and chance."""
    common = chance.normal(0, 1.5, max(seeds.values()))
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "accuracy": 50 + effects.get(arm, 0.0) + common[seed] + value}
        for arm, count in seeds.items()
        for seed, value in enumerate(chance.normal(0, deviation, count))
    )


def misjudged(contrasts, factor):
    """What a method would give that takes errors for so many times what they are."""
    return [Contrast(one.estimate, factor * one.se, one.df) for one in contrasts]


def contrast_of(runs, of="biased", against="bop"):
    return Model.of(runs).contrast(difference([of], [against]))


def p_of(found: int, expected: float, alternative: str = "two-sided") -> float:
    return stats.binomtest(found, SIMULATIONS, expected, alternative).pvalue


def holds(what: str, found: int, expected: float, alternative: str = "two-sided") -> None:
    print(f"{what}: {found / SIMULATIONS:.3f}, expected {expected:.3f}")
    assert p_of(found, expected, alternative) >= FALSE_ALARM, what


# Intervals


@cache
def simulated(estimated):
    """The contrast of each simulated study; always the same studies."""
    chance = np.random.default_rng(1)
    return [estimated(chance) for _ in range(SIMULATIONS)]


def covered(estimated, truth, factor=1.0):
    """How many 95 % intervals hold the truth."""
    return sum(one.low <= truth <= one.high for one in misjudged(simulated(estimated), factor))


def of_cifar10(chance):
    return contrast_of(study(chance, biased=0.7))


def of_grid(chance):
    """Mean of twelve cells less that of twelve others, of which half differ by 4."""
    effects = {f"new{cell}": 4.0 for cell in range(6)}
    weights = difference(*([f"{rule}{cell}" for cell in range(12)] for rule in ("new", "old")))
    return Model.of(study(chance, GRID, **effects)).contrast(weights)


def of_rules(chance):
    """The main effect of a schedule, over three rules."""
    sides = [[f"{rule}_{way}" for rule in ("sign", "bop", "biased")] for way in "ba"]
    runs = study(chance, RULES, sign_b=1.0, bop_b=1.0, biased_b=1.0, bop_a=3.0)
    return Model.of(runs).contrast(difference(*sides))


def by_welch(chance):
    """Arms whose spread differs threefold, which one variance for all would not allow."""
    runs = study(chance, {"biased": 8, "bop": 12})
    noisy = runs["accuracy"] + chance.normal(0, 3, len(runs)) * (runs["arm"] == "bop")
    return welch(runs.assign(accuracy=noisy), "accuracy", "arm", {"biased": 1, "bop": -1})


@pytest.mark.parametrize(
    ("estimated", "truth"), [(of_cifar10, 0.7), (of_grid, 2.0), (of_rules, 0.0), (by_welch, 0.0)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(estimated, truth):
    what = f"95 % intervals that hold the truth, {estimated.__name__}"
    holds(what, covered(estimated, truth), 0.95)


# Families of claims


@cache
def families(*effects):
    """The contrasts of five claims, each of an experiment of its own; the last needs two."""
    chance = np.random.default_rng(2)
    shapes = [CIFAR10, {"biased": 8, "bop": 8}, {"biased": 5, "bop": 10}, {"biased": 3, "bop": 3}]
    pair = dict.fromkeys(["biased", "bop", "new", "old"], 5)
    found = []
    for _ in range(SIMULATIONS):
        family = [
            [contrast_of(study(chance, seeds, biased=effect))]
            for seeds, effect in zip(shapes, effects, strict=False)
        ]
        both = study(chance, pair, biased=effects[4], new=effects[4])
        found.append([*family, [contrast_of(both), contrast_of(both, "new", "old")]])
    return found


def false_verdicts(effects, factor=1.0):
    """How many studies support or contradict a claim without an effect."""
    wrong = 0
    for family in families(*effects):
        primary = [Primary(misjudged(contrasts, factor)) for contrasts in family]
        verdicts = [found.verdict for found in judge_together(primary, margin=1.0)]
        wrong += any(
            verdict in ("supported", "contradicted")
            for verdict, effect in zip(verdicts, effects, strict=True)
            if not effect
        )
    return wrong


NO_EFFECT = (0.0,) * 5


@pytest.mark.parametrize("effects", [NO_EFFECT, (6.0, -6.0, 0.0, 0.0, 0.0)], ids=["none", "two"])
def test_holm_keeps_false_verdicts_of_a_whole_study_below_5_percent(effects):
    what = f"studies with {sum(map(bool, effects))} effects that find one that is not there"
    holds(what, false_verdicts(effects), 0.05, "greater")


# Power and equivalence

ERROR = 1.0  # of a run, in the simulations


@cache
def detectable():
    """The smallest effect that cifar10 finds in four of five cases, its true error known."""
    model = Model.of(study(np.random.default_rng(0)))
    found = model.contrast({"biased": 1, "bop": -1})
    return Contrast(0.0, found.se * ERROR / model.deviation, found.df).detectable()


def of_detectable(chance):
    return contrast_of(study(chance, biased=detectable()))


def detected(factor=1.0):
    found = misjudged(simulated(of_detectable), factor)
    return sum(one.p < 0.05 and one.estimate > 0 for one in found)


def test_the_smallest_detectable_effect_is_found_in_four_of_five_studies():
    print(f"smallest detectable effect: {detectable():.2f} points")
    holds("effects of that size that are found", detected(), 0.8)


def equivalent(effect, deviation):
    """How often biased and constant, 16 seeds each, count as equivalent at a margin of 1."""
    chance = np.random.default_rng(5)
    return sum(
        contrast_of(study(chance, deviation=deviation, biased=effect), "biased", "constant")
        .equivalence(1.0) < 0.05
        for _ in range(SIMULATIONS)
    )  # fmt: skip


def power_of_equivalence(deviation, df=40):
    """That two equal arms with 16 seeds each pass, over all variances that may be found."""
    error = deviation * (2 / 16) ** 0.5
    found = np.sqrt(stats.chi2(df).ppf((np.arange(4000) + 0.5) / 4000) / df) * error
    room = np.maximum(1.0 - stats.t(df).ppf(0.95) * found, 0) / error
    return float((2 * stats.norm.cdf(room) - 1).mean())


@pytest.mark.parametrize("deviation", [0.9, 1.2])
def test_arms_that_are_one_rule_count_as_equivalent_as_often_as_they_should(deviation):
    model = Model.of(study(np.random.default_rng(0)))
    expected = power_of_equivalence(deviation, model.df)
    what = f"pairs of one rule, standard deviation {deviation}, that are called equivalent"
    holds(what, equivalent(0.0, deviation), expected)


def test_arms_that_differ_by_the_margin_seldom_count_as_equivalent():
    holds("pairs 1 point apart that are called equivalent", equivalent(1.0, 1.2), 0.05, "greater")


def test_a_wrong_variance_is_found_out():
    """Negative control: with errors taken for 0.7 of what they are, each test above would fail."""
    assert p_of(covered(of_cifar10, 0.7, 0.7), 0.95) < FALSE_ALARM
    assert p_of(covered(of_grid, 2.0, 0.7), 0.95) < FALSE_ALARM
    assert p_of(false_verdicts(NO_EFFECT, 0.7), 0.05, "greater") < FALSE_ALARM
    assert p_of(detected(0.7), 0.8) < FALSE_ALARM
