"""The forest plot: every comparison where its numbers say, the primary ones marked."""

from math import inf, nan

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bop2ndorder.study.analysis.verdicts.forest import COLOURS, OPEN, forest

COLUMNS = (
    "claim", "comparison", "primary", "statement", "experiment", "data", "measure", "level",
    "verdict", "estimate", "low", "high", "holm_low", "holm_high", "margin",
)  # fmt: skip
POINTS, SUBSET = "accuracy", "Imagenette (a subset)"
ROWS = [
    ("C1", "overall", True, "It is faster.", "cifar10", "", POINTS, nan, "contradicted",
     -2.0, -3, -1, -3.5, -0.5, 1.0),
    ("C1", "other", False, None, "rules", "CIFAR-10", POINTS, nan, "undecided",
     0.5, -9, 10, nan, nan, 1.0),
    ("C1", "first", True, None, "cifar10", "CIFAR-10 (JPEG copies)", POINTS, nan, "contradicted",
     -2.0, -3, -1, -3.5, -0.5, 1.0),
    ("C1", "images", False, None, "cifar10", "CIFAR-10", "images", 40, "",
     4.0, 3, 5, nan, nan, 1.0),
    ("C1", "images", False, None, "cifar10", "CIFAR-10", "images", 50, "",
     nan, 2, inf, nan, nan, 1.0),
    ("C1", "images", False, None, "cifar10", "CIFAR-10", "images", 60, "",
     nan, 0, inf, nan, nan, 1.0),
    ("C2", "overall", True, "It is better.", "imagenet", "", POINTS, nan, "undecided",
     nan, nan, nan, nan, nan, 1.0),
    ("C2", "small", True, None, "imagenet", SUBSET, POINTS, nan, "undecided",
     nan, nan, nan, nan, nan, 1.0),
]  # fmt: skip


def table_of(rows):
    return pd.DataFrame(rows, columns=COLUMNS).assign(n=8, planned=8)


@pytest.fixture(scope="module")
def picture():
    return forest(table_of(ROWS))


def marks(axes, shapes):
    """(x, y, colour) of the markers of these shapes."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_color())
        for line in axes.lines
        if line.get_marker() in shapes
    ]


def texts(axes):
    return {text.get_text(): text for text in axes.texts}


def test_effects_stand_where_their_numbers_say(picture):
    points, images = picture.figure.axes
    # Lines: heading, first, other; heading, small.
    assert marks(points, "D")[0] == (-2.0, 1, COLOURS["contradicted"])
    assert marks(points, "o") == [(0.5, 2, OPEN)]
    assert [y for _, y, _ in marks(images, "o")] == [1, 2, 3]
    assert marks(images, "o")[0][0] == 4.0
    spans = {tuple(line.get_xdata()) for line in points.lines if len(line.get_xdata()) == 2}
    assert {(-3, -1), (-3.5, -0.5)} <= spans, "of 95 %, and after Holm's correction"


def test_what_goes_on_beyond_the_axis_has_an_arrow(picture):
    points, images = picture.figure.axes
    left, right = points.get_xlim()
    assert -9 < left < -3.5 and {x for x, _, _ in marks(points, "<>")} == {left, right}
    assert images.xaxis_inverted(), "fewer images speak for the claim, and lie to the right"
    ends = [(end, y) for end, y, _ in marks(images, "<>")]
    most, least = images.get_xlim()
    assert ends == [(most, 2), (least, 3), (most, 3)], "of what is unknown both"


def test_what_lies_far_out_does_not_hide_where_the_others_end():
    """A primary interval is whole, unless it reaches 2.5 times as far as the median one."""
    far = [list(row) for row in ROWS]
    far[2][9:14] = -15.3, -16.0, -14.5, -16.4, -14.1
    near = [*ROWS[2][:1], "second", *ROWS[2][2:9], 0.5, -1, 2, -2, 3, 1.0]
    axes = forest(table_of([*far, near, [*near[:1], "third", *near[2:]]])).figure.axes[0]
    left, right = axes.get_xlim()
    assert (left, right) == pytest.approx((-3.45, 3.45))
    [y] = {y for x, y, _ in marks(axes, "D") if x == -15.3}
    assert (left, y) in {(x, y) for x, y, _ in marks(axes, "<")}, "an arrow for what is not seen"


def test_effects_without_any_interval_are_drawn():
    lone = [list(row) for row in ROWS[:3]]
    for row in lone:
        row[10:14] = [nan] * 4
    axes = forest(table_of(lone)).figure.axes[0]
    assert axes.get_xlim() == pytest.approx((-2.3, 2.3)) and marks(axes, "D")[0][0] == -2.0


def test_numbers_of_two_digits_leave_room_for_the_verdict():
    rows = [list(row) for row in ROWS]
    rows[2][9:14] = -15.3, -16.0, -14.5, -16.4, -14.1
    figure = forest(table_of(rows)).figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    words = figure.axes[0].texts
    (at,) = (i for i, text in enumerate(words) if text.get_text() == "−15.3 (−16.0 to −14.5)")
    name, effect, verdict = (text.get_window_extent(renderer) for text in words[at - 1 : at + 2])
    assert name.x1 < effect.x0 and effect.x1 + 10 < verdict.x0


def test_words_stand_beside_colours_and_images_have_their_name(picture):
    points, images = picture.figure.axes
    said = texts(points)
    assert {"C1  It is faster.", "C2  It is better.", "other (rules)", "undecided"} <= set(said)
    assert said["first (CIFAR-10)"].get_weight() == "bold" != said["other (rules)"].get_weight()
    assert "small (Imagenette)" in said and "not recorded" in said
    assert "−2.0 (−3.0 to −1.0)" in said
    assert {
        "images to 40 % (CIFAR-10)",
        "4.0 times as many",
        "at least 2.0 times",
        "unknown",
    } <= set(texts(images))
    assert "C1, first (CIFAR-10), −2.0 (−3.0 to −1.0), contradicted; C2, small" in picture.seen
    assert "below the margin, 1 point, which" in picture.caption


def test_what_lacks_seeds_says_how_many_it_has_instead_of_a_verdict():
    table = table_of(ROWS)
    table.loc[table["comparison"] == "other", "n"] = 3
    said = texts(forest(table).figure.axes[0])
    assert "3 of 8 seeds" in said and "contradicted" in said


def test_nothing_is_drawn_where_nothing_is_recorded():
    table = table_of(ROWS)
    assert forest(table[table["claim"] == "C2"]) is None
