"""Bop and Bop2ndOrder as citizens of torch.optim."""

import copy

import pytest
import torch
from optimizers import OPTIMIZERS, assert_same_state, every_optimizer, parameter, step, train
from torch import nn

from bop2ndorder import flip_rules
from bop2ndorder.optim import Bop, Bop2ndOrder, bop2ndorder


def test_defaults():
    assert Bop([parameter(2)]).defaults == {"lr": 1.0, "gamma": 1e-4, "threshold": 1e-8}
    assert Bop2ndOrder([parameter(2)]).defaults == {
        "lr": 1.0,
        "gamma": 1e-6,
        "sigma": 1e-2,
        "threshold": 1e-6,
        "eps": 1e-10,
        "bias_correction": None,
    }


def test_state_holds_what_is_needed_and_no_more():
    kept = {"bop": {"m", "flips"}, "biased": {"m", "v", "flips"}, "constant": {"m", "v", "flips"}}
    kept["adam"] = {"m", "v", "flips", "a", "b"}
    for name, make in OPTIMIZERS.items():
        optimizer = make([parameter(3, 4)])
        assert not optimizer.state
        train(optimizer, range(2))
        (state,) = optimizer.state.values()
        assert state.keys() == kept[name]
        assert state["flips"].dtype == torch.int64 and state["m"].dtype == torch.float32


def test_adam_correction_is_one_minus_the_product():
    optimizer = Bop2ndOrder([parameter(3)], bias_correction="adam")
    left_m = left_v = 1.0
    for seed in range(10):
        optimizer.param_groups[0].update(gamma=0.1 / (seed + 1), sigma=0.01 * (seed + 1))
        step(optimizer, seed)
        left_m *= 1 - 0.1 / (seed + 1)
        left_v *= 1 - 0.01 * (seed + 1)
    (state,) = optimizer.state.values()
    assert (state["a"], state["b"]) == pytest.approx((1 - left_m, 1 - left_v), rel=1e-14)


@every_optimizer
def test_groups_have_their_own_hyperparameters(make):
    """Two groups train as two optimizers do, and a change of a group is read at the next step."""
    together = make([{"params": [parameter(40)]}, {"params": [parameter(60)], "gamma": 0.5}])
    alone = [make([parameter(40)]), make([{"params": [parameter(60)], "gamma": 0.5}])]
    for seed in range(20):
        if seed == 10:
            together.param_groups[0]["threshold"] = alone[0].param_groups[0]["threshold"] = 0.0
        step(together, seed)
        for optimizer, group in zip(alone, together.param_groups, strict=True):
            optimizer.param_groups[0]["params"][0].grad = group["params"][0].grad
            optimizer.step()
    assert_same_state(make_one(together, 0), alone[0])
    assert_same_state(make_one(together, 1), alone[1])


def make_one(optimizer, index):
    """An optimizer with one group of another."""
    one = copy.deepcopy(optimizer)
    one.param_groups = [one.param_groups[index]]
    kept = one.param_groups[0]["params"]
    one.state = {p: state for p, state in one.state.items() if any(p is k for k in kept)}
    return one


@every_optimizer
def test_a_tensor_is_rounded_for_the_widest_dtype_of_its_group(make):
    """0.1 in float64 is not 0.1 in float32; a float64 weight beside a float32 one gets its own."""
    narrow, wide = parameter(5), parameter(30, dtype=torch.float64)
    optimizer = make([narrow, wide])
    optimizer.param_groups[0]["gamma"] = torch.tensor(0.1, dtype=torch.float64)
    narrow.grad = torch.zeros_like(narrow)
    wide.grad = torch.linspace(-1, 1, 30, dtype=torch.float64)
    optimizer.step()
    assert torch.equal(optimizer.state[wide]["m"], 0.1 * wide.grad)


@every_optimizer
def test_closure_and_missing_gradients(make):
    used, unused = parameter(5), parameter(5)
    optimizer = make([used, unused])

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = (used * torch.arange(5.0)).sum()
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == before
    assert used in optimizer.state and unused not in optimizer.state
    assert optimizer.step() is None


@pytest.fixture(params=[10, 2**18], ids=["many_blocks", "one_block"])
def block(request, monkeypatch):
    monkeypatch.setattr("bop2ndorder.flip_rules._CPU_BLOCK", request.param)


