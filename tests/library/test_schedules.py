"""Schedules against values worked out by hand, and at their boundaries."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bop2ndorder.optim import Bop, Bop2ndOrder
from bop2ndorder.schedules import (
    Constant,
    ExponentialDecay,
    NoiseFloor,
    PolynomialDecay,
    StepsOfM,
    set_hyperparameters,
)


def test_constant():
    assert [Constant(1e-8)(step) for step in (0, 1, 10**9)] == [1e-8] * 3


def test_exponential_drops_at_each_multiple():
    """The paper's schedule: times 0.1 every 100 epochs, here of 10 steps."""
    schedule = ExponentialDecay(1e-4, 0.1, decay_steps=1000)
    values = {0: 1e-4, 999: 1e-4, 1000: 1e-5, 1999: 1e-5, 2000: 1e-6, 3000: 1e-7}
    assert {step: schedule(step) for step in values} == pytest.approx(values, rel=1e-14)


def test_smooth_exponential():
    schedule = ExponentialDecay(8.0, 0.25, decay_steps=4, staircase=False)
    assert [schedule(step) for step in range(5)] == pytest.approx([8, 32**0.5, 4, 8**0.5, 2])


@pytest.mark.parametrize(("start", "end"), [(1e-2, 1e-5), (1e-7, 1e-2), (0.5, 0.0)])
def test_polynomial_is_a_line_then_constant(start, end):
    schedule = PolynomialDecay(start, end, decay_steps=8)
    values = [schedule(step) for step in range(11)]
    line = [start + (end - start) * step / 8 for step in range(8)]
    assert values == pytest.approx(line + [end] * 3, rel=1e-12)
    assert values[0] == pytest.approx(start, rel=1e-15) and values[8:] == [end] * 3


def test_polynomial_power():
    schedule = PolynomialDecay(5.0, 1.0, decay_steps=4, power=2.0)
    assert [schedule(step) for step in range(5)] == [5.0, 3.25, 2.0, 1.25, 1.0]


@given(
    start=st.floats(1e-12, 1.0),
    end=st.floats(1e-12, 1.0),
    decay_steps=st.integers(1, 10**7),
    step=st.integers(0, 10**8),
)
@example(start=1e-12, end=1.0, decay_steps=1, step=0)
def test_values_stay_between_start_and_end(start, end, decay_steps, step):
    """A schedule of rates in (0, 1] never leaves it, whatever the rounding.

    It is counted from its end, as in Keras, so that a smaller start is rounded as the end is.
    """
    low, high = sorted((start, end))
    value = PolynomialDecay(start, end, decay_steps)(step)
    assert low * (1 - 1e-9) - 1e-15 * high <= value <= min(high * (1 + 1e-9), 1.0)
    assert value > 0


def test_as_many_equal_gradients_in_a_row_pass_a_threshold_in_steps_of_m():
    """Bop from m = 0, gradients of 0.5, all with the weight's sign: the 11th passes 10 steps."""
    gamma = Constant(1e-4)
    assert StepsOfM(10.0, gamma, 0.5)(7) == pytest.approx(5e-4)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = Bop([weight], gamma=1e-4, threshold=StepsOfM(10.0, gamma, 0.5)(0))
    signs = []
    for _ in range(11):
        weight.grad = torch.full((1,), 0.5)
        optimizer.step()
        signs.append(weight.item())
    assert signs == [1.0] * 10 + [-1.0]


