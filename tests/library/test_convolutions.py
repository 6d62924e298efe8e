"""What binary convolutions take beyond torch's defaults: borders, dilation, groups, bias.

Outputs and gradients are held against sums in float64 over windows that numpy pads and this file
cuts out, bit for bit where all terms are -1, 0 or +1.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from bop2ndorder.binary import (
    BinaryConv1d,
    BinaryConv2d,
    BinaryLinear,
    binary_parameters,
    clip_latent,
    sign,
    use_float16,
)
from bop2ndorder.weights import load_weights, save_weights

# Arguments of a layer from 4 to 6 channels -> numpy's way to pad.
BORDERS = {
    "zeros": ({}, {}),
    "ones": ({"pad_value": 1}, {"constant_values": 1}),
    "minus ones": ({"pad_value": -1}, {"constant_values": -1}),
    "reflect": ({"padding_mode": "reflect"}, {"mode": "reflect"}),
    "replicate": ({"padding_mode": "replicate"}, {"mode": "edge"}),
    "circular": ({"padding_mode": "circular"}, {"mode": "wrap"}),
}
SHAPES = [
    {"padding": 1},
    {"padding": (2, 1), "stride": (1, 2), "dilation": (2, 1), "groups": 2},
    {"padding": 2, "dilation": 2, "groups": 1, "stride": 2},
    {"padding": "same", "dilation": (1, 3), "kernel_size": (2, 3)},
    {"padding": "valid", "groups": 2},
]
every_border = pytest.mark.parametrize("border", BORDERS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def by_windows(layer, x, weight, how):
    """The convolution of x (N, C, H, W) as sums over windows; x and weight are float64."""
    kernel, dilation = weight.shape[2:], pair(layer.dilation)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if layer.padding == "valid":
        sides = [(0, 0), (0, 0)]
    elif layer.padding == "same":
        sides = [(r // 2, r - r // 2) for r in reach]
    else:
        sides = [(p, p) for p in pair(layer.padding)]
    # Padded are the positions of values, so that gradients lead to where each came from.
    border = {"constant_values": -1} if "mode" not in how else how
    places = np.arange(1, x[0].numel() + 1).reshape(x.shape[1:])
    places = torch.from_numpy(np.pad(places, [(0, 0), *sides], **border))
    value = torch.full((len(x), 1), how.get("constant_values", 0), dtype=x.dtype)
    padded = torch.cat([value, x.flatten(1)], 1)[:, places.clamp(min=0)]
    inputs, filters = weight.shape[1], len(weight) // layer.groups  # of a group
    out = []
    sizes = [n - r for n, r in zip(padded.shape[2:], reach, strict=True)]
    for i, j in itertools.product(*map(range, [0, 0], sizes, pair(layer.stride))):
        window = padded[:, :, i :: dilation[0], j :: dilation[1]][..., : kernel[0], : kernel[1]]
        for f, filter in enumerate(weight):
            first = f // filters * inputs
            out.append((window[:, first : first + inputs] * filter).sum((1, 2, 3)))
    rows = len(range(0, sizes[0], pair(layer.stride)[0]))
    return torch.stack(out, 1).view(len(x), rows, -1, len(weight)).movedim(3, 1)


def make(shape, border, **more):
    torch.manual_seed(0)
    return BinaryConv2d(4, 6, **{"kernel_size": 3} | shape | BORDERS[border][0] | more)


def signs(*shape):
    torch.manual_seed(1)
    return sign(torch.randn(shape))


def passed(function, x, *others):
    """Output, and the gradients for an output of small whole numbers, whose sums are exact."""
    x = x.detach().clone().requires_grad_()
    y = function(x)
    torch.manual_seed(2)
    y.backward(torch.randint(-3, 4, y.shape).to(y))
    return [y.detach(), x.grad, *(other.grad for other in others)]


@every_border
@every_shape
@pytest.mark.parametrize("float16", [False, True])
def test_outputs_and_gradients_are_sums_over_windows(shape, border, float16):
    layer = make(shape, border, binary_input=True)
    if float16:
        assert use_float16(layer) == [""]
    x = signs(2, 4, 7, 8)
    found = passed(layer, x, layer.weight)
    weight = layer.weight.detach().double().requires_grad_()
    how = BORDERS[border][1]
    expected = passed(lambda x: by_windows(layer, x, weight, how), x.double(), weight)
    for ours, sums in zip(found, expected, strict=True):
        assert torch.equal(ours, sums.float())
    assert found[0].dtype == torch.float32


@pytest.mark.parametrize("float16", [False, True])
@pytest.mark.parametrize(
    "border", sorted(BORDERS.keys() - {"reflect"})
)  # which takes no height of 1
def test_one_dimension_is_two_of_height_one(border, float16):
    arguments = BORDERS[border][0]
    torch.manual_seed(0)
    how = {"groups": 2, "binary_input": True, **arguments}
    line = BinaryConv1d(4, 6, 3, stride=2, padding=2, dilation=2, **how)
    plane = BinaryConv2d(4, 6, (1, 3), stride=(1, 2), padding=(0, 2), dilation=(1, 2), **how)
    with torch.no_grad():
        plane.weight.copy_(line.weight[:, :, None])
    if float16:
        assert use_float16(line) == [""]
    x = signs(3, 4, 11)
    found = passed(line, x, line.weight)
    expected = passed(plane, x[:, :, None], plane.weight)
    for ours, other in zip(found, expected, strict=True):
        assert torch.equal(ours, other.squeeze(2))


@every_border
def test_latent_layers_pad_the_same(border):
    layer = make({"padding": 1, "groups": 2}, border, latent=True)
    real = make({"padding": 1, "groups": 2}, border)
    with torch.no_grad():
        real.weight.copy_(sign(layer.weight))
        layer.weight[0] = 3  # beyond the estimator's interval
        real.weight[0] = 1
    x = torch.randn(2, 4, 5, 5)
    for found, expected in zip(
        passed(layer, x, layer.weight), passed(real, x, real.weight), strict=True
    ):
        if found.shape == layer.weight.shape:
            expected[0] = 0
        assert torch.equal(found, expected)
    clip_latent(layer)
    assert layer.weight.abs().max() == 1


@pytest.mark.parametrize("latent", [False, True])
def test_a_bias_is_real_and_starts_at_0(latent):
    layers = [
        BinaryConv1d(3, 5, 2, bias=True, latent=latent),
        BinaryConv2d(3, 5, 2, bias=True, latent=latent),
        BinaryLinear(3, 5, bias=True, latent=latent),
    ]
    for layer, x in zip(layers, [signs(2, 3, 4), signs(2, 3, 4, 4), signs(2, 3)], strict=True):
        assert torch.equal(layer.bias, torch.zeros(5))
        without = layer(x)
        bias = torch.arange(5.0)
        layer.bias.data.copy_(bias)
        assert torch.equal(layer(x), without + bias.view(5, *[1] * (x.dim() - 2)))
        if not latent:
            binary, real = binary_parameters(layer)
            assert binary[0] is layer.weight and real[0] is layer.bias
        layer.binary_input = True
        assert use_float16(layer) == [], "its sums are no whole numbers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_value": 2}, r"pad_value must be 0, 1 or -1, got 2"),
        ({"pad_value": 0.5}, r"pad_value must be 0, 1 or -1, got 0\.5"),
        (
            {"pad_value": -1, "padding_mode": "reflect"},
            r"pad_value=-1 goes with padding_mode='zeros', in place of the zeros; "
            r"padding_mode='reflect' takes its border from the input",
        ),
    ],
)
@pytest.mark.parametrize("kind", [BinaryConv1d, BinaryConv2d])
def test_borders_that_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {message}$"):
        kind(2, 2, 3, padding=1, **arguments)


def test_what_a_layer_says_of_itself():
    layer = BinaryConv2d(4, 6, 3, padding=1, groups=2, pad_value=-1, binary_input=True)
    assert repr(layer) == (
        "BinaryConv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=2, "
        "bias=False, binary_input=True, pad_value=-1)"
    )
    assert repr(BinaryConv2d(3, 5, 1)) == (
        "BinaryConv2d(3, 5, kernel_size=(1, 1), stride=(1, 1), bias=False)"
    )
    assert repr(BinaryLinear(3, 5, latent=True)) == (
        "BinaryLinear(in_features=3, out_features=5, bias=False, latent=True)"
    )


def test_weights_of_groups_and_biases_on_disk(tmp_path):
    def made(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(
            BinaryConv2d(4, 6, 3, padding=2, dilation=2, groups=2, pad_value=1, bias=True),
            nn.Flatten(2),
            BinaryConv1d(6, 4, 3, groups=2, padding_mode="circular", padding=1),
        )
        nn.init.normal_(net[0].bias)
        return net

    net, other = made(0), made(1)
    save_weights(net, tmp_path / "weights")
    load_weights(other, tmp_path / "weights")
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(net(x), other(x))
    assert not torch.equal(net(x), made(1)(x))
