"""The section `claims`: what the papers claim, and the comparisons that decide it."""

from typing import Annotated, Literal

from pydantic import Field

from .settings import NonNegative, Strict

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
# accuracy: difference in points. images: how many times as many training images it takes to reach
# an accuracy.
# spread: standard deviation over the settings of a grid, in points. share: percentage of a grid's
# settings within 2 points of the best.
Measure = Literal["accuracy", "images", "spread", "share"]
Selection = Annotated[
    dict[
        Literal["arm", "network", "norm", "optimizer"],
        Annotated[list[str], Field(min_length=1)],
    ],
    Field(min_length=1),
]


class Margins(Strict):
    """Up to which size a difference counts as none, for each measure.

    Attributes:
        accuracy, spread: in points.
        images: up to how many times as many count as the same, 1 or more.
        share: in points of percentage.
    """

    accuracy: NonNegative
    images: Annotated[float, Field(ge=1)]
    spread: NonNegative
    share: NonNegative


class Comparison(Strict):
    """Some runs of an experiment against others; favourable where `of` is the better.

    Attributes:
        experiment: its name.
        measure: what is compared.
        of, against: column of the run table -> values that its runs have there.
        paired_by: columns in which the two runs of a pair agree (not read by spread and share,
            which pair grids cell by cell).
        part: comparisons with the same part are alternatives; by default each stands for itself.
        remark: what a reader should know of it besides.
        withdrawn: a sentence that says why it counts for nothing; by default it counts.
    """

    experiment: Name
    measure: Measure
    of: Selection
    against: Selection
    paired_by: Annotated[
        list[Literal["seed", "arm", "network", "norm", "optimizer"]], Field(min_length=1)
    ] = ["seed"]
    part: Name | None = None
    remark: Text | None = None
    withdrawn: Text | None = None


class Claim(Strict):
    """A claim: what it says, when it counts as supported in one sentence, and what decides it.

    `withdrawn` withdraws all its comparisons; see there.
    """

    claim: Text
    criterion: Text
    comparisons: Annotated[dict[Name, Comparison], Field(min_length=1)]
    withdrawn: Text | None = None


class Claims(Strict):
    """All claims, with what they share.

    Attributes:
        margins: see there.
        levels: accuracies in percent that the measure `images` is taken at, one by one.
        statements: label -> claim.
    """

    margins: Margins
    levels: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(min_length=1)]
    statements: dict[Annotated[str, Field(pattern=r"^C[1-9][0-9]*$")], Claim]
