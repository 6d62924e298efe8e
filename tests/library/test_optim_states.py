"""What the optimizers keep: through saving and hooks, and what a group may become later."""

import io

import numpy as np
import pytest
import torch
from optimizers import every_optimizer, parameter, step, train
from torch import nn

from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.schedules import Constant, set_hyperparameters


def test_adam_s_correction_does_not_begin_in_the_middle():
    """Its corrections would start from 0, beside moments that have settled."""
    flip = Bop2ndOrder([parameter(20)], gamma=0.1, sigma=0.1)
    step(flip, 0)
    flip.param_groups[0]["bias_correction"] = "adam"
    with pytest.raises(ValueError, match="set to 'adam' after steps without it"):
        step(flip, 1)
    before = Bop2ndOrder([parameter(20)], gamma=0.1, sigma=0.1)
    before.param_groups[0]["bias_correction"] = "adam"
    step(before, 0)
    assert before.state[before.param_groups[0]["params"][0]]["a"] == pytest.approx(0.1)


@every_optimizer
def test_hooks_after_loading_have_the_last_word(make):
    saved, loaded = make([parameter(20)]), make([parameter(20)])
    train(saved, range(3))
    weight = loaded.param_groups[0]["params"][0]
    loaded.register_load_state_dict_post_hook(
        lambda optimizer: optimizer.state[weight]["m"].zero_()
    )
    loaded.load_state_dict(saved.state_dict())
    assert not loaded.state[weight]["m"].any()
    assert next(iter(saved.state.values()))["m"].any(), "whose state is not theirs to change"
    assert loaded.state[weight]["flips"] == next(iter(saved.state.values()))["flips"]


def test_numbers_of_numpy_pass_through_a_file():
    """torch.load takes no others than Python's."""
    flip = Bop([parameter(4)], gamma=np.float64(0.1), threshold=np.float32(0.5))
    set_hyperparameters(flip, {"lr": Constant(np.float32(0.25))}, 0)
    file = io.BytesIO()
    torch.save(flip.state_dict(), file)
    file.seek(0)
    (group,) = torch.load(file, weights_only=True)["param_groups"]
    assert (group["gamma"], group["threshold"], group["lr"]) == (0.1, 0.5, 0.25)


def test_a_group_that_is_refused_for_any_reason_is_not_kept():
    flip = Bop([parameter(4)])
    with pytest.raises(ValueError, match="on the meta device weights have no values"):
        flip.add_param_group({"params": [nn.Parameter(torch.ones(3, device="meta"))]})
    assert len(flip.param_groups) == 1
