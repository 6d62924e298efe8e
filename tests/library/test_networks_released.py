"""The networks against the authors' released code: one pass of each, and 60 training steps."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from released import (
    NETWORKS,
    in_keras_order,
    inputs,
    network,
    to_keras,
    trajectory_data,
    trajectory_network,
    use_biased_moving_variance,
    vectors,
)

from bop2ndorder.binary import binary_parameters
from bop2ndorder.optim import Bop, Bop2ndOrder

pytestmark = pytest.mark.fidelity

FLOAT32_NETWORKS = ("binarynet_batch", "binarynet_layer", "xnornet_batch")
OPTIMIZERS = {
    "bop": lambda binary: Bop(binary, threshold=1e-6, gamma=1e-3),
    "biased": lambda binary: Bop2ndOrder(binary, threshold=1e-3, gamma=1e-2, sigma=1e-2),
    "unbiased": lambda binary: Bop2ndOrder(
        binary, threshold=1e-1, gamma=1e-2, sigma=1e-2, bias_correction="constant"
    ),
}


def one_pass(name, dtype, device="cpu"):
    """Loss, probabilities, kernels with gradients, and the network after one training pass."""
    net, kernels = network(name, dtype, device)
    use_biased_moving_variance(net)
    images, labels = (tensor.to(device) for tensor in inputs(name, dtype))
    assert np.array_equal(labels.cpu(), vectors("models")[0][f"{name}/labels"])
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    return loss.item(), logits.softmax(1).detach(), kernels, net, images


@pytest.mark.parametrize("name", NETWORKS)
def test_one_pass_in_float64(name, device, deviation):
    golden, facts = vectors("models")
    loss, probs, kernels, net, images = one_pass(name, torch.float64, device)
    deviation(f"{name} float64 loss", abs(loss / facts[name]["loss"] - 1), 1e-9)
    deviation(f"{name} float64 probabilities", distance(probs, golden[f"{name}/probs"]), 1e-9)
    for k, kernel in enumerate(kernels):
        grad = to_keras(kernel.grad).contiguous()
        norm = facts[name]["kernel_grad_l2"][k]
        deviation(f"{name} float64 gradient norms", abs(grad.norm() / norm - 1), 1e-9)
        largest = grad.abs().max()
        if f"{name}/kernel_grad_{k:02}" in golden:
            given = golden[f"{name}/kernel_grad_{k:02}"]
        else:
            given, grad = golden[f"{name}/kernel_grad_{k:02}_first64"], grad.flatten()[:64]
        deviation(f"{name} float64 gradients", distance(grad, given) / largest, 1e-9)
    net.eval()
    with torch.no_grad():
        probs = net(images).softmax(1)
    given = golden[f"{name}/probs_eval_fresh_stats"]
    deviation(f"{name} float64 evaluation mode", distance(probs, given), 1e-7)


@pytest.mark.parametrize("name", FLOAT32_NETWORKS)
def test_one_pass_in_float32(name, deviation):
    golden, facts = vectors("models")
    _, probs, kernels, _, _ = one_pass(name, torch.float32)
    deviation(f"{name} float32 probabilities", distance(probs, golden[f"{name}/probs"]), 1e-5)
    for kernel, norm in zip(kernels, facts[name]["kernel_grad_l2"], strict=True):
        ours = kernel.grad.norm(dtype=torch.float64)
        deviation(f"{name} float32 gradient norms", abs(ours / norm - 1), 1e-3)


def test_bireal_net_is_chaotic_in_float32(deviation):
    """Reported, with a bound so loose that only a mistake exceeds it; see docs/fidelity.md."""
    loss, *_ = one_pass("birealnet_batch", torch.float32)
    given = vectors("models")[1]["birealnet_batch"]["loss"]
    deviation("birealnet_batch float32 loss (chaotic)", abs(loss / given - 1), 0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_counts(name):
    facts = vectors("models")[1][name]
    with torch.device("meta"):
        net = NETWORKS[name]()
    kernels = in_keras_order(net, [tuple(kernel["shape"]) for kernel in facts["kernels"]])
    binary = sum(
        kernel.numel()
        for kernel, fact in zip(kernels, facts["kernels"], strict=True)
        if fact["binary"]
    )
    statistics = sum(b.numel() for n, b in net.named_buffers() if "running" in n)
    trainable = sum(p.numel() for p in net.parameters())
    assert binary == facts["binary"]
    assert trainable == facts["trainable"]
    assert trainable + statistics == facts["params"]


def train(name, steps, dtype, device="cpu", before_step=lambda net, images, labels: None):
    """Losses and flips (per kernel) of each step, and the network and its kernels after them."""
    net, kernels = trajectory_network(dtype, device)
    use_biased_moving_variance(net)
    binary, real = binary_parameters(net)
    flip, adam = OPTIMIZERS[name](binary), torch.optim.Adam(real, lr=0.01)
    images, labels, _ = (tensor.to(device) for tensor in trajectory_data())
    losses, flips = [], []
    for step in range(steps):
        before_step(net, images[step], labels[step])
        before = [kernel.detach().clone() for kernel in kernels]
        # Keras adds eps to sqrt(v) before the bias correction.
        adam.param_groups[0]["eps"] = 1e-7 / np.sqrt(1 - 0.999 ** (step + 1))
        flip.zero_grad()
        adam.zero_grad()
        loss = F.cross_entropy(net(images[step].to(dtype)), labels[step])
        loss.backward()
        flip.step()
        adam.step()
        losses.append(loss.item())
        flips.append([int((k != b).sum()) for k, b in zip(kernels, before, strict=True)])
    counted = [int(flip.state[kernel]["flips"]) for kernel in kernels]
    assert counted == list(np.sum(flips, axis=0))
    return np.array(losses), np.array(flips), net, kernels


@pytest.mark.parametrize("name", ["biased", "unbiased"])
def test_trajectory(name, device, deviation):
    golden, _ = vectors("training_trajectory")
    losses, flips, net, kernels = train(name, 60, torch.float64, device)
    assert golden[f"{name}/flips"].sum() > 0
    assert np.array_equal(flips, golden[f"{name}/flips"])
    deviation(f"trajectory {name} losses", distance(losses, golden[f"{name}/losses"]), 1e-8)
    assert [int(kernel.sum()) for kernel in kernels] == golden[f"{name}/final_signs_sum"].tolist()
    net.eval()
    with torch.no_grad():
        probs = net(trajectory_data()[2].to(device)).softmax(1)
    given = golden[f"{name}/eval_probs"]
    deviation(f"trajectory {name} evaluation", distance(probs, given), 1e-6)


def test_trajectory_of_bop(device, deviation):
    golden, _ = vectors("training_trajectory")
    losses, flips, _, _ = train("bop", 40, torch.float64, device)
    assert np.array_equal(flips, golden["bop/flips"][:40])
    deviation("trajectory bop losses (40)", distance(losses, golden["bop/losses"][:40]), 1e-8)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_beside_the_trajectory(name, deviation):
    """The float64 run trains; at each of its first steps a float32 copy computes the same loss."""
    losses = []

    def float32_loss(net, images, labels):
        with torch.no_grad():
            logits = copy.deepcopy(net).float()(images.float())
        losses.append(F.cross_entropy(logits, labels).item())

    train(name, 5, torch.float64, before_step=float32_loss)
    given = vectors("training_trajectory")[0][f"{name}/losses"][:5]
    deviation(f"trajectory {name} float32 beside it (5)", distance(losses, given), 1e-3)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX2" or not torch.backends.mkldnn.is_available(),
    reason="in float32 an activation within 5e-7 of the estimator's edge decides; "
    "known to fall on the right side with oneDNN's AVX2 kernels and two threads",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trajectory_begins_alike_in_float32(name, deviation, two_threads):
    losses, *_ = train(name, 5, torch.float32)
    given = vectors("training_trajectory")[0][f"{name}/losses"][:5]
    deviation(f"trajectory {name} float32 alone (5)", distance(losses, given), 1e-3)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def distance(ours, given) -> float:
    """The largest absolute difference."""
    ours = torch.as_tensor(ours, dtype=torch.float64, device="cpu")
    return float((ours - torch.from_numpy(np.asarray(given, dtype=np.float64))).abs().max())
