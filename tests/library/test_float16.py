"""Forward passes summed in float16: which layers take part, and that no bit changes."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bop2ndorder import float16
from bop2ndorder.binary import BinaryConv2d, BinaryLinear, binary_layers, sign, use_float16
from bop2ndorder.networks import build

FULL = {
    "binarynet": {"num_classes": 10, "image_size": 32},
    "xnornet": {"num_classes": 1000, "image_size": 224},
    "birealnet": {"num_classes": 1000, "image_size": 224},
}
SMALL = [
    ("binarynet", 16, {"width": 12, "dense": 96}),
    ("binarynet", 16, {"width": 5, "dense": 17, "norm": "layer"}),
    ("xnornet", 64, {"width": 0.0625}),
    ("birealnet", 64, {"width": 0.125}),
]


def full(name):
    with torch.device("meta"):
        return build(name, **FULL[name])


def test_float16_holds_the_sums_of_as_many_terms_as_it_says():
    """Beyond, the first sum that it cannot hold is that of terms which all agree."""
    for step, terms in ((1, float16.ANY), (2, float16.EVEN)):
        sums = torch.arange(-terms, terms + 1, step)
        assert torch.equal(sums.half().long(), sums)
        beyond = terms + step
        assert torch.tensor(beyond).half().item() != beyond
        ones = torch.ones(1, beyond)
        assert F.linear(ones, ones).item() == beyond != float16.linear(ones, ones).item()
        images = ones.view(1, beyond, 1, 1)
        assert float16.conv(images, images, (1, 1), (0, 0), (1, 1), 1).item() != beyond


@pytest.mark.parametrize(
    ("shape", "exact"),
    [
        ((5, 2048), True),
        ((5, 2047), True),
        ((5, 2049), False),
        ((5, 2050), True),
        ((5, 4096), True),
        ((5, 4098), False),
        ((9, 4096, 1, 1), True),
        ((9, 1024, 2, 2), True),
        ((9, 1026, 2, 2), False),
        # At a border 455 channels lie outside: an odd number of terms is left.
        ((9, 455, 3, 3), False),
        ((9, 227, 3, 3), True),
        ((9, 454, 3, 3), True),
    ],
)
def test_which_shapes_are_exact(shape, exact):
    assert float16.is_exact(torch.Size(shape)) == exact


def test_layers_of_the_published_networks():
    """BinaryNet's conv6 and dense1 have 4,608 terms, XNOR-Net's conv6 has 9,216."""
    assert use_float16(full("binarynet")) == [
        "conv2",
        "conv3",
        "conv4",
        "conv5",
        "dense2",
        "dense3",
    ]
    assert use_float16(full("xnornet")) == ["conv2", "conv3", "conv4", "conv5", "conv7"]
    blocks = itertools.product(range(1, 5), range(1, 5))
    # From its second block on, the last stage has 9 x 512 = 4,608 terms.
    names = [f"stage{s}.block{b}.conv" for s, b in blocks if s < 4 or b == 1]
    assert use_float16(full("birealnet")) == names


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
def test_the_networks_declare_what_their_layers_get(name, image_size, settings):
    """-1 and +1, with zeros where they are padded before; else real values."""
    torch.manual_seed(0)
    net, found = build(name, 7, image_size, **settings), {}
    layers = binary_layers(net)
    for key, layer in layers.items():
        layer.register_forward_hook(
            lambda _, inputs, __, key=key: found.update({key: {*inputs[0].unique().tolist()}})
        )
    net(torch.randn(3, 3, image_size, image_size))
    assert {key: values <= {-1, 0, 1} for key, values in found.items()} == {
        key: layer.binary_input for key, layer in layers.items()
    }
    assert all({-1, 1} <= found[key] for key in layers if layers[key].binary_input)


def inputs_of(layer):
    """Random signs, and signs that agree with the layer's first filter in every term."""
    torch.manual_seed(0)
    first = layer.weight[:1].detach()
    if isinstance(layer, BinaryLinear):
        return torch.cat([sign(torch.randn(3, first.shape[1])), first])
    size = max(layer.kernel_size) + 2
    random = sign(torch.randn(2, first.shape[1], size, size))
    agreeing = random[:1].clone()
    agreeing[:, :, : first.shape[2], : first.shape[3]] = first
    return torch.cat([random, agreeing]).to(memory_format=torch.channels_last)


