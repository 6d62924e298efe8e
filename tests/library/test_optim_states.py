"""What the optimizers keep: through saving and hooks, and what a group may become later."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from optimizers import assert_same_state, every_optimizer, parameter, step, train
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


def test_a_group_that_is_refused_for_any_reason_is_not_kept(monkeypatch):
    flip = Bop([parameter(4)])
    with pytest.raises(ValueError, match="on the meta device weights have no values"):
        flip.add_param_group({"params": [nn.Parameter(torch.ones(3, device="meta"))]})
    monkeypatch.setattr(Bop, "_check", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError):
        flip.add_param_group({"params": [parameter(3)]})
    assert len(flip.param_groups) == 1


@every_optimizer
def test_optimizers_that_went_on_from_one_state_share_nothing(make):
    first = make([parameter(40)])
    step(first, 0)
    state = first.state_dict()
    one, other = make([parameter(40)]), make([parameter(40)])
    for optimizer in (one, other):
        optimizer.load_state_dict(state)
    kept = copy.deepcopy(other.state_dict())
    step(one, 1)
    step(first, 2)
    (p,) = other.param_groups[0]["params"]
    for name, value in kept["state"][0].items():
        assert torch.equal(torch.as_tensor(other.state[p][name]), torch.as_tensor(value)), name


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_resuming_equals_never_having_stopped(make, dtype):
    through = make([parameter(30, dtype=dtype), parameter(4, 5, dtype=dtype)])
    expected = train(through)
    first = make([parameter(30, dtype=dtype), parameter(4, 5, dtype=dtype)])
    weights = train(first, range(12))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = make([nn.Parameter(w) for w in weights])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert_same_state(resumed, first)
    assert all(map(torch.equal, train(resumed, range(12, 30)), expected))
    assert_same_state(resumed, through)


@every_optimizer
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_their_own_way(make, copied):
    original = make([parameter(50)])
    before = train(original, range(10))
    other = copied(original)
    expected = train(original, range(10, 20))
    assert not torch.equal(expected[0], before[0])
    assert torch.equal(other.param_groups[0]["params"][0], before[0])
    assert torch.equal(train(other, range(10, 20))[0], expected[0])
    assert_same_state(other, original)


@every_optimizer
def test_hooks_decide_what_is_loaded(make):
    """As where the same weights stand in another order, which torch tells by their names."""
    weights = [parameter(30), parameter(30, seed=1)]
    saved = make(weights)
    train(saved, range(3))
    swapped = make(weights[::-1])
    swapped.register_load_state_dict_pre_hook(
        lambda _, given: {**given, "state": {0: given["state"][1], 1: given["state"][0]}}
    )
    swapped.load_state_dict(saved.state_dict())
    for weight in weights:
        assert torch.equal(swapped.state[weight]["m"], saved.state[weight]["m"])


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_are_numbers(number):
    value = number(1)
    optimizer = Bop2ndOrder([parameter(50)], gamma=value, sigma=value, bias_correction="adam")
    plain = Bop2ndOrder([parameter(50)], gamma=1.0, sigma=1.0, bias_correction="adam")
    for made in (optimizer, plain):
        step(made, 0)
    assert torch.equal(optimizer.param_groups[0]["params"][0], plain.param_groups[0]["params"][0])
    assert type(next(iter(optimizer.state.values()))["a"]) is float
    with pytest.raises(TypeError, match="gamma must be a number, got True"):
        Bop([parameter(2)], gamma=True)
