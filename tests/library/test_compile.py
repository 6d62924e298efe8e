"""torch.compile: no graph breaks, and nothing is compiled again as schedules change."""

import pytest
import torch
import torch.nn.functional as F
from optimizers import (
    assert_same_state,
    every_optimizer,
    follow,
    parameter,
    schedules,
    train,
    with_tensors,
)
from torch._dynamo.utils import counters

from bop2ndorder.networks import build
from bop2ndorder.schedules import set_hyperparameters

# 2.4.1 breaks the graph: at `out=` in channels-last, and at `isinstance(value, int | float)`. The
# versions between have not been tried.
pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="needs torch 2.14"
)
backends = pytest.mark.parametrize("backend", ["eager", "aot_eager"])
BINARYNET = {"name": "binarynet", "width": 4, "dense": 16, "num_classes": 10, "image_size": 16}
SMALL = {"width": 0.0625, "num_classes": 10, "image_size": 64}
NETWORKS = {
    "binarynet": BINARYNET,
    "binarynet_layer": {**BINARYNET, "norm": "layer"},
    "binarynet_latent": {**BINARYNET, "latent": True},
    "xnornet": {"name": "xnornet", **SMALL},
    "birealnet": {"name": "birealnet", **SMALL},
}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@backends
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_with_loss_is_one_graph(name, backend):
    torch.manual_seed(0)
    network = build(**NETWORKS[name]).to(memory_format=torch.channels_last)
    size = NETWORKS[name]["image_size"]

    def loss(images, labels):
        return F.cross_entropy(network(images), labels)

    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    for _ in range(2):
        images = torch.randn(4, 3, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 10, (4,))
        found = []
        for function in (compiled, loss):
            network.zero_grad()
            value = function(images, labels)
            value.backward()
            found.append([value.detach(), *(p.grad for p in network.parameters())])
        assert all(map(torch.equal, *found)), "loss and every gradient, to the bit"
        assert graphs() == 1


@backends
@every_optimizer
def test_a_step_is_one_graph_that_serves_all_schedules(make, backend):
    """Compiled once without a state and once with it, then never again."""
    eager = with_tensors(make([parameter(40), parameter(3, 5)]))
    compiled = with_tensors(make([parameter(40), parameter(3, 5)]))
    run = torch.compile(compiled.step, backend=backend, fullgraph=True)

    def both(number):
        follow(eager, [number])
        for p, q in zip(*(o.param_groups[0]["params"] for o in (eager, compiled)), strict=True):
            q.grad = p.grad.clone()
        run()

    for number in range(8):
        set_hyperparameters(compiled, schedules(compiled), number)
        both(number)
        assert graphs() == min(number + 1, 2)
    assert_same_state(eager, compiled)
    assert all(map(torch.equal, train(eager, ()), train(compiled, ())))
    compiled.param_groups[0]["gamma"] = 0.5  # control: a number is part of what is compiled
    both(8)
    assert graphs() == 3


def graphs():
    return counters["stats"]["unique_graphs"]