def passed(layer, x):
    """Output, and the gradients of inputs and weights for a random one of the output."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    output = layer(x)
    torch.manual_seed(1)
    output.backward(torch.randn(output.shape).to(output))
    return [output.detach(), x.grad, layer.weight.grad]


def alike(layer):
    """A layer of its own with the shape of one on the meta device."""
    if isinstance(layer, BinaryLinear):
        return BinaryLinear(layer.in_features, layer.out_features, binary_input=True)
    made = BinaryConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        binary_input=True,
    )  # fmt: skip
    return made.to(memory_format=torch.channels_last)


def chosen(name):
    """The layers of a published network that take part, each shape once."""
    net = full(name)
    layers = (net.get_submodule(found) for found in use_float16(net))
    return {(layer.weight.shape, getattr(layer, "stride", None)): layer for layer in layers}


@pytest.mark.parametrize("name", FULL)
def test_outputs_and_gradients_at_full_width_are_those_of_float32(name):
    largest = 0
    for of_network in chosen(name).values():
        layer = alike(of_network)
        x = inputs_of(layer)
        expected = passed(layer, x)
        assert use_float16(layer) == [""]
        found = passed(layer, x)
        assert all(map(torch.equal, found, expected))
        assert found[0].dtype == torch.float32
        terms = layer.weight[0].numel()
        assert expected[0].max() == terms, "the largest sum there can be was among them"
        largest = max(largest, terms)
    assert largest == {"binarynet": 2304, "xnornet": 4096, "birealnet": 2304}[name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FULL)
def test_outputs_at_full_width_on_a_gpu_are_those_of_the_cpu(name, monkeypatch):
    """No GPU has run this yet. float32 has the same sums: no kernel may round them."""
    for switch in ("allow_fp16_reduced_precision_reduction", "allow_fp16_accumulation"):
        monkeypatch.setattr(torch.backends.cuda.matmul, switch, False)
    for of_network in chosen(name).values():
        layer = alike(of_network)
        x = inputs_of(layer)
        expected = layer(x)
        there = layer.to("cuda")
        assert torch.equal(there(x.cuda()).cpu(), expected), "float32"
        use_float16(there)
        assert torch.equal(there(x.cuda()).cpu(), expected), "float16"


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
@pytest.mark.parametrize("latent", [False, True])
def test_networks_train_as_in_float32(name, image_size, settings, latent):
    def step(precision):
        torch.manual_seed(0)
        net = build(name, 7, image_size, latent=latent, **settings)
        if precision == "float16":
            assert len(use_float16(net)) == sum(x.binary_input for x in binary_layers(net).values())
        net = net.to(memory_format=torch.channels_last)
        images = torch.randn(5, 3, image_size, image_size).to(memory_format=torch.channels_last)
        logits = net(images)
        F.cross_entropy(logits, torch.arange(5)).backward()
        return [logits, *(p.grad for p in net.parameters()), *net.state_dict().values()]

    assert all(map(torch.equal, step("float16"), step("float32")))


def test_real_inputs_and_real_layers_stay_in_float32():
    net = nn.Sequential(nn.Linear(4, 4), BinaryLinear(4, 4), BinaryLinear(4, 4, binary_input=True))
    assert use_float16(net) == ["2"]
    assert not net[1].float16 and not hasattr(net[0], "float16")


def test_other_dtypes_and_dimensions_are_kept():
    torch.manual_seed(0)
    layer = BinaryLinear(6, 4, binary_input=True).double()
    x = sign(torch.randn(2, 3, 6, dtype=torch.float64))
    expected = passed(layer, x)
    use_float16(layer)
    assert all(map(torch.equal, passed(layer, x), expected))
    assert layer(x).dtype == torch.float64
    with torch.inference_mode():
        assert torch.equal(layer(x), expected[0])


def test_under_compilation():
    torch.manual_seed(0)
    net = nn.Sequential(
        BinaryConv2d(4, 6, 3, padding=1, binary_input=True), nn.Flatten(),
        BinaryLinear(150, 3, binary_input=True),
    )  # fmt: skip
    x = sign(torch.randn(2, 4, 5, 5))
    expected = net(x)
    expected.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    assert use_float16(net) == ["0", "2"]
    found = torch.compile(net, backend="aot_eager", fullgraph=True)(x)
    found.square().sum().backward()
    assert torch.equal(found, expected)
    assert all(map(torch.equal, (p.grad for p in net.parameters()), gradients))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BinaryLinear(8, 3, binary_input=True), (5, 8)),
        (BinaryConv2d(8, 3, 3, binary_input=True), (2, 8, 5, 5)),
    ],
)
def test_under_autocast_dtypes_are_those_that_it_chooses(layer, shape):
    torch.manual_seed(0)
    x = sign(torch.randn(shape)).requires_grad_()

    def through():
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x)
        x.grad = None
        out.float().square().sum().backward()
        return out, x.grad

    expected = through()
    use_float16(layer)
    found = through()
    assert found[0].dtype == torch.bfloat16
    assert all(map(torch.equal, found, expected))


def test_a_map_without_a_batch_passes_as_before():
    torch.manual_seed(0)
    layer = BinaryConv2d(2, 3, 3, padding="same", binary_input=True)
    x = sign(torch.randn(2, 5, 5))
    expected = passed(layer, x)
    use_float16(layer)
    assert all(map(torch.equal, passed(layer, x), expected))
