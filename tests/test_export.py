"""docs/export.md: every block of code is run, in order, on a network that was trained here."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import finished_run

from bop2ndorder.binary import binary_layers, sign

PAGE = Path(__file__).parents[1] / "docs" / "export.md"


def blocks(title: str, language: str) -> list[str]:
    """The blocks of a language in the section of that title; the first stands before all titles."""
    sections = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(["", *sections[1::2]], sections[::2], strict=True))[title]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def done(digits, tmp_path_factory):
    """What the Python blocks before the last section have defined; they ran in a folder of theirs.

    The network is a little wider than others of the tests, and no layer of it fills its last byte.
    """
    folder = tmp_path_factory.mktemp("export")
    network = {"name": "binarynet", "width": 5, "dense": 30, "norm": "batch"}
    finished_run(digits, folder / "runs" / "quick" / "a-run", network=network)
    ((images, _),) = digits.batches("test", 500)
    names = {"RUN": "a-run", "images": images, "folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for title in ("", "With NumPy alone", "As a C header"):
            (block,) = blocks(title, "python")
            exec(block, names)
    return names


def test_numpy_alone_reads_all_that_the_network_has(done):
    expected = done["network"].state_dict()
    assert done["arrays"].keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(done["arrays"][name], value.numpy()), name
    binary = done["arrays"]["dense2.weight"]
    assert {*np.unique(binary)} == {-1, 1} and binary.size % 8


def test_the_reader_needs_numpy_and_no_more():
    (block,) = blocks("With NumPy alone", "python")
    assert re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE) == ["json", "numpy"]


def test_c_computes_the_sums_of_a_binary_layer(done):
    """Of random signs, by the compiler of this system with all its warnings."""
    folder, layer = done["folder"], done["network"].dense2
    (source,) = blocks("As a C header", "c")
    (folder / "layer.c").write_text(source)
    (command,) = re.findall(r"^    (cc .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    strict = [*command.split(), "-Wall", "-Wextra", "-Werror"]
    strict += [f"-Wno-unused-{kind}" for kind in ("variable", "const-variable")]
    subprocess.run(strict, cwd=folder, check=True)
    inputs = sign(torch.randn(7, layer.in_features, generator=torch.Generator().manual_seed(0)))
    packed = np.packbits(inputs.numpy() > 0, axis=1).tobytes()
    said = subprocess.run([folder / "layer"], input=packed, capture_output=True, check=True).stdout
    sums = np.array([line.split() for line in said.splitlines()], dtype=int)
    assert np.array_equal(sums, layer(inputs).detach().numpy())


def test_the_header_has_every_binary_layer(done):
    text = (done["folder"] / "network.h").read_text()
    layers = binary_layers(done["network"])
    assert re.findall(r"char layer_(\w+)\[", text) == [*layers]
    for name, layer in layers.items():
        assert f" layer_{name}_terms = {layer.weight[0].numel()}}};" in text


def test_batch_norm_and_sign_ask_whether_a_sum_reaches_a_number(done):
    """The formula of the page, on sums that are nowhere near it by chance of rounding."""
    page = PAGE.read_text(encoding="utf-8")
    norm = done["network"].norm8.eval().double()
    (formula,) = re.findall(r"`(mean - bias .*?)`", page)
    known = {"mean": norm.running_mean, "bias": norm.bias, "variance": norm.running_var}
    limit = eval(formula, {**known, "eps": norm.eps, "sqrt": torch.sqrt})
    sums = torch.arange(-30, 31)[:, None].double().expand(-1, len(limit))
    assert torch.equal(sign(norm(sums)) == 1, sums >= limit)
    norm.float()


@pytest.mark.slow
def test_onnx_gives_the_same_logits_and_predictions(done):
    (block,) = blocks("As ONNX", "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(done["folder"])
        exec(block, done)
    with torch.inference_mode():
        expected = done["network"](done["images"]).numpy()
    assert len(expected) == 60
    np.testing.assert_allclose(done["logits"], expected, rtol=0, atol=1e-5)
    assert np.array_equal(done["logits"].argmax(1), expected.argmax(1))
