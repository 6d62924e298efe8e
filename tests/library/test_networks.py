"""Architectures: sizes, names, errors, and the layers where Keras and torch differ."""

import copy
import io
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bop2ndorder.binary import binary_layers, binary_parameters
from bop2ndorder.networks import adam_groups, binarynet, birealnet, build, xnornet
from bop2ndorder.networks.layers import (
    ChannelLayerNorm,
    avg_pool_same,
    batch_norm,
    flatten_hwc,
    pad_same,
)

SMALL = [
    ("binarynet", 16, {"width": 2, "dense": 6}),
    ("binarynet", 10, {"width": 2, "dense": 6}),
    ("binarynet", 45, {"width": 2, "dense": 6, "norm": "layer"}),
    ("xnornet", 64, {"width": 0.05}),
    ("xnornet", 97, {"width": 0.05}),
    ("xnornet", 128, {"width": 0.05}),
    ("birealnet", 64, {"width": 0.05}),
    ("birealnet", 75, {"width": 0.05}),
]


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
@pytest.mark.parametrize("latent", [False, True])
def test_small_networks_train(name, image_size, settings, latent):
    torch.manual_seed(0)
    net = build(name, 7, image_size, latent=latent, **settings)
    logits = net(torch.randn(3, 3, image_size, image_size))
    assert logits.shape == (3, 7)
    F.cross_entropy(logits, torch.arange(3)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(layer.latent == latent for layer in binary_layers(net).values())
    assert any((layer.weight.grad != 0).any() for layer in binary_layers(net).values())


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
def test_memory_format_and_precision_are_the_users(name, image_size, settings):
    net = build(name, 7, image_size, **settings).double()
    x = torch.randn(3, 3, image_size, image_size, dtype=torch.float64)
    expected = net(x)
    last = net.to(memory_format=torch.channels_last)
    assert torch.allclose(last(x.to(memory_format=torch.channels_last)), expected, atol=1e-9)
    assert expected.dtype == torch.float64


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
def test_construction_follows_the_seed(name, image_size, settings):
    def state(seed):
        torch.manual_seed(seed)
        return build(name, 7, image_size, **settings).state_dict()

    first, second, other = state(1), state(1), state(2)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_names_of_binary_layers():
    assert list(binary_layers(binarynet(2, 4))) == [
        *(f"conv{i}" for i in range(1, 7)),
        *(f"dense{i}" for i in range(1, 4)),
    ]
    assert list(binary_layers(xnornet(5, 0.02, 64))) == [f"conv{i}" for i in range(2, 8)]
    assert list(binary_layers(birealnet(5, 0.05, 64))) == [
        f"stage{stage}.block{block}.conv"
        for stage, block in itertools.product(range(1, 5), range(1, 5))
    ]


@pytest.mark.parametrize(("image_size", "kernel"), [(64, 1), (96, 2), (128, 3), (224, 6)])
def test_xnornet_kernel_has_the_size_of_the_map(image_size, kernel):
    with torch.device("meta"):
        net = xnornet(10, 0.1, image_size)
    assert net.conv6.kernel_size == (kernel, kernel)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: binarynet(image_size=9), "binarynet needs images of at least 10 pixels, got 9"),
        (lambda: xnornet(image_size=63), "xnornet needs images of at least 64 pixels, got 63"),
        (lambda: birealnet(image_size=32), "birealnet needs images of at least 64 pixels, got 32"),
        (lambda: binarynet(norm="none"), "norm must be 'batch' or 'layer', got 'none'"),
        (lambda: binarynet(width=0.5), "width is a number of units, an integer from 1 on, got 0.5"),
        (lambda: binarynet(dense=0), "dense is a number of units, an integer from 1 on, got 0"),
        (lambda: xnornet(width=0.001), "xnornet: width is a factor of 96, .* got 0.001"),
        (lambda: birealnet(width=0), "birealnet: width is a factor of 64, .* got 0"),
        (lambda: build("vgg", 10, 32), "unknown network 'vgg'; there are binarynet, xnornet, bire"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_setting():
    with pytest.raises(TypeError, match="depth"):
        build("binarynet", 10, 32, depth=3)


def test_initial_values_of_real_kernels():
    torch.manual_seed(0)
    conv = xnornet(100, 0.25, 64).conv1.weight
    limit = math.sqrt(6 / (11 * 11 * (3 + 24)))
    assert 0.99 * limit < conv.abs().max() <= limit
    net = birealnet(100)
    assert net.conv1.weight.std().item() == pytest.approx(math.sqrt(2 / (49 * (3 + 64))), rel=0.05)
    assert net.classifier.weight.std().item() == pytest.approx(math.sqrt(2 / 612), rel=0.05)
    assert (net.classifier.bias == 0).all()


def test_normalization_settings():
    def settings(net):
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        return [(m.eps, round(1 - m.momentum, 9), "weight" in m._parameters) for m in norms]

    assert settings(binarynet(2, 4)) == [(1e-3, 0.99, False)] * 9
    xnor = [(1e-5, 0.9, True), *[(1e-4, 0.9, True)] * 6, (1e-3, 0.9, True)]
    assert settings(xnornet(5, 0.02, 64)) == xnor
    assert settings(birealnet(5, 0.05, 64)) == [(1e-3, 0.8, True)] * 20


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last, None])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_norm_without_scale_is_torchs_without_weight_to_the_bit(layout, training, dtype):
    torch.manual_seed(0)
    shape = (9, 20, 5, 7) if layout else (9, 20)
    x, slope = (3 + 2 * torch.randn(shape, dtype=dtype) for _ in range(2))
    if layout:
        x, slope = (t.to(memory_format=layout) for t in (x, slope))
    norm = batch_norm(20, eps=1e-3, momentum=0.99, scale=False, spatial=layout is not None)
    norm.to(dtype).train(training)
    nn.init.normal_(norm.bias)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var)
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    bias = nn.Parameter(norm.bias.detach().clone())

    def results(output, inputs, biases, *statistics):
        output.backward(slope)
        return [output, inputs.grad, biases.grad, *statistics]

    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain = F.batch_norm(one, mean, variance, None, bias, training, norm.momentum, norm.eps)
    expected = results(plain, one, bias, mean, variance)
    found = results(norm(other), other, norm.bias, norm.running_mean, norm.running_var)
    assert all(map(torch.equal, expected, found))


