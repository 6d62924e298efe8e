"""What the mathematics says of the optimizers: a float64 twin, properties, reductions.

Each property comes with a negative control: a case where it must not hold.
"""

import math

import numpy as np
import pytest
import torch
import twin
from hypothesis import given, settings
from hypothesis import strategies as st

from bop2ndorder.optim import Bop, Bop2ndOrder

pytestmark = pytest.mark.fidelity

CORRECTIONS = (None, "constant", "adam")
rates = st.floats(1e-4, 0.9) | st.just(1.0)  # just below 1, float32 rounds 1 - rate away
thresholds = st.just(0.0) | st.floats(-6, 1).map(lambda exponent: 10.0**exponent)
shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def signs(shape, seed=0, dtype=torch.float32):
    values = np.random.default_rng(seed).choice([-1.0, 1.0], size=shape)
    return torch.nn.Parameter(torch.as_tensor(values, dtype=dtype))


def gradients(shape, steps, seed=0, scale=1.0, mean=0.0):
    """Normal gradients, one in ten exactly zero."""
    random = np.random.default_rng(seed + 1)
    grads = scale * random.normal(mean, 1, (steps, *shape)) * (random.random((steps, *shape)) > 0.1)
    return torch.from_numpy(grads)


def run(optimizer, grads):
    """The weights after each step."""
    (weight,) = optimizer.param_groups[0]["params"]
    history = []
    for grad in grads:
        weight.grad = grad.to(weight.dtype)
        optimizer.step()
        history.append(weight.detach().clone())
    return torch.stack(history)


def follow_twin(fast, slow, grads, hyperparameters, decided):
    """Step both with the same gradients; return the largest relative deviation of the moments.

    Weights must be equal wherever the slow one's margin is so large that rounding cannot matter.
    """
    (weight,) = fast.param_groups[0]["params"]
    largest = 0.0
    for grad in grads:
        weight.grad = grad.to(weight.dtype)
        fast.step()
        with np.errstate(invalid="ignore", divide="ignore"):
            margin = slow.step(weight.grad.double().numpy(), **hyperparameters)
        ours = weight.detach().double().numpy()
        assert np.isin(ours, (-1, 1)).all()
        sure = np.abs(margin) > decided
        assert np.array_equal(ours[sure], slow.w[sure])
        slow.w = ours.copy()
        for moment in fast.moments:
            error = np.abs(fast.state[weight][moment].double().numpy() - getattr(slow, moment))
            size = slow.size if moment == "m" else slow.v
            largest = max(largest, error.max() / max(size.max(), 1e-300))
    return largest


# Rounding decides within this relative margin, and moves the moments by at most that much.
PRECISIONS = {torch.float64: (1e-9, 1e-13), torch.float32: (1e-3, 1e-5)}


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(shape=shapes, seed=seeds, scale=st.integers(-6, 3), gamma=rates, threshold=thresholds)
@settings(max_examples=60, derandomize=True)
def test_bop_follows_its_twin(dtype, shape, seed, scale, gamma, threshold):
    decided, limit = PRECISIONS[dtype]
    fast = Bop([signs(shape, seed, dtype)], gamma=gamma, threshold=threshold)
    slow = twin.Bop(signs(shape, seed).detach().numpy())
    grads = gradients(shape, 12, seed, 10.0**scale)
    settings = {"gamma": gamma, "threshold": threshold}
    assert follow_twin(fast, slow, grads, settings, decided) <= limit


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("dtype", PRECISIONS)
@given(
    shape=shapes,
    seed=seeds,
    scale=st.integers(-6, 3),
    gamma=rates,
    sigma=rates,
    threshold=thresholds,
    eps=st.sampled_from([0.0, 1e-10, 1e-5, 0.1]),
)
@settings(max_examples=60, derandomize=True)
def test_bop2ndorder_follows_its_twin(
    dtype, correction, shape, seed, scale, gamma, sigma, threshold, eps
):
    decided, limit = PRECISIONS[dtype]
    settings = {"gamma": gamma, "sigma": sigma, "threshold": threshold, "eps": eps}
    fast = Bop2ndOrder([signs(shape, seed, dtype)], **settings, bias_correction=correction)
    slow = twin.Bop2ndOrder(signs(shape, seed).detach().numpy(), correction)
    grads = gradients(shape, 12, seed, 10.0**scale)
    assert follow_twin(fast, slow, grads, settings, decided) <= limit


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_twin_for_many_steps(correction, deviation):
    settings = {"gamma": 0.01, "sigma": 0.001, "threshold": 0.02, "eps": 1e-10}
    shape = (64, 33)
    for dtype, (decided, limit) in PRECISIONS.items():
        fast = Bop2ndOrder([signs(shape, 5, dtype)], **settings, bias_correction=correction)
        slow = twin.Bop2ndOrder(signs(shape, 5).detach().numpy(), correction)
        largest = follow_twin(fast, slow, gradients(shape, 500), settings, decided)
        deviation(f"twin {correction} {dtype} moments", largest, limit)


