"""lr, a factor on gamma: schedulers, gradient scaler and clipping as with optimizers of torch.

Each scheduler is held against its formula, and the optimizer under it against one whose gamma is
set by hand and which is not called where lr is 0.
"""

import copy
import io
import math

import pytest
import torch
from optimizers import assert_same_state, every_optimizer, parameter, step, with_tensors
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import lr_scheduler

from bop2ndorder.binary import BinaryLinear, binary_parameters
from bop2ndorder.optim import Bop, Bop2ndOrder, FlipOptimizer

STEPS = 30
GAMMA = 0.1  # of all optimizers here


def cosine(done):
    return (1 + math.cos(math.pi * done)) / 2


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, max_lr=2, total_steps=STEPS, cycle_momentum=False)


def one_cycle_at(n):
    """Up to 2 in three tenths of the steps, then down to a ten-thousandth of the start."""
    first, top, last = 2 / 25, 2, 2 / 25 / 1e4
    if n <= 8:
        return top + (first - top) * cosine(n / 8)
    return last + (top - last) * cosine((n - 8) / 21)


def warm_up(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda n: n / 5)


# Name -> the scheduler of an optimizer; its formula.
SCHEDULERS = {
    "LambdaLR": (warm_up, lambda n: n / 5),
    "CosineAnnealingLR": (
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=20),
        lambda n: cosine(n / 20),
    ),
    "SequentialLR": (
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [warm_up(optimizer), lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)],
            milestones=[5],
        ),
        lambda n: n / 5 if n < 5 else cosine((n - 5) / 20),
    ),
    "OneCycleLR": (one_cycle, one_cycle_at),
    "ReduceLROnPlateau": (
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2),
        lambda n: 0.5 ** max((n - 1) // 3, 0),
    ),
}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)
numbers_and_tensors = pytest.mark.parametrize("form", [lambda o: o, with_tensors], ids=["", "t"])


def advance(scheduler, n):
    """After step n; a plateau is what a loss of 1 is."""
    if n < STEPS - 1:
        plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
        scheduler.step(*([1.0] if plateau else []))


def assert_same_moments(made, other):
    for state, expected in zip(made.state.values(), other.state.values(), strict=True):
        assert state.keys() == expected.keys()
        for name, value in state.items():
            dtype = value.dtype if isinstance(value, torch.Tensor) else torch.float64
            assert torch.equal(*(torch.as_tensor(v, dtype=dtype) for v in (value, expected[name])))


@every_optimizer
@every_scheduler
@numbers_and_tensors
def test_a_scheduler_does_what_gamma_set_by_hand_does(make, name, form):
    made, by_hand = form(make([parameter(40)])), make([parameter(40)])
    scheduler, formula = SCHEDULERS[name]
    scheduler = scheduler(made)
    for n in range(STEPS):
        lr = float(made.param_groups[0]["lr"])
        assert lr == pytest.approx(formula(n), abs=1e-12)
        step(made, n)
        if lr > 0:
            by_hand.param_groups[0]["gamma"] = GAMMA * lr
            step(by_hand, n)
        assert torch.equal(*(o.param_groups[0]["params"][0] for o in (made, by_hand)))
        advance(scheduler, n)
    assert_same_moments(made, by_hand)
    assert by_hand.state_dict()["state"][0]["flips"] > 20


@every_optimizer
@every_scheduler
@numbers_and_tensors
def test_resuming_with_a_scheduler_equals_never_having_stopped(make, name, form):
    def begin(weight):
        made = form(make([weight]))
        return made, SCHEDULERS[name][0](made)

    def go_on(made, scheduler, steps):
        for n in steps:
            step(made, n)
            advance(scheduler, n)

    through = begin(parameter(40))
    go_on(*through, range(STEPS))
    first = begin(parameter(40))
    go_on(*first, range(12))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in first], file)
    file.seek(0)
    resumed = begin(nn.Parameter(first[0].param_groups[0]["params"][0].detach().clone()))
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    go_on(*resumed, range(12, STEPS))
    assert_same_state(resumed[0], through[0])
    assert torch.equal(*(o.param_groups[0]["params"][0] for o, _ in (resumed, through)))


@every_optimizer
@numbers_and_tensors
def test_at_0_a_step_leaves_all_as_it_is(make, form):
    made = form(make([parameter(50)]))
    for seed in range(5):
        step(made, seed)
    (group,) = made.param_groups
    group["threshold"] = group["threshold"] * 0  # what stayed below it would flip now
    group["lr"] = group["lr"] * 0
    weight, before = group["params"][0].detach().clone(), copy.deepcopy(made)
    for seed in range(5, 10):
        step(made, seed)
    assert torch.equal(group["params"][0], weight)
    assert_same_state(made, before)
    group["lr"] = group["lr"] + 1  # control
    step(made, 10)
    assert not torch.equal(group["params"][0], weight)