def layouts():
    """The same values in other memory: sliced with gaps, transposed, channels-last, expanded."""
    base = parameter(6, 4, 3, 2).detach()
    gaps = torch.ones(6, 4, 3, 4)[..., ::2]
    return {
        "channels_last": base.clone(memory_format=torch.channels_last),
        "transposed": base.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        "gaps": gaps.copy_(base),
    }


@every_optimizer
@pytest.mark.parametrize("layout", layouts())
def test_memory_layout_does_not_matter(make, layout, block):
    plain = make([parameter(6, 4, 3, 2)])
    other = make([nn.Parameter(layouts()[layout])])
    strides = other.param_groups[0]["params"][0].stride()
    assert torch.equal(train(plain)[0], train(other)[0])
    assert_same_state(plain, other)
    (p,) = other.param_groups[0]["params"]
    assert p.stride() == strides != parameter(6, 4, 3, 2).stride()


@every_optimizer
def test_gradients_and_moments_in_other_memory_than_the_weights(make, block):
    """A gradient laid out by its own rules, and a model turned to channels-last halfway."""
    plain, other = make([parameter(6, 4, 3, 2)]), make([parameter(6, 4, 3, 2)])
    (p,) = other.param_groups[0]["params"]
    for seed in range(20):
        step(plain, seed)
        if seed == 10:
            p.data = p.data.to(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(seed)
        p.grad = torch.randn(p.shape, generator=generator)
        if seed < 10:
            p.grad = p.grad.to(memory_format=torch.channels_last)
        other.step()
    assert_same_state(plain, other)
    assert torch.equal(plain.param_groups[0]["params"][0], p)


def test_blocks_do_not_show():
    """More weights than a block holds, and not a multiple of it: every weight is updated once."""
    torch.manual_seed(0)
    n = flip_rules._CPU_BLOCK + 12345
    weight, grad = parameter(n).detach(), torch.randn(n)
    settings = {"gamma": 0.3, "sigma": 0.2, "threshold": 0.1, "eps": 1e-10}
    m, v, flips = torch.zeros(n), torch.zeros(n), torch.zeros((), dtype=torch.int64)
    updated = weight.clone()
    bop2ndorder(updated, grad, m, v, flips, **settings)
    assert torch.equal(m, 0.3 * grad)
    assert torch.equal(v, 0.2 * (grad * grad))
    assert torch.equal(updated, torch.where(weight * grad > 0, -weight, weight))
    assert flips == (updated != weight).sum()


@every_optimizer
def test_flips_are_counted(make):
    optimizer = make([parameter(300)])
    (p,) = optimizer.param_groups[0]["params"]
    flips = 0
    for seed in range(15):
        before = p.detach().clone()
        step(optimizer, seed)
        flips += int((p != before).sum())
    assert optimizer.state[p]["flips"] == flips > 0


@every_optimizer
def test_bfloat16_weights_train_as_float32_ones(make):
    """Signs are exact in bfloat16 and the moments are float32, so only the gradient is rounded."""
    low = make([parameter(500, dtype=torch.bfloat16)])
    high = make([parameter(500)])
    for seed in range(20):
        step(low, seed)
        high.param_groups[0]["params"][0].grad = low.param_groups[0]["params"][0].grad.float()
        high.step()
    assert_same_state(low, high)
    weight = low.param_groups[0]["params"][0]
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight.float(), high.param_groups[0]["params"][0])