def test_twin_agrees_with_a_calculation_by_hand():
    """g = 2, 1 with gamma = sigma = 1/2: m = 1, 1; v = 2, 3/2; a, b = 1/2, 3/4 (adam)."""
    for correction, ratios in {
        None: (1 / math.sqrt(2), 1 / math.sqrt(1.5)),
        "constant": (2 / 2, 2 / math.sqrt(3)),
        "adam": (2 / 2, (4 / 3) / math.sqrt(2)),
    }.items():
        for step, ratio in enumerate(ratios):
            for threshold, flips in ((0.999 * ratio, True), (1.001 * ratio, False)):
                slow = twin.Bop2ndOrder(np.ones(1), correction)
                fast = Bop2ndOrder([torch.nn.Parameter(torch.ones(()))], bias_correction=correction)
                (weight,) = fast.param_groups[0]["params"]
                for i in range(step + 1):
                    now = threshold if i == step else 1e9
                    slow.step((2.0, 1.0)[i], 0.5, 0.5, now)
                    fast.param_groups[0].update(gamma=0.5, sigma=0.5, threshold=now)
                    weight.grad = torch.tensor((2.0, 1.0)[i])
                    fast.step()
                assert (slow.w == -1) == (weight == -1) == flips


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_zero_gradients_never_flip(correction):
    def make():
        settings = {"threshold": 0.0, "eps": 0.0, "bias_correction": correction}
        return Bop([signs((50,))], threshold=0.0), Bop2ndOrder([signs((50,))], **settings)

    for optimizer in make():
        assert (run(optimizer, torch.zeros(5, 50)) == signs((50,))).all()
    for optimizer in make():  # control: any other gradient turns the weights that agree with it
        assert (run(optimizer, torch.full((1, 50), 1e-20)) == -1).all()


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("factor", [2.0**-9, 2.0**7])
def test_scaling_the_gradients_changes_no_flip(correction, factor):
    grads = gradients((400,), 40)

    def second(grads):
        settings = {"gamma": 0.1, "sigma": 0.05, "threshold": 0.2, "eps": 0.0}
        return run(Bop2ndOrder([signs((400,))], **settings, bias_correction=correction), grads)

    def first(grads):
        return run(Bop([signs((400,))], gamma=0.1, threshold=0.1), grads)

    assert torch.equal(second(grads), second(factor * grads))
    assert not torch.equal(first(grads), first(factor * grads))


def test_second_moment_of_unit_gradients_reduces_to_bop():
    grads = gradients((400,), 40).sign()
    grads[grads == 0] = 1

    def both(grads):
        first = run(Bop([signs((400,))], gamma=0.1, threshold=0.2), grads)
        settings = {"gamma": 0.1, "sigma": 1.0, "threshold": 0.2}
        return first, run(Bop2ndOrder([signs((400,))], **settings), grads)

    assert torch.equal(*both(grads))
    assert not torch.equal(*both(2 * grads))


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
def test_threshold_zero_makes_weights_oppose_the_moment(make):
    for threshold, opposed in ((0.0, True), (0.3, False)):
        optimizer = make([signs((400,))], gamma=0.1, threshold=threshold)
        weights = run(optimizer, gradients((400,), 10))[-1]
        m = next(iter(optimizer.state.values()))["m"]
        assert torch.equal(weights[m != 0], -m[m != 0].sign()) == opposed


