"""What examples/ shows works as it stands."""

import runpy


def test_digits_learns_and_keeps_every_weight_binary(capsys):
    """Ten epochs; guessing is right for a tenth of the images."""
    example = runpy.run_path("examples/digits.py")
    assert example["main"](epochs=10) > 0.8
    assert len(capsys.readouterr().out.splitlines()) == 10
