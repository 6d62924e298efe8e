"""A step that is captured and replayed: on the CPU with a stand-in, on a GPU as it is.

No GPU has run those marked gpu.
"""

import math
from contextlib import contextmanager, nullcontext
from inspect import signature

import pytest
import torch
from replay import Recorded, record
from tiny import EPOCHS, OPTIMIZERS, STEPS, Stopped, history, settings, stop_after

from bop2ndorder.study.run import audit, graph
from bop2ndorder.study.run import trainer as trainer_module
from bop2ndorder.study.run.graph import GraphedStep, warm_up
from bop2ndorder.study.run.train import train, use_deterministic_kernels
from bop2ndorder.study.run.trainer import Trainer
from bop2ndorder.study.run.updates import DeviceUpdates, HostUpdates

DECAYING = {"kind": "exponential", "start": 0.05, "rate": 0.5, "every": 0.4}
RULES = {
    **OPTIMIZERS,
    "biased": {**OPTIMIZERS["adam"], "bias_correction": "none"},
    "unbiased": {**OPTIMIZERS["adam"], "bias_correction": "constant"},
}
NETWORKS = {
    "batch": {"name": "binarynet", "width": 4, "dense": 16, "norm": "batch"},
    "layer": {"name": "binarynet", "width": 4, "dense": 16, "norm": "layer"},
    "xnornet": {"name": "xnornet", "width": 0.0625},
    "birealnet": {"name": "birealnet", "width": 0.0625},
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
every_rule = pytest.mark.parametrize("rule", RULES)


def run_of(rule, **changes):
    return {**settings(lr=DECAYING, **changes), "optimizer": RULES[rule]}


@pytest.fixture
def stand_in(monkeypatch):
    """On the CPU as on a GPU, with what `replay` has for a CUDA graph."""
    monkeypatch.setattr(trainer_module, "HostUpdates", DeviceUpdates)
    monkeypatch.setattr(graph, "capture", record)

    def graphed(trainer, *args):
        init(trainer, *args)
        if trainer.settings.get("graph") != "off":
            trainer.graphed = GraphedStep(trainer._step, trainer._tensors)

    init = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", graphed)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@every_rule
def test_replayed_steps_are_those_of_a_run_without_graph(
    digits, rule, tmp_path, monkeypatch, request
):
    """Weights, predictions and history, byte by byte, with validation between the epochs."""
    monkeypatch.setattr(trainer_module, "HostUpdates", DeviceUpdates)
    run = run_of(rule, norm_statistics="recomputed")
    train(run, digits, tmp_path / "eager", tmp_path / "eager.pt")
    request.getfixturevalue("stand_in")
    train(run, digits, tmp_path / "graphed", tmp_path / "graphed.pt")
    assert files(tmp_path / "eager") == files(tmp_path / "graphed")


SHADOWS = {name: rule for name, rule in RULES.items() if name != "latent"}


@pytest.mark.parametrize("rule", SHADOWS)
def test_with_shadows_and_steps_that_are_audited_graph_device_and_host_agree(
    digits, rule, tmp_path, monkeypatch, request
):
    """Seven steps, three an epoch, of which the even ones count; resumed under the graph."""
    monkeypatch.setattr(audit, "EVERY", 2)
    run = run_of(rule, shadows=SHADOWS, stop_after=7)

    def left(folder, stop=lambda row: None):
        train(run, digits, folder, folder.with_suffix(".pt"), on_epoch=stop)
        return files(folder)

    host = left(tmp_path / "host")
    monkeypatch.setattr(trainer_module, "HostUpdates", DeviceUpdates)
    eager = left(tmp_path / "eager")
    request.getfixturevalue("stand_in")
    assert left(tmp_path / "graphed") == eager

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        left(tmp_path / "resumed", interrupt)
    assert left(tmp_path / "resumed") == eager
    one, other = ([*history(tmp_path / kind)] for kind in ("host", "eager"))
    names = [name for name in one[0] if "/" in name or name in audit.COLUMNS]
    assert host.keys() == eager.keys() and one[0]["disagree/biased"]
    for name in names:
        assert [float(row[name] or 0) for row in one] == pytest.approx(
            [float(row[name] or 0) for row in other], rel=1e-2
        ), name


def test_numbers_of_the_host_would_stay_those_of_the_first_step(
    digits, tmp_path, monkeypatch, request
):
    """Control: what the stand-in is for. The CPU's form, captured, trains another network."""
    train(run_of("adam"), digits, tmp_path / "eager", tmp_path / "eager.pt")
    request.getfixturevalue("stand_in")
    monkeypatch.setattr(trainer_module, "HostUpdates", HostUpdates)
    train(run_of("adam"), digits, tmp_path / "graphed", tmp_path / "graphed.pt")
    assert files(tmp_path / "eager") != files(tmp_path / "graphed")


@every_rule
@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_a_run_resumed_under_a_graph_ends_the_same(digits, rule, tmp_path, stand_in, epoch):
    train(run_of(rule), digits, tmp_path / "through", tmp_path / "through.pt")
    paths = tmp_path / "run", tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(run_of(rule), digits, *paths, on_epoch=stop_after(epoch))
    train(run_of(rule), digits, *paths)
    assert files(tmp_path / "through") == files(tmp_path / "run")


def test_a_checkpoint_taken_up_after_the_capture_is_captured_anew(digits, tmp_path, stand_in):
    def values(trainer):
        return {n: t.clone() for n, t in trainer._tensors().items()}

    trainer = Trainer(run_of("adam"), digits, "cpu")
    trainer.epoch(0)
    trainer.save(tmp_path / "run.pt", [])
    rows, ends = [], []
    for _ in range(2):
        trainer.resume(tmp_path / "run.pt")
        rows.append({k: v for k, v in trainer.epoch(1).items() if k != "images_per_second"})
        ends.append(values(trainer))
    assert rows[0] == rows[1] and rows[0]["flip_rate"] > 0
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@every_rule
@pytest.mark.parametrize("trained", [0, 1])
def test_a_warm_up_leaves_everything_as_it_was(digits, rule, trained, monkeypatch):
    """Before the first step, where the state of the optimizers is made as zeros, and later."""
    monkeypatch.setattr(trainer_module, "HostUpdates", DeviceUpdates)
    trainer = Trainer(run_of(rule), digits, "cpu")
    for epoch in range(trained):
        trainer.epoch(epoch)
    batch = next(trainer.batches(trained))
    trainer.network.train()
    trainer.updates.prepare(trained * STEPS)
    before = trainer._tensors()
    values = {name: tensor.detach().clone() for name, tensor in before.items()}
    seen = []

    def step(images, labels):
        seen.append({n: t.detach().clone() for n, t in trainer._tensors().items()})
        return trainer._step(images, labels)

    warm_up(step, batch, trainer._tensors)
    after = trainer._tensors()
    for name, tensor in after.items():
        expected = values.get(name, torch.zeros_like(tensor))
        assert torch.equal(tensor, expected), name
        assert name not in before or tensor.data_ptr() == before[name].data_ptr(), name
        assert all(torch.equal(s[name], expected) for s in seen if name in s), name
    assert len(seen) > 1 and bool(after.keys() - before.keys()) == (not trained)
    trainer._step(*batch)  # control: a step changes weights, moments, statistics, counts, sums
    changed = {
        name
        for name, tensor in trainer._tensors().items()
        if not torch.equal(tensor, values.get(name, torch.zeros_like(tensor)))
    }
    state = {"norm1.bias", "norm1.running_mean", "norm1.num_batches_tracked", "row", "sum"}
    assert state | (after.keys() - before.keys()) - {"values"} <= changed | {"values"}


def test_capture_asks_torch_for_a_warm_up_and_a_recording_on_one_stream(monkeypatch):
    """With stand-ins for the parts of torch.cuda, called as their signatures allow."""
    total, used = torch.zeros(()), []

    class Stream:
        def __init__(self, device):
            used.append(self)

        def wait_stream(self, other):
            pass

    class Graph:
        def replay(self):
            self.recorded.replay()

    @contextmanager
    def recording(*args, **kwargs):
        called = signature(torch_graph.__init__).bind(None, *args, **kwargs).arguments
        assert called["stream"] is used[0] and total == 0, "the warm-up is undone"
        with Recorded() as called["cuda_graph"].recorded:
            yield
        total.zero_()  # on a GPU nothing of it has happened yet

    def step(images, labels):
        total.add_(images.sum())
        return total * labels, total.clone()

    torch_graph = torch.cuda.graph
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(device))
    graphed, sums = GraphedStep(step, lambda: {"total": total}), [1.0, 3.0, 6.0]
    for number, expected in enumerate(sums, 1):
        product, copy = graphed(torch.full((1,), float(number)), torch.tensor([10.0, 20.0]))
        assert product.tolist() == [10 * expected, 20 * expected] and copy == expected == total
    assert len(used) == 3, "one of its own, and twice the current one"