@every_optimizer
@numbers_and_tensors
def test_at_a_gamma_of_0_too(make, form):
    """Where a schedule ends."""
    made = form(make([parameter(50)]))
    step(made, 0)
    (group,) = made.param_groups
    group["threshold"] = group["threshold"] * 0
    group["gamma"] = group["gamma"] * 0
    weight, before = group["params"][0].detach().clone(), copy.deepcopy(made)
    step(made, 1)
    assert torch.equal(group["params"][0], weight)
    assert_same_state(made, before)


def test_a_rule_without_gamma_gets_its_lr_as_it_is():
    class Own(FlipOptimizer):
        moments = ()

        def update(self, parameter, state, group):
            rates.append(group["gamma"])

    rates = []
    step(Own([parameter(4)], {"lr": 2.0}), 0)
    assert rates == [2.0]


def test_what_schedulers_round_is_no_mistake():
    """LinearLR ends above 1 by some bits."""
    flip = Bop([parameter(4)], gamma=1.0)
    schedule = lr_scheduler.LinearLR(flip, total_iters=7)
    for seed in range(8):
        step(flip, seed)
        schedule.step()
    assert flip.param_groups[0]["lr"] > 1
    (state,) = flip.state.values()
    assert torch.equal(state["m"], flip.param_groups[0]["params"][0].grad), "gamma is 1"
    flip.param_groups[0]["lr"] = 1.001
    with pytest.raises(ValueError, match="gamma \\* lr must be at most 1"):
        flip.step()


@every_optimizer
@numbers_and_tensors
def test_steps_at_0_before_the_first_do_not_show(make, form):
    late, prompt = form(make([parameter(50)])), form(make([parameter(50)]))
    group = late.param_groups[0]
    group["lr"] = group["lr"] * 0
    step(late, 100)
    assert torch.equal(group["params"][0], parameter(50))
    group["lr"] = group["lr"] + 1
    for seed in range(5):
        step(late, seed)
        step(prompt, seed)
    assert_same_state(late, prompt)


@every_optimizer
def test_a_product_too_small_for_a_float_is_0(make):
    made = make([parameter(50)])
    made.param_groups[0].update(gamma=1e-200, lr=1e-200)
    step(made, 0)
    (state,) = made.state.values()
    assert not state["m"].any() and state["flips"] == 0


@every_optimizer
def test_groups_have_their_own_lr(make):
    made = make([{"params": [parameter(40)]}, {"params": [parameter(60)], "lr": 0.5}])
    by_hand = make([{"params": [parameter(40)]}, {"params": [parameter(60)], "gamma": GAMMA / 2}])
    for seed in range(10):
        step(made, seed)
        step(by_hand, seed)
    assert_same_moments(made, by_hand)


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
def test_lr_is_an_argument_and_a_state_without_it_loads_with_1(make):
    made = make([parameter(3)], lr=0.5)
    assert [made.param_groups[0]["lr"], make([parameter(3)]).param_groups[0]["lr"]] == [0.5, 1]
    state = made.state_dict()
    made.load_state_dict(state)
    assert made.param_groups[0]["lr"] == 0.5
    del state["param_groups"][0]["lr"]
    made.load_state_dict(state)
    assert made.param_groups[0]["lr"] == 1


def test_a_rule_of_ones_own_has_one_too():
    class Vote(FlipOptimizer):
        moments = ("votes",)

        def update(self, parameter, state, group):
            state["votes"].lerp_(parameter.grad.sign(), group["gamma"])

    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, -0.1])
    vote = Vote([weight], {"gamma": 0.5})
    scheduler = lr_scheduler.LambdaLR(vote, lambda n: n / 2)
    votes = []
    for _ in range(3):
        vote.step()
        scheduler.step()
        votes += [state["votes"].tolist() for state in vote.state.values()]
    assert votes == [[0, 0], [0.25, -0.25], [0.625, -0.625]]


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
def test_gradient_scaler_and_clipping(make):
    """Weights and moments are those of gradients scaled and clipped by hand; an overflow skips."""
    torch.manual_seed(0)
    model = nn.Sequential(BinaryLinear(6, 5), nn.LayerNorm(5))
    (weight,), _ = binary_parameters(model)
    twin = nn.Parameter(weight.detach().clone())
    made, by_hand = make([weight], gamma=0.3), make([twin], gamma=0.3)
    scaler = torch.amp.GradScaler("cpu")
    images, labels = torch.randn(12, 8, 6), torch.randint(0, 5, (12, 8))
    for n in range(12):
        loss = nn.functional.cross_entropy(model(images[n]), labels[n])
        (twin.grad,) = torch.autograd.grad(loss, [weight], retain_graph=True)
        if n == 5:
            loss = loss * float("inf")
        else:
            norm = twin.grad.square().sum().sqrt()
            twin.grad *= torch.clamp(0.05 / (norm + 1e-6), max=1)
            by_hand.step()
        made.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(made)
        clip_grad_norm_([weight], 0.05)
        scaler.step(made)
        scaler.update()
        assert torch.equal(weight, twin), n
    assert scaler.get_scale() == 2**15, "halved once"
    for state, expected in zip(made.state.values(), by_hand.state.values(), strict=True):
        torch.testing.assert_close(state["m"], expected["m"])
        assert state["flips"] == expected["flips"] > 10
