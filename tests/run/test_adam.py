"""Adam for devices: beside Keras's formula, torch's Adam, the released code; as an optimizer."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from optimizers import NoReading, with_tensors
from released import trajectory_data, trajectory_network, use_biased_moving_variance, vectors
from torch import nn
from torch._dynamo.utils import counters
from twin import keras_adam

from bop2ndorder.binary import binary_parameters
from bop2ndorder.optim import Bop2ndOrder
from bop2ndorder.study.run.adam import KerasAdam, step_size, torch_eps

SHAPES = ((5,), (3, 4), (2, 3, 3, 3))


def parameters(dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]


def gradients(steps, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    return [[scale * torch.randn(shape, generator=generator, dtype=torch.float64)
             for shape in SHAPES] for _ in range(steps)]  # fmt: skip


def take(adam, grads, lrs, first=0):
    """Steps with these gradients, by a step size that is a tensor."""
    params = [p for group in adam.param_groups for p in group["params"]]
    for step, (given, lr) in enumerate(zip(grads, lrs, strict=True), first):
        for p, g in zip(params, given, strict=True):
            p.grad = g.to(p.dtype)
        for group in adam.param_groups:
            group["step_size"].fill_(step_size(lr, step))
        adam.step()
    return [p.detach().clone() for p in params]


def make(params, **options):
    return KerasAdam(params, step_size=torch.zeros((), dtype=torch.float64), **options)


def away(found, expected):
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.mark.fidelity
@pytest.mark.parametrize("scale", [1.0, 1e-6], ids=["large", "small"])
def test_it_is_that_of_keras(scale, deviation):
    """In float64; gradients so small, too, that epsilon counts."""
    grads = gradients(40, scale)
    start = [p.detach().numpy() for p in parameters()]
    expected = keras_adam(start, [[g.numpy() for g in step] for step in grads], lr=0.01)
    found = take(make(parameters()), grads, [0.01] * 40)
    assert away(found, start) > 0.05
    deviation(f"KerasAdam beside Keras, gradients of {scale:g}", away(found, expected), 1e-14)


@pytest.mark.fidelity
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_that_of_torch_with_its_epsilon_set_at_each_step(decay, deviation):
    """In float64, with a learning rate that changes and an L2 penalty: what the CPU's form does."""
    grads, lrs = gradients(40, 1e-5), [0.05 * 0.9**step for step in range(40)]
    params = parameters()
    theirs = torch.optim.Adam(params, weight_decay=decay)
    for step, (given, lr) in enumerate(zip(grads, lrs, strict=True)):
        theirs.param_groups[0].update(lr=lr, eps=torch_eps(step))
        for p, g in zip(params, given, strict=True):
            p.grad = g
        theirs.step()
    ours = make([{"params": parameters(), "weight_decay": decay}])
    found = take(ours, grads, lrs)
    expected = [p.detach() for p in params]
    deviation(f"KerasAdam beside torch's, decay {decay:g}", away(found, expected), 1e-13)
    for p, q in zip(params, ours.param_groups[0]["params"], strict=True):
        for moment in ("exp_avg", "exp_avg_sq"):
            one, other = theirs.state[p][moment], ours.state[q][moment]
            torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


@pytest.mark.fidelity
def test_the_released_trajectory_by_tensors_alone(deviation):
    """Both optimizers in the form for devices: every flip of a released training."""
    golden, _ = vectors("training_trajectory")
    net, kernels = trajectory_network(torch.float64)
    use_biased_moving_variance(net)
    binary, real = binary_parameters(net)
    settings = {"gamma": 1e-2, "sigma": 1e-2, "threshold": 1e-1, "bias_correction": "constant"}
    flip, adam = with_tensors(Bop2ndOrder(binary, **settings)), make(real)
    images, labels, _ = trajectory_data()
    losses, flips = [], []
    for step in range(60):
        before = [kernel.detach().clone() for kernel in kernels]
        net.zero_grad()
        loss = F.cross_entropy(net(images[step]), labels[step])
        loss.backward()
        adam.param_groups[0]["step_size"].fill_(step_size(0.01, step))
        with NoReading():
            flip.step()
            adam.step()
        losses.append(loss.item())
        flips.append([int((k != b).sum()) for k, b in zip(kernels, before, strict=True)])
    assert np.array_equal(flips, golden["unbiased/flips"]) and np.sum(flips) > 0
    largest = np.abs(np.array(losses) - golden["unbiased/losses"]).max()
    deviation("trajectory unbiased by tensors, losses", largest, 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resuming_equals_never_having_stopped(dtype):
    grads, lrs = gradients(20), [0.05 * 0.9**step for step in range(20)]
    through = make(parameters(dtype))
    expected = take(through, grads, lrs)
    first = make(parameters(dtype))
    weights = take(first, grads[:8], lrs[:8])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = make([nn.Parameter(w) for w in weights])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert all(map(torch.equal, take(resumed, grads[8:], lrs[8:], first=8), expected))
    for one, other in zip(through.state.values(), resumed.state.values(), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_step_size_may_be_a_number_and_a_gradient_missing():
    numbers, tensors = KerasAdam(parameters(), step_size=0.0), make(parameters())
    for step, given in enumerate(gradients(5)):
        for adam in (numbers, tensors):
            for p, g in zip(adam.param_groups[0]["params"], given, strict=True):
                p.grad = None if p.dim() == 1 else g
        numbers.param_groups[0]["step_size"] = step_size(0.01, step)
        tensors.param_groups[0]["step_size"].fill_(step_size(0.01, step))
        for adam in (numbers, tensors):
            adam.step()
    pairs = zip(*(adam.param_groups[0]["params"] for adam in (numbers, tensors)), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
    assert torch.equal(numbers.param_groups[0]["params"][0], parameters()[0])
    assert len(numbers.state) == 2


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_step_is_one_graph_whatever_its_size(backend):
    """Compiled once without a state and once with it, then never again."""
    torch._dynamo.reset()
    counters.clear()
    eager, compiled = make(parameters()), make(parameters())
    run = torch.compile(compiled.step, backend=backend, fullgraph=True)
    for step, given in enumerate(gradients(6)):
        take(eager, [given], [0.01], first=step)
        for p, g in zip(compiled.param_groups[0]["params"], given, strict=True):
            p.grad = g
        compiled.param_groups[0]["step_size"].fill_(step_size(0.01, step))
        run()
        assert counters["stats"]["unique_graphs"] == min(step + 1, 2)
    pairs = zip(*(adam.param_groups[0]["params"] for adam in (eager, compiled)), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
    torch._dynamo.reset()