def test_only_a_gpu_has_a_graph_and_off_is_off(digits):
    assert Trainer(settings(), digits, "cpu").graphed is None
    assert Trainer(settings(graph="off"), digits, "cpu").graphed is None


# Each network: on the CPU with the stand-in, so that these tests are known to run, and on a GPU


class Drawn:
    """Data of noise, of which a Trainer reads the facts and `trained` draws the batches."""

    source, path, num_classes = "drawn", "noise", 10

    def __init__(self, image_size):
        self.image_size = image_size

    def count(self, split):
        return 100


def trained(run, device, steps=50, first=0, resume=None, save=None):
    """Losses of the steps from `first` on, and all tensors in the end; five steps an epoch."""
    use_deterministic_kernels()
    torch.manual_seed(0)
    data = Drawn(16 if run["network"]["name"] == "binarynet" else 64)
    trainer = Trainer(run, data, device)
    trainer.network.train()
    if resume:
        trainer.resume(resume)
    losses = []
    for step in range(first, steps):
        draw = torch.Generator().manual_seed(step)
        images = torch.randn(20, 3, data.image_size, data.image_size, generator=draw)
        labels = torch.randint(0, 10, (20,), generator=draw)
        images = images.to(device, memory_format=torch.channels_last)
        losses.append(trainer.step(images, labels.to(device), step)[0].item())
    if save:
        trainer.save(save, [])
    return losses, {name: t.detach().clone() for name, t in trainer._tensors().items()}