@pytest.mark.parametrize("threshold", [0.0, 5e-324, 1e-300, 1e-45, 1e-39])
@pytest.mark.parametrize("correction", [None, "constant", "adam"])
def test_at_a_threshold_of_next_to_nothing_the_sign_decides(threshold, correction):
    """A weight flips where its mean gradient has its sign; where that is zero, it stays."""
    weight = nn.Parameter(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
    weight.grad = torch.tensor([1.0, 1.0, -1e-15, -1e-15, 0.0, 0.0])
    Bop2ndOrder([weight], threshold=threshold, bias_correction=correction).step()
    assert weight.tolist() == [-1, -1, 1, 1, 1, -1]


@every_optimizer
def test_a_nan_gradient_never_flips_its_weight(make):
    optimizer = make([nn.Parameter(torch.ones(2))])
    (p,) = optimizer.param_groups[0]["params"]
    p.grad = torch.tensor([float("nan"), 1.0])
    optimizer.step()
    assert p.tolist() == [1, -1]


@every_optimizer
def test_compiled_step_equals_eager(make):
    eager, compiled = make([parameter(40), parameter(3, 5)]), make([parameter(40), parameter(3, 5)])
    run_compiled = torch.compile(compiled.step, backend="aot_eager")
    for seed in range(5):
        step(eager, seed)
        for p, q in zip(
            eager.param_groups[0]["params"], compiled.param_groups[0]["params"], strict=True
        ):
            q.grad = p.grad.clone()
        run_compiled()
    assert_same_state(eager, compiled)
    assert all(map(torch.equal, train(eager, ()), train(compiled, ())))


@every_optimizer
def test_each_device_steps_as_the_cpu_does(make, device):
    on_cpu, there = make([parameter(30, 50)]), make([parameter(30, 50, device=device)])
    assert torch.equal(train(on_cpu)[0], train(there)[0].cpu())


WRONG = [
    (Bop, {"gamma": float("nan")}, ValueError, r"Bop: gamma must be in \[0, 1\], got nan"),
    (Bop, {"gamma": -0.1}, ValueError, r"gamma must be in \[0, 1\], got -0.1"),
    (Bop, {"gamma": 1.5}, ValueError, r"gamma must be in \[0, 1\], got 1.5"),
    (Bop, {"gamma": "1e-7"}, TypeError, "gamma must be a number, got '1e-7'"),
    (Bop, {"threshold": -1e-8}, ValueError, "threshold must be finite and at least 0, got -1e-08"),
    (Bop, {"threshold": float("nan")}, ValueError, "threshold must be finite .* got nan"),
    (Bop, {"lr": -1.0}, ValueError, "Bop: lr must be finite and at least 0, got -1.0"),
    (Bop, {"lr": float("nan")}, ValueError, "lr must be finite and at least 0, got nan"),
    (Bop, {"lr": float("inf")}, ValueError, "lr must be finite and at least 0, got inf"),
    (Bop, {"lr": "1"}, TypeError, "lr must be a number, got '1'"),
    (Bop, {"gamma": 0.5, "lr": 3}, ValueError, r"Bop: gamma \* lr must be at most 1, got 0.5 \* 3"),
    (Bop2ndOrder, {"lr": 2e6}, ValueError, r"gamma \* lr must be at most 1, got 1e-06 \* 2000000"),
    (Bop2ndOrder, {"sigma": 2}, ValueError, r"Bop2ndOrder: sigma must be in \(0, 1\], got 2"),
    (Bop2ndOrder, {"sigma": float("nan")}, ValueError, r"sigma must be in \(0, 1\], got nan"),
    (Bop2ndOrder, {"eps": -1.0}, ValueError, "eps must be finite and at least 0, got -1.0"),
    (Bop2ndOrder, {"eps": float("inf")}, ValueError, "eps must be finite and at least 0, got inf"),
    (Bop2ndOrder, {"bias_correction": "yes"}, ValueError, "None, 'constant' or 'adam', got 'yes'"),
]


@pytest.mark.parametrize(("make", "arguments", "error", "message"), WRONG)
def test_wrong_hyperparameters(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make([parameter(3)], **arguments)
    optimizer = make([parameter(3)])
    optimizer.param_groups[0].update(arguments)
    with pytest.raises(error, match=message):
        step(optimizer, 0)


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
@pytest.mark.parametrize(
    "values",
    [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.999]), torch.tensor([1, -1])]
    + [torch.tensor([float("nan"), 1.0]), torch.tensor([1j, -1])],
)
def test_wrong_weights(make, values):
    with pytest.raises(ValueError, match=r"exactly -1 or \+1, but parameter 1 of group 0 .*\(2,\)"):
        make([parameter(3), values])
    optimizer = make([parameter(3)])
    with pytest.raises(ValueError, match="parameter 0 of group 1"):
        optimizer.add_param_group({"params": [values]})
    with pytest.raises(ValueError, match="gamma must be in"):
        optimizer.add_param_group({"params": [parameter(2)], "gamma": 7.0})
    assert len(optimizer.param_groups) == 1, "who catches the error must not have them flipped"


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
def test_no_parameters_and_sparse_gradients(make):
    with pytest.raises(ValueError, match="empty parameter list"):
        make([])
    p = parameter(4, 3)
    p.grad = torch.eye(4, 3).to_sparse()
    with pytest.raises(RuntimeError, match=f"{make.__name__} does not support sparse gradients"):
        make([p]).step()