def test_constant_correction_rescales_the_threshold():
    gamma, sigma, threshold, eps = 0.05, 0.02, 0.7, 1e-3
    grads = gradients((400,), 60)

    def weights(threshold, eps, correction):
        settings = {"gamma": gamma, "sigma": sigma, "threshold": threshold, "eps": eps}
        return run(Bop2ndOrder([signs((400,))], **settings, bias_correction=correction), grads)

    corrected = weights(threshold, eps, "constant")
    scaled = threshold * gamma / math.sqrt(sigma)
    assert torch.equal(corrected, weights(scaled, eps * math.sqrt(sigma), None))
    assert not torch.equal(corrected, weights(threshold, eps, None))


def test_adam_correction_tends_to_no_correction():
    grads = gradients((400,), 700)
    settings = {"gamma": 0.1, "sigma": 0.06, "threshold": 0.3}
    plain = Bop2ndOrder([signs((400,))], **settings)
    adam = Bop2ndOrder([signs((400,))], **settings, bias_correction="adam")
    early = (run(plain, grads[:600]) != run(adam, grads[:600])).any(1)
    assert early[1:20].all()
    with torch.no_grad():  # the corrections are 1 - 1e-16 by now: from equal weights, equal flips
        plain.param_groups[0]["params"][0].copy_(adam.param_groups[0]["params"][0])
    assert torch.equal(run(plain, grads[600:]), run(adam, grads[600:]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("make", "ratio"),
    [
        (lambda p: Bop(p, gamma=0.5), 0.5),
        (lambda p: Bop2ndOrder(p, gamma=0.5, sigma=0.25, eps=0.0), 1.0),
        (lambda p: Bop2ndOrder(p, 0.5, 0.25, eps=0.0, bias_correction="constant"), 1.0),
        (lambda p: Bop2ndOrder(p, 0.5, 0.0625, eps=0.5), 2 / 3),
    ],
)
def test_at_equality_nothing_flips(make, ratio, dtype):
    """Weights and gradients of both signs with w * ratio at the threshold, and just above it."""
    weights = torch.tensor([1.0, -1.0], dtype=dtype)
    equal = float(torch.tensor(ratio, dtype=dtype))
    below = float(torch.nextafter(torch.tensor(ratio, dtype=dtype), torch.zeros((), dtype=dtype)))
    for threshold, flips in ((equal, False), (below, True)):
        weight = torch.nn.Parameter(weights.clone())
        optimizer = make([weight])
        optimizer.param_groups[0]["threshold"] = threshold
        after = run(optimizer, weights[None])[-1]
        assert torch.equal(after, -weights if flips else weights)


def test_noise_floor_of_the_ratio(deviation):
    """m / sqrt(v) of zero-mean noise has standard deviation sqrt(gamma / (2 - gamma))."""
    torch.manual_seed(0)
    for gamma, mean in ((0.05, 0.0), (0.005, 0.0), (0.05, 0.5)):
        optimizer = Bop2ndOrder([signs((4000,))], gamma=gamma, sigma=0.004, threshold=0.0)
        (weight,) = optimizer.param_groups[0]["params"]
        for _ in range(1500):
            weight.grad = torch.randn(4000) + mean
            optimizer.step()
        state = optimizer.state[weight]
        spread = (state["m"] / state["v"].sqrt()).square().mean().sqrt()
        error = abs(float(spread) / math.sqrt(gamma / (2 - gamma)) - 1)
        if mean == 0:
            deviation(f"noise floor gamma {gamma}", error, 0.05)
        else:  # control
            assert error > 1
