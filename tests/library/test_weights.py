"""Weight files: what they hold, that they are the same every time, and what damage does."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from bop2ndorder.binary import BinaryLinear, binary_layers, sign
from bop2ndorder.networks import build
from bop2ndorder.weights import load_weights, save_weights

NETWORKS = [
    ("binarynet", 16, {"width": 3, "dense": 7}),
    ("binarynet", 16, {"width": 3, "dense": 7, "norm": "layer"}),
    ("xnornet", 64, {"width": 0.05}),
    ("birealnet", 64, {"width": 0.05}),
]


def make(name, image_size, settings, seed=0, latent=False):
    """A network whose normalization statistics are not the initial ones."""
    torch.manual_seed(seed)
    net = build(name, 5, image_size, latent=latent, **settings)
    net(torch.randn(4, 3, image_size, image_size))
    return net.eval()


@pytest.mark.parametrize("latent", [False, True])
@pytest.mark.parametrize(("name", "image_size", "settings"), NETWORKS)
def test_round_trip(tmp_path, name, image_size, settings, latent):
    net = make(name, image_size, settings, latent=latent)
    other = make(name, image_size, settings, seed=1, latent=latent)
    x = torch.randn(4, 3, image_size, image_size)
    assert not torch.equal(net(x), other(x))
    save_weights(net, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(net(x), other(x))
    for name, layer in binary_layers(other).items():
        assert torch.equal(layer.weight, sign(binary_layers(net)[name].weight))


def test_bytes_depend_on_the_values_alone(tmp_path):
    first, second, other, double = (make(*NETWORKS[0], seed=seed) for seed in (0, 0, 1, 0))
    second.to(memory_format=torch.channels_last)
    for name, net in {"a": first, "b": second, "c": other, "d": double.double()}.items():
        save_weights(net, tmp_path / name)
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert saved["a"] == saved["b"] == saved["d"] != saved["c"]


def test_bfloat16_is_kept_as_float32(tmp_path):
    net = make(*NETWORKS[0]).bfloat16()
    save_weights(net, tmp_path / "half")
    save_weights(net.float(), tmp_path / "single")
    assert (tmp_path / "half").read_bytes() == (tmp_path / "single").read_bytes()


def test_a_bit_for_each_binary_weight(tmp_path):
    net = build("binarynet", 10, 32, width=32, dense=256)
    save_weights(net, tmp_path / "weights")
    weights = sum(layer.weight.numel() for layer in binary_layers(net).values())
    others = sum(value.nbytes for name, value in net.state_dict().items() if "norm" in name)
    size = (tmp_path / "weights").stat().st_size
    assert weights / 8 + others <= size <= weights / 8 + others + 5000


def test_order_of_bits(tmp_path):
    """As the format says: first weight in the highest bit, a set bit for +1, zeros to fill."""
    net = build("binarynet", 10, 16, width=1, dense=5)
    with torch.no_grad():
        net.conv1.weight.fill_(-1).view(-1)[[0, 9, 26]] = 1
    save_weights(net, tmp_path / "weights")
    with safe_open(tmp_path / "weights", framework="np") as file:
        assert file.get_tensor("conv1.weight").tolist() == [0b10000000, 0b01000000, 0, 0b00100000]
        assert '"conv1.weight": [1, 3, 3, 3]' in file.metadata()["binary"]


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    net = make(*NETWORKS[0])
    with pytest.raises(FileNotFoundError, match="weights.safetensors"):
        load_weights(net, path)
    save_weights(net, path)
    with pytest.raises(ValueError, match="weights.safetensors does not fit this XNORNet: class"):
        load_weights(build("xnornet", 5, 64, width=0.05), path)
    with pytest.raises(ValueError, match=r"conv1.weight should have shape \[4, 3, 3, 3\], but has"):
        load_weights(build("binarynet", 5, 16, width=4, dense=7), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="weights.safetensors is not a whole safetensors file"):
        load_weights(net, path)


DAMAGE = {
    "too few bits": {"0.weight": torch.zeros(1, dtype=torch.uint8)},
    "no bits": {"0.weight": torch.zeros(2)},
    "not there": {"other": torch.zeros(2, dtype=torch.uint8)},
}


@pytest.mark.parametrize("case", DAMAGE)
def test_bits_that_are_not_all_there_are_a_damage(tmp_path, case):
    path = tmp_path / "weights"
    save_file(DAMAGE[case], path, metadata={"binary": json.dumps({"0.weight": [3, 4]})})
    match = "weights is damaged: 0.weight should be 12 bits, packed eight to a byte"
    with pytest.raises(ValueError, match=match):
        load_weights(nn.Sequential(BinaryLinear(4, 3)), path)


@pytest.mark.parametrize(("name", "image_size", "settings"), NETWORKS)
def test_a_network_that_was_built_without_values_loads_them_all(
    tmp_path, name, image_size, settings
):
    net = make(name, image_size, settings)
    save_weights(net, tmp_path / "weights")
    with torch.device("meta"):
        empty = build(name, 5, image_size, **settings)
    with pytest.raises(ValueError, match="is on the meta device, which holds no values"):
        load_weights(empty, tmp_path / "weights")
    empty.to_empty(device="cpu")
    for buffer in empty.buffers():
        buffer.fill_(7)  # whatever was in that memory
    load_weights(empty, tmp_path / "weights")
    x = torch.randn(2, 3, image_size, image_size)
    assert torch.equal(empty.eval()(x), net(x))
    with torch.device("meta"):
        assigned = build(name, 5, image_size, **settings)
    assigned.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(assigned.eval()(x), net(x))


def test_what_is_no_tensor_is_not_kept(tmp_path):
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = BinaryLinear(4, 3)

        def get_extra_state(self):
            return {"a": 1}

    with pytest.raises(ValueError, match="_extra_state is a dict, and a file keeps tensors only"):
        save_weights(Extra(), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    save_weights(BinaryLinear(4, 3), tmp_path / "weights")
    with pytest.raises(ValueError, match="_extra_state is a dict, and a file keeps tensors only"):
        load_weights(Extra(), tmp_path / "weights")


def test_what_modules_share_is_kept_for_each(tmp_path):
    def shared():
        norm, layer = nn.BatchNorm1d(4), BinaryLinear(4, 4)
        return nn.Sequential(layer, norm, layer, norm)

    torch.manual_seed(0)
    net, other = shared(), shared()
    x = torch.randn(5, 4)
    net(x)
    save_weights(net, tmp_path / "weights")
    load_weights(other, tmp_path / "weights")
    assert torch.equal(net.eval()(x), other.eval()(x))
    with safe_open(tmp_path / "weights", "pt") as file:
        assert file.get_tensor("0.weight").numel() == file.get_tensor("2.weight").numel() == 2


def test_a_layer_alone_is_kept_as_bits(tmp_path):
    save_weights(BinaryLinear(8, 3), tmp_path / "weights")
    with safe_open(tmp_path / "weights", "pt") as file:
        assert file.get_tensor("weight").numel() == 3


def test_weights_that_are_no_signs_are_not_kept_as_such(tmp_path):
    net = nn.Sequential(BinaryLinear(2, 2))
    with torch.no_grad():
        net[0].weight[0, 0] = -0.9
    with pytest.raises(ValueError, match=r"'0' are not all -1 or \+1"):
        save_weights(net, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
