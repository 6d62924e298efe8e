"""Real-valued networks made binary: which layers, what stays, what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from bop2ndorder.binary import (
    BinaryConv1d,
    BinaryConv2d,
    BinaryLinear,
    binary_layers,
    binary_parameters,
)
from bop2ndorder.convert import binarize_
from bop2ndorder.optim import Bop2ndOrder


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.body = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, padding_mode="reflect"),
            nn.BatchNorm2d(6),
            nn.Flatten(2),
            nn.Conv1d(6, 2, 5, stride=3),
            nn.LayerNorm(4),
        )
        self.last = nn.Linear(4, 5)

    def forward(self, x):
        return self.last(self.body(self.first(x)))


def made(model=Net):
    torch.manual_seed(0)
    return model()


def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 6, 6)


def test_it_computes_what_torch_computes_with_the_signs():
    net = made().eval()
    net.last.weight.data[0, :2] = torch.tensor([0.0, -0.0])
    signs = copy.deepcopy(net)
    with torch.no_grad():
        for layer in signs.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                layer.weight.copy_(torch.where(layer.weight >= 0, 1.0, -1.0))
    assert binarize_(net) is net
    assert torch.equal(net(images()), signs(images()))
    kinds = {name: type(layer) for name, layer in binary_layers(net).items()}
    assert kinds == {
        "first": BinaryConv2d, "body.0": BinaryConv2d, "body.3": BinaryConv1d, "last": BinaryLinear,
    }  # fmt: skip
    assert net.last.weight[0, :2].tolist() == [1, 1]


def test_all_else_stays():
    net = made().double()
    net.body[1].eval()
    before = copy.deepcopy(net.state_dict())
    parameters, modules = list(net.parameters()), list(net.modules())
    net.first.weight.requires_grad_(False)
    calls = []
    net.last.register_forward_hook(lambda *_: calls.append(1))
    state = torch.get_rng_state()
    binarize_(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert [*map(id, net.parameters())] == [*map(id, parameters)]
    assert [*map(id, net.modules())] == [*map(id, modules)]
    assert not net.body[1].training and net.last.training
    assert not net.first.weight.requires_grad and net.last.weight.requires_grad
    assert net(images().double()).dtype == torch.float64 and calls == [1]
    weights = {f"{name}.weight" for name in binary_layers(net)}
    for name, value in net.state_dict().items():
        if "num_batches" not in name and "running" not in name:
            assert torch.equal(value, before[name].sign() if name in weights else before[name])
    assert all(value.dtype == before[name].dtype for name, value in net.state_dict().items())
    again = copy.deepcopy(net)
    assert torch.equal(again(images().double()), net(images().double()))
    fresh = binarize_(made().double())
    fresh.load_state_dict(net.state_dict())


@pytest.mark.parametrize(
    "skip",
    [
        ["first", "last"],
        (name for name in ("first", "last")),
        lambda name, layer: name == "first" or isinstance(layer, nn.Linear),
    ],
)
def test_what_is_skipped_stays_real_and_both_kinds_learn(skip):
    net = made()
    first = net.first.weight.detach().clone()
    binarize_(net, skip)
    assert list(binary_layers(net)) == ["body.0", "body.3"]
    assert torch.equal(net.first.weight, first)
    binary, real = binary_parameters(net)
    assert len(binary) == 2 and any(p is net.body[0].bias for p in real)
    flip, adam = Bop2ndOrder(binary, gamma=0.03), torch.optim.Adam(real, lr=0.01)
    labels = torch.tensor([[0, 1], [2, 3]])
    losses = []
    for _ in range(60):
        losses.append(loss := F.cross_entropy(net(images()).movedim(2, 1), labels))
        net.zero_grad()
        loss.backward()
        flip.step()
        adam.step()
    assert losses[-1] < losses[0] / 4
    assert all((p.abs() == 1).all() for p in binary)
    assert sum(state["flips"] for state in flip.state.values()) > 0


@pytest.mark.parametrize(
    ("skip", "left"), [("body", ["first", "last"]), (["body.0", "last"], ["first", "body.3"])]
)
def test_a_name_stands_for_all_that_is_inside(skip, left):
    assert list(binary_layers(binarize_(made(), skip))) == left


def test_the_model_itself_may_be_a_layer():
    layer = nn.Linear(3, 2)
    assert binarize_(layer) is layer and type(layer) is BinaryLinear
    assert layer.bias is not None


def test_binary_layers_stay_as_they_are():
    net = nn.Sequential(BinaryLinear(3, 3, latent=True, binary_input=True), nn.Linear(3, 3))
    before = net[0].weight.detach().clone()
    binarize_(net)
    assert net[0].latent and net[0].binary_input and torch.equal(net[0].weight, before)
    assert type(net[1]) is BinaryLinear and not net[1].latent


@pytest.mark.parametrize("skip", [["c"], lambda name, layer: name == "c"])
def test_a_shared_layer_is_one_layer(skip):
    shared = nn.Linear(3, 3)
    net = nn.ModuleDict({"a": shared, "b": nn.Linear(3, 3), "c": shared})
    binarize_(net)
    assert net["a"] is net["c"] and type(shared) is BinaryLinear
    real = nn.Linear(3, 3)
    net = nn.ModuleDict({"a": real, "b": nn.Linear(3, 3), "c": real})
    binarize_(net, skip)
    assert type(real) is nn.Linear and list(binary_layers(net)) == ["b"]


def test_layers_may_share_a_weight():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    binarize_(net)
    assert net[1].weight is net[0].weight and type(net[1]) is BinaryLinear


def tied():
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    net[1].weight = net[0].weight
    return net


def pruned():
    net = nn.Sequential(nn.Linear(3, 3))
    prune.random_unstructured(net[0], "weight", 0.5)
    return net


def expanded():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = nn.Parameter(torch.ones(4, 1).expand(4, 4))
    return net


def inferring():
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    return nn.Sequential(nn.Linear(2, 2), layer)


REFUSED = {
    "no layer": (lambda: nn.Sequential(nn.ReLU()), (), "Sequential has no Linear, Conv1d or Conv2"),
    "all skipped": (Net, ["first", "body", "last"], "Net has no Linear, Conv1d or Conv2d left to"),
    "unknown": (
        Net, ["first", "head", "fc"],
        "skip names 'head', 'fc', which the model does not have; its layers are 'first', 'body.0'",
    ),
    "tied": (tied, (), "'1' shares its weight with '0', which stays real; give it one of its own"),
    "pruned": (pruned, (), "layer '0' computes its weight from other parameters"),
    "parametrized": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))), (),
        "layer '0' is a ParametrizedLinear, a class derived from torch's",
    ),
    "expanded": (expanded, (), "layer '1' has a weight that cannot be written"),
    "of inference mode": (inferring, (), "layer '1' has a weight that cannot be written"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), (), "layer '0' is a LazyLinear"),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2), (),
        "layer 'out_proj' is a NonDynamicallyQuantizableLinear, .* name it in skip",
    ),
    "complex": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.complex64)), (),
        "layer '1' has weights of torch.complex64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(case):
    make, skip, message = REFUSED[case]
    net = made(make)
    before, kinds = copy.deepcopy(net.state_dict()), [*map(type, net.modules())]
    with pytest.raises(ValueError, match=f"^binarize_: {message}"):
        binarize_(net, skip)
    assert [*map(type, net.modules())] == kinds
    for name, value in net.state_dict().items():
        assert isinstance(value, nn.UninitializedParameter) or torch.equal(value, before[name])


def test_what_is_refused_can_be_skipped():
    net = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4))
    assert list(binary_layers(binarize_(net, skip=["0"]))) == ["1"]
