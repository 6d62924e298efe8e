"""What examples/ and the pages in docs show works as it stands."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from image_folders import write_folder
from tiny import OPTIMIZERS, settings

from bop2ndorder import networks
from bop2ndorder.binary import binary_layers, is_binary
from bop2ndorder.study.run import updates
from bop2ndorder.study.run.train import train

DOCS = Path(__file__).parents[1] / "docs"


def test_digits_learns_and_keeps_every_weight_binary(capsys):
    """Ten epochs; guessing is right for a tenth of the images."""
    example = runpy.run_path("examples/digits.py")
    assert example["main"](epochs=10) > 0.8
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_lightning_trains_with_both_optimizers(tmp_path):
    pytest.importorskip("lightning", reason="needs lightning, which is in no extra")
    example = runpy.run_path("examples/lightning_digits.py")
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = example["main"](epochs=10, default_root_dir=tmp_path, **quiet)
    assert trainer.callback_metrics["accuracy"] > 0.8
    flip, adam = trainer.optimizers
    assert flip.param_groups[0]["lr"] == pytest.approx(0.01)
    assert adam.param_groups[0]["lr"] == pytest.approx(0)
    layers = binary_layers(trainer.lightning_module)
    assert all(is_binary(layer.weight) for layer in layers.values())
    assert sum(state["flips"] for state in flip.state.values()) > 100
    assert [*tmp_path.rglob("*.ckpt")], "with the states of both"


def code_of(page: str) -> str:
    """All Python of a page, which builds on what stands before it."""
    return "\n".join(
        re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    )


def test_five_minutes_learn_and_thresholds_are_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code_of("index.md"), names)
    *flips, accuracy = capsys.readouterr().out.splitlines()
    exec(code_of("flips.md"), names)
    assert float(capsys.readouterr().out) == pytest.approx(100)
    assert names["flip"].param_groups[0]["threshold"] == pytest.approx((0.01 / 1.99) ** 0.5)
    sizes = torch.cat([weight.grad.flatten() for weight in names["binary"]])
    assert names["of_bop"](0) == pytest.approx(1e-5 * sizes.square().mean().sqrt().item())
    assert names["of_bop2ndorder"](0) == pytest.approx(1e-5)
    assert len(flips) == len(binary_layers(names["model"]))
    assert 0 < max(float(line.split()[1]) for line in flips)
    assert int(accuracy.removesuffix("% right")) > 90
    assert (tmp_path / "model.safetensors").stat().st_size < 20_000


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """What the code of extending.md leaves, and what it printed."""
    folder = tmp_path_factory.mktemp("own")
    write_folder(folder / "pictures", train=30, test=5)
    printed: list[tuple] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = {"print": lambda *values: printed.append(values)}
        exec(code_of("extending.md"), names)
    return names, printed


def test_own_optimizer_does_what_the_page_says(own):
    names, printed = own
    (shown,) = re.findall(r"print\(weight.tolist\(\)\)  # (\[.*?\])", code_of("extending.md"))
    assert str(*printed[0]) == shown
    for steps in range(1, 6):  # a weight that m never turns away from flips at the fourth step
        weight = torch.nn.Parameter(torch.ones(1))
        flip = names["Patient"]([weight], threshold=3.0)
        for _ in range(steps):
            weight.grad = torch.full((1,), 1e-20)
            flip.step()
        assert weight.item() == (1 if steps < 4 else -1)
        assert flip.state[weight]["flips"] == (steps >= 4)


def test_own_images_are_those_of_the_folder(own):
    _, printed = own
    assert printed[1] == (["ant", "cat"], 52, 8, 10)
    assert 0 < printed[2][0] < 1


@pytest.mark.parametrize("optimizer", ["bop", "latent", "patient"])
def test_own_network_and_optimizer_train_in_the_study(
    own, digits, tmp_path, monkeypatch, optimizer
):
    names, _ = own
    monkeypatch.setitem(networks._NETWORKS, "plain", names["Plain"])
    monkeypatch.setitem(
        updates.FLIP_OPTIMIZERS, "patient", lambda binary, settings: names["Patient"](binary)
    )
    monkeypatch.setitem(OPTIMIZERS, "patient", {"name": "patient", "gamma": 0.1, "threshold": 2.0})
    run = settings(optimizer, network={"name": "plain", "width": 4})
    network, history = train(run, digits, tmp_path / "run", tmp_path / "run.pt")
    assert history[-1]["flip_rate"] > 0
    layers = binary_layers(network)
    assert [*layers] == ["conv1", "conv2", "dense"]
    assert all(is_binary(layer.weight) != (optimizer == "latent") for layer in layers.values())
