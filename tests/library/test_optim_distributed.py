"""Bop and Bop2ndOrder with torch.distributed: its checkpoints, and what they refuse."""

import pytest
import torch
from optimizers import every_optimizer
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from bop2ndorder.binary import BinaryLinear, binary_parameters
from bop2ndorder.optim import Bop, Bop2ndOrder


@every_optimizer
def test_distributed_checkpoints_hold_all_of_it(make, tmp_path):
    """They make states by a step at an lr of 0, and then fill them."""

    def begin():
        torch.manual_seed(0)
        net = nn.Sequential(BinaryLinear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
        binary, real = binary_parameters(net)
        return net, [make(binary), torch.optim.Adam(real)]

    def go_on(net, optimizers, seeds):
        for seed in seeds:
            torch.manual_seed(seed)
            net.zero_grad()
            net(torch.randn(8, 6)).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
        return [value.clone() for value in net.state_dict().values()]

    net, optimizers = begin()
    go_on(net, optimizers, range(5))
    of_net, of_optimizers = get_state_dict(net, optimizers)
    checkpoint.save({"net": of_net, "optimizers": of_optimizers}, checkpoint_id=tmp_path)
    expected = go_on(net, optimizers, range(5, 15))

    net, optimizers = begin()
    of_net, of_optimizers = get_state_dict(net, optimizers)
    state = {"net": of_net, "optimizers": of_optimizers}
    checkpoint.load(state, checkpoint_id=tmp_path)
    set_state_dict(
        net, optimizers, model_state_dict=state["net"], optim_state_dict=state["optimizers"]
    )
    assert all(map(torch.equal, go_on(net, optimizers, range(5, 15)), expected))


@pytest.mark.parametrize("make", [Bop, Bop2ndOrder])
def test_distributed_tensors_are_refused(make):
    import torch.distributed.tensor as tensor

    if not hasattr(tensor, "distribute_tensor"):
        pytest.skip("public from torch 2.5 on")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        weight = nn.Parameter(tensor.distribute_tensor(torch.ones(3), mesh))
        with pytest.raises(TypeError, match=f"{make.__name__}: parameter 0 .* is a DTensor"):
            make([weight])
    finally:
        distributed.destroy_process_group()
