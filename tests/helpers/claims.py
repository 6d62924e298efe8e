"""Claims made up for tests, and values to judge them by."""

from scipy import stats
from synthetic import arms, made_up

from bop2ndorder.study.analysis.verdicts.judging import judge
from bop2ndorder.study.config.claims import Claims


def claims_of(**primary):
    """Claims with a primary comparison each, by label."""
    named = {"claim": "It is so.", "criterion": "It is found."}
    comparisons = {
        label: {"experiment": "cifar10", "measure": "accuracy", "planned": 6,
                "of": {"arm": of}, "against": {"arm": against}}
        for label, (of, against) in primary.items()
    }  # fmt: skip
    return Claims.model_validate(
        {
            "margin": 1.0,
            "first_seed": 0,
            "levels": [50],
            "plan": {"document": "docs/plan.md", "commit": "a" * 40, "deviations": 2},
            "statements": {
                label: {**named, "primary": {"it": it}} for label, it in comparisons.items()
            },
        }
    )


def six(mean, deviation=0.3):
    """Six seeds with this mean."""
    return (mean + deviation * stats.zscore([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])).tolist()


def of_two(**accuracies):
    """A claim that b and c are above a, and the records that it is judged by."""
    claims = claims_of(C1=(["b"], ["a"]))
    other = claims.statements["C1"].primary["it"].model_copy(update={"of": {"arm": ["c"]}})
    claims.statements["C1"].primary["other"] = other
    return claims, {"cifar10": made_up("cifar10", arms(**accuracies))}


def both(**accuracies):
    """The same, judged."""
    return judge(*of_two(**accuracies)).set_index("comparison")