def test_noise_floor_is_the_spread_of_noise():
    """Weights of pure noise: m / sqrt(v) has the standard deviation that the schedule gives."""
    gamma = ExponentialDecay(0.1, 0.1, decay_steps=600)
    floor = NoiseFloor(1.0, gamma)
    assert floor(0) == pytest.approx(math.sqrt(0.1 / 1.9))
    assert NoiseFloor(3.0, gamma)(600) == pytest.approx(3 * math.sqrt(0.01 / 1.99))
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.ones(20_000))
    optimizer = Bop2ndOrder([weight], sigma=1e-2)
    for step in range(2000):
        set_hyperparameters(optimizer, {"gamma": gamma}, min(step, 1199))
        weight.grad = torch.randn(len(weight))
        optimizer.step()
        if step in (599, 1999):
            state = optimizer.state[weight]
            spread = (state["m"] / state["v"].sqrt()).std().item()
            assert spread == pytest.approx(floor(min(step, 1199)), rel=0.04)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-1.0), "Constant: value must be finite and at least 0, got -1.0"),
        (lambda: ExponentialDecay(float("nan"), 0.1, 5), "ExponentialDecay: start .* got nan"),
        (lambda: ExponentialDecay(1.0, -0.1, 5), "rate must be finite and at least 0, got -0.1"),
        (lambda: ExponentialDecay(1.0, 0.1, 0), "decay_steps must be positive, got 0"),
        (lambda: PolynomialDecay(1.0, float("inf"), 5), "PolynomialDecay: end .* got inf"),
        (lambda: PolynomialDecay(1.0, 0.1, -5), "decay_steps must be .* got -5"),
        (lambda: PolynomialDecay(1.0, 0.1, 5, power=-1.0), "power must be .* got -1.0"),
        (lambda: NoiseFloor(-1.0, Constant(0.1)), "NoiseFloor: times must be .* got -1.0"),
        (lambda: StepsOfM(-1.0, Constant(0.1)), "StepsOfM: times must be .* got -1.0"),
        (lambda: StepsOfM(1.0, Constant(0.1), -2.0), "StepsOfM: gradient must be .* got -2.0"),
        (lambda: NoiseFloor(1.0, Constant(3))(7), "gamma must be from 0 to 1, got 3 at step 7"),
        (lambda: Constant(1.0)(-1), "step counts from 0, got -1"),
        (lambda: ExponentialDecay(1.0, 0.1, 5)(-1), "step counts from 0, got -1"),
        (lambda: PolynomialDecay(1.0, 0.1, 5)(-1), "step counts from 0, got -1"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", ["1e-7", True, None])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=f"Constant: value must be a number, got {value!r}"):
        Constant(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseFloor(1.0, 1e-3), "NoiseFloor: gamma must be a schedule, .* got 0.001"),
        (lambda: StepsOfM(1.0, 1e-3), "StepsOfM: gamma must be a schedule, .* got 0.001"),
        (
            lambda: set_hyperparameters(Bop([torch.ones(1)]), {"gamma": 1e-3}, 0),
            r"set_hyperparameters: gamma must be a schedule, such as Constant\(0.001\), got 0.001",
        ),
        (
            lambda: Bop([torch.ones(1)], gamma=Constant(1e-3)),
            "gamma must be a number, got Constant.*; schedules go to set_hyperparameters",
        ),
    ],
)
def test_a_number_is_no_schedule_and_a_schedule_no_number(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_set_hyperparameters():
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    adam = torch.optim.Adam([{"params": [p]} for p in parameters], lr=1.0)
    schedules = {"lr": ExponentialDecay(1.0, 0.5, 2), "eps": Constant(1e-7)}
    for step, lr in enumerate([1.0, 1.0, 0.5, 0.5, 0.25]):
        assert set_hyperparameters(adam, schedules, step) == {"lr": lr, "eps": 1e-7}
        assert [(g["lr"], g["eps"]) for g in adam.param_groups] == [(lr, 1e-7)] * 2
    adam.param_groups[0]["gamma"] = 0.5
    match = r"Adam has no hyperparameter \['gamma'\] in group 1; it has"
    with pytest.raises(ValueError, match=match):
        set_hyperparameters(adam, {"gamma": Constant(1.0)}, 0)
    assert adam.param_groups[0]["gamma"] == 0.5, "nothing is set"
    set_hyperparameters(adam, {"betas": lambda step: (0.9, 0.99)}, 0)
    assert adam.param_groups[1]["betas"] == (0.9, 0.99), "any optimizer's, of any kind"
