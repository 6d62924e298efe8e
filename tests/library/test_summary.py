"""Counts of parameters, operations and bytes, held against counts by hand, others', files."""

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from bop2ndorder.binary import BinaryConv1d, BinaryConv2d, BinaryLinear, ste_sign, use_float16
from bop2ndorder.networks import binarynet, birealnet, xnornet
from bop2ndorder.summary import Row, summary
from bop2ndorder.weights import save_weights


class Sign(nn.Module):
    def forward(self, x):
        return ste_sign(x)


def small():
    return nn.Sequential(
        BinaryConv2d(2, 4, 3, bias=True),  # of real inputs
        nn.BatchNorm2d(4),
        Sign(),
        BinaryConv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def test_a_small_network_counted_by_hand():
    found = summary(small(), (2, 5, 6))
    conv = 4 * 2 * 3 * 3, 6 * 2 * 3 * 3  # weights
    assert found.rows == [
        Row("0", "BinaryConv2d", (4, 3, 4), conv[0], 4, 0, 3 * 4 * conv[0], 72 // 8 + 4 * 4),
        Row("1", "BatchNorm2d", (4, 3, 4), real_parameters=8, bytes=4 * 16 + 8),
        Row("3", "BinaryConv2d", (6, 2, 2), conv[1], 0, 2 * 2 * conv[1], 0, 14),  # 13.5
        Row("5", "Linear", (5,), 0, 125, 0, 120, 500),
    ]
    assert found.total == Row(
        "total", "", None, 72 + 108, 4 + 8 + 125, 432, 864 + 120, 25 + 72 + 14 + 500
    )
    assert (
        str(found)
        == """\
layer  kind          output     1-bit  32-bit  binary MACs  real MACs  bytes
----------------------------------------------------------------------------
0      BinaryConv2d  4 x 3 x 4     72       4            0        864     25
1      BatchNorm2d   4 x 3 x 4      0       8            0          0     72
3      BinaryConv2d  6 x 2 x 2    108       0          432          0     14
5      Linear        5              0     125            0        120    500
----------------------------------------------------------------------------
total                             180     137          432        984    611"""
    )


@pytest.mark.parametrize("latent", [False, True])
def test_binarynet_of_full_width_counted_by_hand(latent):
    f, dense = 128, 1024
    weights = [
        27 * f, 9 * f * f, 9 * f * 2 * f, 9 * 4 * f * f, 9 * 2 * f * 4 * f, 9 * 16 * f * f,
        3 * 3 * 4 * f * dense, dense * dense, dense * 10,
    ]  # fmt: skip
    pixels = [30 * 30, 30 * 30, 15 * 15, 15 * 15, 7 * 7, 7 * 7, 1, 1, 1]
    biases = [f, f, 2 * f, 2 * f, 4 * f, 4 * f, dense, dense, 10]
    macs = [p * w for p, w in zip(pixels, weights, strict=True)]
    total = summary(binarynet(latent=latent), (3, 32, 32)).total
    assert total.binary_parameters == sum(weights) == 10_352_000
    assert total.real_parameters == sum(biases) == 3_850
    assert total.real_macs == macs[0] == 3_110_400  # of the images
    assert total.binary_macs == sum(macs[1:]) == 510_961_664
    assert total.bytes == 10_352_000 // 8 + 3 * 4 * 3_850 + 9 * 8


def test_birealnet_as_published():
    """larq's zoo gives 11 699 112 parameters, moving statistics included, and 4.03 MB."""
    net = birealnet()
    total = summary(net, (3, 224, 224)).total
    statistics = sum(b.numel() for name, b in net.named_buffers() if "running" in name)
    assert total.binary_parameters + total.real_parameters + statistics == 11_699_112
    assert f"{total.bytes / 2**20:.2f}" == "4.03"


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (small, (2, 5, 6)),
        (lambda: small().bfloat16(), (2, 5, 6)),
        (lambda: binarynet(width=3, dense=5, norm="layer"), (3, 32, 32)),
        (lambda: xnornet(width=0.03, image_size=64, num_classes=7), (3, 64, 64)),
    ],
)
def test_bytes_are_those_of_a_file(tmp_path, net, size):
    net = net()
    save_weights(net, tmp_path / "weights")
    with safe_open(tmp_path / "weights", framework="pt") as file:
        held = sum(file.get_tensor(name).nbytes for name in file.keys())
    assert summary(net, size).total.bytes == held


def test_operations_go_to_the_module_that_makes_them():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = BinaryLinear(4, 4)
            self.same = self.twice
            self.line = BinaryConv1d(1, 3, 2)
            self.unused = nn.Linear(2, 2)
            self.scale = nn.Parameter(torch.ones(12, 12))

        def forward(self, x):
            x = self.twice(x)  # real
            x = self.same(ste_sign(x))
            x = self.line(input=ste_sign(x)[:, None])
            return F.linear(x.flatten(1), self.scale[:, :9]), x

    net = Outer()
    assert summary(net, (4,)).rows == [
        Row("", "Outer", None, 0, 144, 0, 108, 576),
        Row("twice", "BinaryLinear", (4,), 16, 0, 16, 16, 2),
        Row("line", "BinaryConv1d", (3, 3), 6, 0, 18, 0, 1),
        Row("unused", "Linear", None, 0, 6, 0, 0, 24),
    ]


def test_a_shared_weight_counts_once():
    net = nn.Sequential(BinaryLinear(8, 8), BinaryLinear(8, 8))
    net[1].weight = net[0].weight
    first, second = summary(net, (8,)).rows
    assert (first.binary_parameters, first.bytes) == (64, 8)
    assert (second.binary_parameters, second.bytes, second.real_macs) == (0, 0, 64)


def test_inputs_of_0_and_1_are_bits():
    class Steps(nn.Module):
        def forward(self, x):
            return (x > 0).to(x.dtype)

    (row,) = summary(nn.Sequential(Steps(), BinaryLinear(8, 3)), (8,)).rows
    assert (row.binary_macs, row.real_macs) == (24, 0)


def test_the_network_is_as_before():
    net = small()
    net[1].eval()
    use_float16(net)
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator, modes = torch.get_rng_state(), [module.training for module in net.modules()]
    summary(net, (2, 5, 6))
    with pytest.raises(RuntimeError, match="expected"):
        summary(net, (3, 5, 6))
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_float16_changes_no_count():
    net = binarynet(width=8, dense=16)
    expected = summary(net, (3, 32, 32))
    assert use_float16(net)
    assert summary(net, (3, 32, 32)) == expected


def test_a_network_without_values_is_refused():
    with torch.device("meta"):
        net = small()
    with pytest.raises(ValueError, match="summary calls the network, and one on the meta device"):
        summary(net, (2, 5, 6))
    assert net.training
