"""Hyperparameters that are tensors: the same steps as with numbers, and no value read back."""

import io

import pytest
import torch
from optimizers import (
    SCHEDULES,
    NoReading,
    assert_same_state,
    every_optimizer,
    follow,
    parameter,
    schedules,
    step,
    with_tensors,
)
from released import optimizer, schedule, vectors

from bop2ndorder.optim import Bop, Bop2ndOrder, FlipOptimizer
from bop2ndorder.schedules import set_hyperparameters

GOLDEN, CASES = vectors("optimizer_steps")


def assert_equal_but_for_type(numbers, tensors):
    """Moments and counts to the bit; the corrections of "adam" are floats on one side."""
    for one, other in zip(numbers.state.values(), tensors.state.values(), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            dtype = other[name].dtype
            assert torch.equal(torch.as_tensor(value, dtype=dtype), other[name])


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float64_tensors_do_what_numbers_do_to_the_bit(make, dtype):
    groups = [[{"params": [parameter(40, 5, dtype=dtype)]}, {"params": [parameter(7, dtype=dtype)]}]
              for _ in range(2)]  # fmt: skip
    numbers, tensors = make(groups[0]), with_tensors(make(groups[1]))
    assert all(map(torch.equal, follow(numbers), follow(tensors)))
    assert sum(int(state["flips"]) for state in numbers.state.values()) > 100
    assert_equal_but_for_type(numbers, tensors)


@pytest.mark.fidelity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_every_weight_of_the_released_steps(case, dtype):
    """Float64 tensors give the moments of numbers to the bit, float32 ones every flip as well."""
    settings = dict(CASES[case])
    name = settings.pop("optimizer")
    weights = [torch.nn.Parameter(torch.from_numpy(GOLDEN[f"{case}/w0"]).float()) for _ in "ab"]
    numbers, tensors = optimizer(name, weights[0]), with_tensors(optimizer(name, weights[1]), dtype)
    given = {name: schedule(setting) for name, setting in settings.items()}
    for number, grad in enumerate(GOLDEN[f"{case}/grads"]):
        for made, weight in zip((numbers, tensors), weights, strict=True):
            set_hyperparameters(made, given, number)
            weight.grad = torch.from_numpy(grad)
            made.step()
        released = torch.from_numpy(GOLDEN[f"{case}/weights"][number]).float()
        assert torch.equal(weights[1].detach(), released), f"weights differ at step {number}"
    if dtype == torch.float64:
        assert_equal_but_for_type(numbers, tensors)
    else:
        for moment in tensors.moments:
            one, other = (
                o.state[w][moment] for o, w in zip((numbers, tensors), weights, strict=True)
            )
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(one.abs().max()))


@every_optimizer
def test_no_value_is_read_back(make):
    made = with_tensors(make([parameter(40, 5), parameter(7)]))
    follow(made, range(2))
    with NoReading():
        follow(made, range(2, 5))
        with pytest.raises(AssertionError, match="read back"):  # control: the mode sees it
            made.param_groups[0]["gamma"].item()


@every_optimizer
@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1e-45, 1e-39])
def test_a_threshold_of_next_to_nothing(make, value):
    weight = torch.nn.Parameter(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
    weight.grad = torch.tensor([1.0, 1.0, -1e-15, -1e-15, 0.0, 0.0])
    made = with_tensors(make([weight]))
    made.param_groups[0]["threshold"].fill_(value)
    made.step()
    assert weight.tolist() == [-1, -1, 1, 1, 1, -1]


@every_optimizer
def test_resuming_keeps_tensors_and_equals_never_having_stopped(make):
    through = with_tensors(make([parameter(30)]))
    expected = follow(through)
    first = with_tensors(make([parameter(30)]))
    weights = follow(first, range(12))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = make([torch.nn.Parameter(w) for w in weights])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for name in schedules(made=first):
        kept, saved = (made.param_groups[0][name] for made in (resumed, first))
        assert kept is not saved and kept.dtype == saved.dtype and torch.equal(kept, saved)
    assert all(map(torch.equal, follow(resumed, range(12, 30)), expected))
    assert_same_state(resumed, through)


@every_optimizer
def test_what_was_saved_with_numbers_goes_on_with_tensors_and_back(make):
    through = make([parameter(30)])
    expected = follow(through)
    made = make([parameter(30)])
    follow(made, range(10))
    with_tensors(made)
    follow(made, range(10, 20))
    for name in schedules(made):
        made.param_groups[0][name] = SCHEDULES[name](19)
    assert all(map(torch.equal, follow(made, range(20, 30)), expected))
    assert_same_state(made, through)


def test_a_rule_of_ones_own_gets_tensors_of_the_dtype_of_its_moments():
    seen = set()

    class Vote(FlipOptimizer):
        moments = ("votes",)

        def update(self, parameter, state, group):
            if isinstance(group["gamma"], torch.Tensor):
                seen.update(group[name].dtype for name in ("gamma", "threshold"))
            state["votes"].lerp_(parameter.grad.sign(), group["gamma"])
            against = parameter * state["votes"] > group["threshold"]
            parameter.copy_(torch.where(against, -parameter, parameter))
            state["flips"] += against.sum()

    def make():
        return Vote([parameter(50)], {"gamma": 0.3, "threshold": 0.2})

    assert torch.equal(*(follow(made)[0] for made in (make(), with_tensors(make()))))
    assert seen == {torch.float32}


@every_optimizer
def test_each_device_steps_as_the_cpu_does(make, device):
    """No GPU has run this yet."""
    on_cpu = with_tensors(make([parameter(30, 50)]))
    there = with_tensors(make([parameter(30, 50, device=device)]))
    assert torch.equal(follow(on_cpu)[0], follow(there)[0].cpu())


def tensor(value=0.1, **options):
    return torch.tensor(value, **options)


WRONG = [
    (tensor(dtype=torch.float16), TypeError, "float32 or float64, got torch.float16"),
    (tensor(1), TypeError, "must be float32 or float64, got torch.int64"),
    (tensor([0.1]), ValueError, r"no dimension and need no gradient, got shape \(1,\)"),
    (tensor(requires_grad=True), ValueError, "requires_grad=True"),
    (tensor(device="meta"), ValueError, "tensor on meta, but a weight is on cpu: make it there"),
]


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
@pytest.mark.parametrize(("value", "error", "message"), WRONG)
def test_wrong_tensors(make, value, error, message):
    with pytest.raises(error, match=f"{make.__name__}: gamma (as|is) .*{message}"):
        make([parameter(3)], gamma=value)
    made = make([parameter(3)])
    made.param_groups[0]["threshold"] = value
    with pytest.raises(error, match="threshold"):
        step(made, 0)