def test_batch_norm_without_scale_trains_and_saves_no_weight():
    net = binarynet(2, 4)
    names = {name.rpartition(".")[2] for name in net.state_dict() if name.startswith("norm")}
    assert names == {"bias", "running_mean", "running_var", "num_batches_tracked"}
    assert not [name for name, _ in net.named_parameters() if name == "norm1.weight"]
    assert repr(net.norm1) == repr(nn.BatchNorm2d(2, eps=1e-3, momentum=1 - 0.99))
    saved = io.BytesIO()
    torch.save(net, saved)
    saved.seek(0)
    twins = copy.deepcopy(net), torch.load(saved, weights_only=False)
    for twin in (*twins, net.to("meta"), net.double().to(memory_format=torch.channels_last)):
        first, *_ = twin.parameters()
        assert twin.norm1.weight.shape == (2,) and not twin.norm1.weight.requires_grad
        assert (twin.norm1.weight.device, twin.norm1.weight.dtype) == (first.device, first.dtype)
    assert all((twin.norm1.weight == 1).all() for twin in twins)


@pytest.mark.parametrize(("name", "image_size", "settings"), SMALL)
def test_the_backward_pass_reaches_every_parameter(name, image_size, settings, device):
    """In channels-last maps, as the study trains; no GPU has run this yet."""
    net = build(name, 7, image_size, **settings).to(device, memory_format=torch.channels_last)
    images = torch.randn(3, 3, image_size, image_size, device=device)
    images = images.to(memory_format=torch.channels_last)
    F.cross_entropy(net(images), torch.arange(3, device=device)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_layer_norm_is_over_the_channels_of_each_pixel():
    torch.manual_seed(0)
    norm = ChannelLayerNorm(5)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = torch.randn(2, 5, 3, 4)
    pixel = x[1, :, 2, 3]
    expected = (pixel - pixel.mean()) / (pixel.var(correction=0) + 1e-3).sqrt()
    assert torch.allclose(norm(x)[1, :, 2, 3], expected * norm.weight + norm.bias, atol=1e-6)
    assert torch.allclose(norm(x[:, :, 0, 0]), norm(x)[:, :, 0, 0], atol=1e-6)


@pytest.mark.parametrize("size", range(5, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (11, 4), (2, 2)])
def test_same_padding(size, kernel, stride):
    """TensorFlow's rule: ceil(size / stride) outputs, the smaller half of the padding first."""
    x = torch.arange(1.0, size * size + 1).view(1, 1, size, size)
    padded = pad_same(x, kernel, stride)
    outputs = math.ceil(size / stride)
    assert F.max_pool2d(padded, kernel, stride).shape[2:] == (outputs, outputs)
    total = max((outputs - 1) * stride + kernel - size, 0)
    assert padded.shape[2] == size + total
    assert torch.equal(padded[0, 0, total // 2 :][:size, total // 2 :][:, :size], x[0, 0])
    assert padded.sum() == x.sum()


def test_average_pooling_counts_what_is_inside():
    x = torch.tensor([[1.0, 3.0, 10.0], [5.0, 7.0, 20.0], [2.0, 4.0, 30.0]])
    assert avg_pool_same(x[None, None])[0, 0].tolist() == [[4, 15], [3, 30]]


def test_features_are_flattened_in_height_width_channel_order():
    x = torch.arange(24).view(1, 2, 3, 4)
    assert flatten_hwc(x)[0, :4].tolist() == [0, 12, 1, 13]


def test_adam_groups_carry_the_penalty_of_xnornet():
    net = xnornet(5, 0.02, 64)
    _, real = binary_parameters(net)
    groups = adam_groups(net, real)
    penalised = {id(net.conv1.weight), id(net.classifier.weight)}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays == {id(p): 1e-6 if id(p) in penalised else 0.0 for p in real}
    plain = binary_parameters(birealnet(5, 0.05, 64))[1]
    assert [g["weight_decay"] for g in adam_groups(birealnet(5, 0.05, 64), plain)] == [0.0]


def test_weight_decay_of_adam_is_the_penalty_in_the_loss():
    torch.manual_seed(0)
    start, slope = torch.randn(6), torch.randn(6)
    by_decay, by_loss = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first = torch.optim.Adam([{"params": [by_decay], "weight_decay": 2 * 0.3}], lr=0.01)
    second = torch.optim.Adam([by_loss], lr=0.01)
    for _ in range(5):
        for optimizer in (first, second):
            optimizer.zero_grad()
        (by_decay * slope).sum().backward()
        ((by_loss * slope).sum() + 0.3 * by_loss.square().sum()).backward()
        first.step()
        second.step()
    assert torch.allclose(by_decay, by_loss, atol=1e-6)


def test_imports_load_nothing_of_the_study():
    """The base install has torch, numpy and safetensors only."""
    import subprocess
    import sys
    from pathlib import Path

    import bop2ndorder

    modules = "binary, optim, schedules, networks, weights"
    code = f"import sys; from bop2ndorder import {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True,
        cwd=Path(bop2ndorder.__file__).parents[1],  # whether it is installed or not
    )  # fmt: skip
    study = {"torchvision", "pydantic", "pandas", "matplotlib", "sklearn", "scipy", "click", "PIL"}
    assert not study & set(loaded.stdout.split())


def test_loading_fills_the_ones_that_no_file_has_in_place():
    """Where they are a parameter, as SyncBatchNorm wants it, they are loaded as one."""
    net = binarynet(width=2, dense=4, image_size=16)
    ones = net.norm1.weight
    ones.zero_()
    net.load_state_dict(net.state_dict())
    assert net.norm1.weight is ones and (ones == 1).all(), "what a CUDA graph holds stays"
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.weight = nn.Parameter(norm._buffers.pop("weight"), requires_grad=False)
    net.load_state_dict(net.state_dict())
    assert isinstance(net.norm7.weight, nn.Parameter)
