"""The optimizers and schedules against the authors' released code, step by step."""

import numpy as np
import pytest
import torch
from released import optimizer, schedule, vectors

from bop2ndorder.schedules import set_hyperparameters

pytestmark = pytest.mark.fidelity

GOLDEN, CASES = vectors("optimizer_steps")


@pytest.mark.parametrize("case", CASES)
def test_every_step(case, device, deviation):
    settings = dict(CASES[case])
    weight = torch.nn.Parameter(torch.from_numpy(GOLDEN[f"{case}/w0"]).float().to(device))
    flip = optimizer(settings.pop("optimizer"), weight)
    schedules = {name: schedule(setting) for name, setting in settings.items()}
    flips = 0
    for step, grad in enumerate(GOLDEN[f"{case}/grads"]):
        set_hyperparameters(flip, schedules, step)
        weight.grad = torch.from_numpy(grad).to(device)
        flip.step()
        given = torch.from_numpy(GOLDEN[f"{case}/weights"][step])
        assert torch.equal(weight.detach().cpu(), given.float()), f"weights differ at step {step}"
        state = flip.state[weight]
        for moment in flip.moments:
            expected = GOLDEN[f"{case}/{moment}"][step]
            limit = 5e-3 if (case, moment) == ("biased_polynomial", "v") else 1e-5
            error = np.abs(state[moment].cpu().numpy() - expected).max() / np.abs(expected).max()
            deviation(f"optimizer {case} {moment}", error, limit)
        flips = int(state["flips"])
    weights = np.concatenate([GOLDEN[f"{case}/w0"][None], GOLDEN[f"{case}/weights"]])
    assert flips == (np.diff(weights, axis=0) != 0).sum() > 0
