"""Precision: what is set, what torch reports then, and that float16 changes no number."""

import pytest
import torch
from tiny import OPTIMIZERS, history, settings

from bop2ndorder.binary import binary_layers
from bop2ndorder.study.run.precision import precision_in_force, use_precision
from bop2ndorder.study.run.train import train


@pytest.fixture(autouse=True)
def switches():
    """torch's switches as they are when it is loaded, before and after."""

    def reset():
        torch.backends.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True
        torch.backends.cuda.matmul.allow_fp16_accumulation = False

    reset()
    yield
    reset()


@pytest.fixture
def card(monkeypatch):
    """card(major, minor): a card of that compute capability, as far as torch says."""

    def put(*capability):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")

    put(9, 0)
    return put


def reported():
    """By the two interfaces that torch has to the same switches."""
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = matmul.fp32_precision, convolutions.conv.fp32_precision, convolutions.rnn.fp32_precision
    return {word == "tf32" for word in newer} | {matmul.allow_tf32, convolutions.allow_tf32}


def test_torch_itself_uses_tf32_for_convolutions(card):
    """So nothing that is not set can be taken for float32."""
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    with pytest.raises(RuntimeError, match="torch reports tf32 for convolutions where float32 is"):
        precision_in_force(settings(), "cuda")


@pytest.mark.parametrize("precision", [None, "float32", "tf32", "float16"])
def test_what_is_set_on_a_gpu_is_what_torch_reports(card, precision, capsys):
    run = settings() if precision is None else settings(precision=precision)
    use_precision(run, "cuda")
    assert precision_in_force(run, "cuda") == precision or (precision is None)
    assert reported() == {precision == "tf32"}
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    assert torch.get_float32_matmul_precision() == ("high" if precision == "tf32" else "highest")
    use_precision(settings(precision="tf32"), "cuda")
    use_precision(run, "cuda")  # after another run
    assert reported() == {precision == "tf32"}
    assert not capsys.readouterr().err


def set_newer():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "tf32"


def set_bf16():
    torch.set_float32_matmul_precision("medium")  # on the CPU, too


@pytest.mark.parametrize("on", ["cpu", "cuda"])
@pytest.mark.parametrize("change", [set_newer, set_bf16])
def test_what_was_set_before_is_overruled(card, change, on):
    change()
    use_precision(settings(), on)
    assert precision_in_force(settings(), on) == "float32" and reported() == {False}


def set_all():
    torch.backends.fp32_precision = "tf32"


def set_sums():
    torch.backends.cuda.matmul.allow_fp16_accumulation = True


@pytest.mark.parametrize(
    ("change", "on", "sentence"),
    [
        (
            set_all,
            "cpu",
            "precision: torch reports tf32 for convolutions where float32 is",
        ),
        (set_all, "cuda", "reports tf32 for convolutions where float32 is set"),
        (set_newer, "cuda", "reports tf32 for matrix products where float32 is set"),
        (set_bf16, "cpu", "reports bf16 for matrix products where float32 is set"),
        (set_sums, "cuda", "reports float16 for sums of float16 products where float32 is set"),
    ],
)
def test_what_somebody_sets_meanwhile_is_a_sentence(card, change, on, sentence):
    run = settings(precision="float16")
    use_precision(run, on)
    change()
    with pytest.raises(RuntimeError, match=sentence):
        precision_in_force(run, on)
    if change is set_all:  # which lies below what can be set for it
        with pytest.raises(RuntimeError, match=sentence):
            use_precision(run, on)


def test_tf32_without_tf32_is_float32_and_says_so(card, capsys, monkeypatch):
    run = settings(precision="tf32")
    use_precision(run, "cpu")
    assert precision_in_force(run, "cpu") == "float32" and reported() == {False}
    card(7, 5)
    use_precision(run, "cuda")
    assert precision_in_force(run, "cuda") == "float32" and reported() == {False}
    card(8, 0)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    use_precision(run, "cuda")
    assert precision_in_force(run, "cuda") == "float32"
    assert capsys.readouterr().err.splitlines() == [
        f"precision: float32 instead of tf32, since {reason}"
        for reason in (
            "it runs on the CPU",
            "Card has no TF32",
            "NVIDIA_TF32_OVERRIDE=0 forbids it",
        )
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_the_cpu_every_precision_gives_the_same_files(optimizer, digits, tmp_path):
    files = []
    for precision in ("float32", "tf32", "float16"):
        run, folder = settings(optimizer, precision=precision), tmp_path / precision
        network, _ = train(run, digits, folder, folder.with_suffix(".pt"))
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
        in_float16 = {name for name, layer in binary_layers(network).items() if layer.float16}
        assert in_float16 == (
            {*binary_layers(network)} - {"conv1"} if precision == "float16" else set()
        )
    assert files[0] == files[1] == files[2]
    assert len(history(folder)) == 3