def assert_graph_and_eager_agree(rule, network, device, steps):
    run = {**run_of(rule), "network": NETWORKS[network]}
    graph, eager = (trained({**run, "graph": kind}, device, steps) for kind in ("auto", "off"))
    assert graph[0] == eager[0] and len(set(graph[0])) == steps
    assert all(map(math.isfinite, graph[0]))
    assert graph[1].keys() == eager[1].keys()
    assert all(torch.equal(tensor, eager[1][name]) for name, tensor in graph[1].items())


def assert_resuming_changes_nothing(rule, network, device, path):
    run = {**run_of(rule), "network": NETWORKS[network]}
    losses, tensors = trained(run, device, 20)
    begun, _ = trained(run, device, 10, save=path)
    resumed, others = trained(run, device, 20, first=10, resume=path)
    assert begun + resumed == losses
    for name in tensors.keys() - {"sum", "hits"}:  # of an epoch, which nobody began
        assert torch.equal(tensors[name], others[name]), name


@pytest.mark.parametrize("network", NETWORKS)
def test_graph_and_eager_agree_with_the_stand_in(network, stand_in):
    assert_graph_and_eager_agree("adam", network, "cpu", 7)


@pytest.mark.parametrize("network", NETWORKS)
def test_resuming_changes_nothing_with_the_stand_in(network, stand_in, tmp_path):
    assert_resuming_changes_nothing("adam", network, "cpu", tmp_path / "run.pt")


@pytest.mark.gpu
@needs_cuda
@every_rule
@pytest.mark.parametrize("network", NETWORKS)
def test_graph_and_eager_agree_to_the_bit_on_a_gpu(rule, network):
    assert_graph_and_eager_agree(rule, network, "cuda", 50)


@pytest.mark.gpu
@needs_cuda
@every_rule
@pytest.mark.parametrize("network", NETWORKS)
def test_resuming_under_a_graph_changes_nothing_on_a_gpu(rule, network, tmp_path):
    assert_resuming_changes_nothing(rule, network, "cuda", tmp_path / "run.pt")
