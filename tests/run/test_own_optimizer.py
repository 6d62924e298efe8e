"""An optimizer with its own rule, added from outside the package, trains a run of the study."""

import pytest
import torch
from tiny import history, settings

from bop2ndorder.optim import FlipOptimizer
from bop2ndorder.study.run import updates
from bop2ndorder.study.run.train import train


class Vote(FlipOptimizer):
    """Each gradient votes by its sign; a weight flips when enough of the votes are against it."""

    moments = ("votes",)

    def __init__(self, params, gamma: float = 0.1, threshold: float = 0.5):
        super().__init__(params, {"gamma": gamma, "threshold": threshold})

    def update(self, parameter, state, group):
        state["votes"].lerp_(parameter.grad.sign(), group["gamma"])
        against = parameter * state["votes"] > group["threshold"]
        parameter[against] *= -1
        state["flips"] += against.sum()


RULE = {
    "name": "vote",
    "gamma": {"kind": "polynomial", "start": 0.5, "end": 0.1, "power": 1.0, "until": 1.0},
    "threshold": 0.4,
}


def test_its_schedules_flip_rates_and_checks_are_those_of_the_study(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(updates.FLIP_OPTIMIZERS, "vote", lambda binary, settings: Vote(binary))
    run = {**settings(), "optimizer": RULE}
    network, _ = train(run, digits, tmp_path / "run", tmp_path / "run.pt")
    rows = history(tmp_path / "run")
    assert float(rows[0]["flip_rate"]) > 0
    assert float(rows[0]["gamma"]) > float(rows[-1]["gamma"]) > 0.1
    assert {float(row["threshold"]) for row in rows} == {0.4}
    for name, weight in network.named_parameters():
        if "conv" in name and weight.dim() == 4:
            assert set(weight.unique().tolist()) <= {-1.0, 1.0}
    with pytest.raises(ValueError, match=r"Vote: gamma must be in \[0, 1\], got 2"):
        Vote([torch.nn.Parameter(torch.ones(3))], gamma=2)


def test_one_weight_by_hand():
    weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    vote = Vote([weight], gamma=0.5, threshold=0.4)
    for votes, expected in ((0.5, [-1, -1]), (0.75, [-1, -1])):
        weight.grad = torch.tensor([3.0, 0.1])
        vote.step()
        assert vote.state[weight]["votes"].tolist() == [votes, votes]
        assert weight.tolist() == expected
    assert vote.state[weight]["flips"] == 1
