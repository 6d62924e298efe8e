"""Sign, straight-through estimators and binary layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import prune

from bop2ndorder.binary import (
    BinaryConv1d,
    BinaryConv2d,
    BinaryLinear,
    approx_sign,
    binary_layers,
    binary_parameters,
    clip_latent,
    sign,
    ste_sign,
)
from bop2ndorder.weights import save_weights

NAN = float("nan")
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("binarize", [sign, ste_sign, approx_sign])
def test_truth_table_of_the_sign(binarize, dtype):
    tiny = torch.finfo(dtype).tiny
    x = torch.tensor([0.0, -0.0, tiny, 1.0, 7.0, float("inf")], dtype=dtype)
    assert torch.equal(binarize(x), torch.ones(6, dtype=dtype))
    x = torch.tensor([-tiny, -1.0, -7.0, -float("inf"), NAN, -NAN], dtype=dtype)
    assert torch.equal(binarize(x), -torch.ones(6, dtype=dtype))
    assert x[:4].tolist() == [-tiny, -1.0, -7.0, -float("inf")]  # not changed in place


@pytest.mark.parametrize("binarize", [sign, ste_sign, approx_sign])
def test_sign_of_many_values_in_any_memory(binarize):
    torch.manual_seed(0)
    x = torch.randn(50, 7, 9, 11)
    x[torch.rand(x.shape) < 0.1] = 0
    expected = torch.where(x >= 0, 1.0, -1.0)
    for view in (x, x.to(memory_format=torch.channels_last), x.permute(3, 1, 0, 2)):
        y = binarize(view)
        assert torch.equal(y, torch.where(view >= 0, 1.0, -1.0))
        assert y.stride() == view.stride()
    assert torch.equal(binarize(x[:, ::2]), expected[:, ::2])
    assert binarize(x[:0]).shape == (0, 7, 9, 11) and binarize(x[0, 0, 0, 0]).dim() == 0


def gradient(binarize, x, upstream=1.0):
    x = x.clone().requires_grad_()
    binarize(x).backward(torch.full_like(x, upstream))
    return x.grad


@pytest.mark.parametrize("dtype", FLOATS)
def test_truth_table_of_the_estimators(dtype):
    eps = torch.finfo(dtype).eps
    inside, outside = 1 - eps / 2, 1 + eps  # the neighbours of 1
    points = [0.0, -0.0, 0.25, 0.5, inside, 1.0, outside, 2.0, float("inf")]
    x = torch.tensor(points, dtype=dtype)
    passes = torch.tensor([3.0] * 6 + [0.0] * 3, dtype=dtype)
    slopes = torch.tensor([6.0, 6.0, 4.5, 3.0, 3 * eps, 0, 0, 0, 0], dtype=dtype)
    for points in (x, -x):
        assert torch.equal(gradient(ste_sign, points, 3.0), passes)
        assert torch.equal(gradient(approx_sign, points, 3.0), slopes)
    nan = torch.tensor([NAN], dtype=dtype)
    assert gradient(ste_sign, nan, 3.0).item() == 3
    assert gradient(approx_sign, nan, 3.0).isnan().item()


@pytest.mark.parametrize(
    ("binarize", "smooth"),
    [
        (ste_sign, lambda x: x),
        (approx_sign, lambda x: torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)),
    ],
)
def test_gradient_is_that_of_the_surrogate(binarize, smooth):
    """Against numerical derivatives of the function that each estimator stands for."""
    x = torch.linspace(-1.6, 1.6, 1234, dtype=torch.float64)
    h = 1e-6
    numerical = (smooth((x + h).clamp(-1, 1)) - smooth((x - h).clamp(-1, 1))) / (2 * h)
    assert torch.allclose(gradient(binarize, x), numerical, atol=1e-6)


@pytest.mark.parametrize("binarize", [ste_sign, approx_sign])
def test_estimators_under_compilation(binarize):
    torch.manual_seed(0)
    x = torch.randn(6, 5)
    expected = gradient(binarize, x)
    compiled = torch.compile(binarize, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), sign(x))
    assert torch.equal(gradient(compiled, x), expected)


@pytest.mark.parametrize("binarize", [ste_sign, approx_sign])
def test_estimators_are_left_whole_by_symbolic_tracing(binarize):
    class Net(nn.Module):
        def forward(self, x):
            return binarize(2 * x)

    x = torch.tensor([-0.9, -0.2, 0.1, 0.4], requires_grad=True)
    gradients = [torch.autograd.grad(f(x).sum(), x)[0] for f in (Net(), fx.symbolic_trace(Net()))]
    assert gradients[0].any() and torch.equal(*gradients)


def test_layers_name_their_input_as_torch_does():
    x = torch.ones(1, 2, 3)
    for layer in (BinaryLinear(3, 2), BinaryConv1d(2, 2, 1)):
        assert torch.equal(layer(input=x), layer(x))


@pytest.mark.parametrize("latent", [False, True])
def test_layers_compute_with_signs(latent):
    torch.manual_seed(0)
    conv = BinaryConv2d(3, 5, 3, stride=2, padding=1, latent=latent)
    dense = BinaryLinear(7, 4, latent=latent)
    x, y = torch.randn(2, 3, 9, 9), torch.randn(2, 7)
    assert torch.equal(conv(x), F.conv2d(x, sign(conv.weight), stride=2, padding=1))
    assert torch.equal(dense(y), F.linear(y, sign(dense.weight)))
    for layer in (conv, dense):
        assert layer.bias is None
        assert set(sign(layer.weight).unique().tolist()) == {-1, 1}
        assert torch.equal(layer.weight, sign(layer.weight)) == (not latent)
        assert layer.binary_weight is layer.weight or latent


def test_latent_weights_start_glorot_uniform_and_get_the_ste_gradient():
    torch.manual_seed(0)
    layer = BinaryLinear(300, 200, latent=True)
    limit = (6 / 500) ** 0.5
    assert 0.99 * limit < layer.weight.abs().max() <= limit
    assert abs(layer.weight.mean()) < 0.01 * limit
    with torch.no_grad():
        layer.weight[:100] *= 100
    layer(torch.ones(1, 300)).sum().backward()
    assert torch.equal(layer.weight.grad, (layer.weight.abs() <= 1).float())
    assert 0 < layer.weight.grad.mean() < 1


def test_random_signs_are_balanced_and_follow_the_seed():
    torch.manual_seed(3)
    first = BinaryLinear(300, 200).weight
    assert abs(first.mean()) < 0.02
    torch.manual_seed(3)
    assert torch.equal(BinaryLinear(300, 200).weight, first)
    assert not torch.equal(BinaryLinear(300, 200).weight, first)


def test_clip_latent():
    model = nn.Sequential(BinaryLinear(2, 2, latent=True), BinaryLinear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.tensor([[-3.0, -1.0], [0.5, 1.5]]))
    clip_latent(model)
    assert model[0].weight.tolist() == [[-1, -1], [0.5, 1]]
    assert model[1].weight.tolist() == model[2].weight.tolist() == [[-3, -1], [0.5, 1.5]]
    assert model[0].weight.requires_grad


class Small(nn.Module):
    def __init__(self, latent=False):
        super().__init__()
        self.real = nn.Linear(4, 3)
        self.binary = nn.Sequential(BinaryLinear(3, 3, latent=latent), nn.LayerNorm(3))
        self.conv = BinaryConv2d(1, 2, 1, latent=latent)


def test_split_of_parameters():
    model = Small()
    binary, real = binary_parameters(model)
    assert list(map(id, binary)) == [id(model.binary[0].weight), id(model.conv.weight)]
    assert len(real) == 4 and {*map(id, binary), *map(id, real)} == {*map(id, model.parameters())}
    assert binary_layers(model) == {"binary.0": model.binary[0], "conv": model.conv}
    assert list(binary_layers(Small(latent=True))) == ["binary.0", "conv"]


@pytest.mark.parametrize("latent", [False, True])
def test_a_weight_that_is_computed_is_nobody_s_to_train(tmp_path, latent):
    """What is trained then is `weight_orig`, and would be sorted among the real ones."""
    model = Small(latent)
    prune.identity(model.conv, "weight")
    calls = [lambda: save_weights(model, tmp_path / "weights")]
    calls.append(lambda: clip_latent(model) if latent else binary_parameters(model))
    for call in calls:
        with pytest.raises(ValueError, match="binary layer 'conv' computes its weight from other"):
            call()
    assert not (tmp_path / "weights").exists()


def test_on_meta_no_weight_is_binary():
    with torch.device("meta"):
        model = Small()
    with pytest.raises(ValueError, match="on the meta device weights have no values"):
        binary_parameters(model)


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0001, NAN])
def test_split_refuses_weights_that_are_not_binary(value):
    model = Small()
    with torch.no_grad():
        model.conv.weight[0] = value
    with pytest.raises(ValueError, match=r"weights of binary layer 'conv' must be exactly -1 or"):
        binary_parameters(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Small(latent=True), "layer 'binary.0' has latent weights"),
        (nn.Linear(2, 2), "no binary layer: Linear"),
    ],
)
def test_split_refuses_models_without_binary_weights(model, message):
    with pytest.raises(ValueError, match=message):
        binary_parameters(model)


def test_split_of_a_model_without_real_parameters():
    layer = BinaryLinear(2, 2)
    assert binary_parameters(layer) == ([layer.weight], [])


def test_a_shared_weight_is_split_once():
    net = nn.Sequential(BinaryLinear(4, 4), nn.BatchNorm1d(4), BinaryLinear(4, 4))
    net[2].weight = net[0].weight
    binary, real = binary_parameters(net)
    assert len(binary) == 1 and binary[0] is net[0].weight
    assert len(real) == 2


# Loading


def test_a_binary_layer_loads_no_other_weights_than_signs():
    torch.manual_seed(0)
    latent, net = Small(latent=True), Small()
    before = net.conv.weight.clone()
    with pytest.raises(RuntimeError, match=r"conv.weight are not all -1 or \+1: .* latent=True"):
        net.load_state_dict(latent.state_dict())
    assert torch.equal(net.conv.weight, before)
    latent.load_state_dict(net.state_dict())
    assert torch.equal(latent.conv.weight, before)
    with torch.device("meta"):
        there = Small()
    there.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(there.conv.weight, before)


@pytest.mark.parametrize(("kind", "sizes"), [(BinaryLinear, (3, 4)), (BinaryConv2d, (3, 4, 3))])
def test_layers_are_made_with_a_device_and_a_dtype(kind, sizes):
    layer = kind(*sizes, device="meta", dtype=torch.float64)
    assert layer.weight.is_meta and layer.weight.dtype == torch.float64
    assert kind(*sizes, dtype=torch.bfloat16).weight.abs().eq(1).all()
