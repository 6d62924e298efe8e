"""Training on a GPU: finite, repeatable to the bit, taken up after a kill, beside another run.

`pytest -m gpu` runs them on one; **no GPU has run them so far.** On the CPU the same tests, but for
that of batches, train small networks for a few steps. All need torch, NumPy, safetensors and pytest
only.
"""

import math
import signal

import pytest
import torch
from one_run import start_run

from benchmarks.random_images import write_random_images
from bop2ndorder.study.data import open_data
from bop2ndorder.study.run.train import train

FILES = ("weights.safetensors", "predictions.safetensors", "history.csv")
# Name -> the network as published, and what makes it small.
NETWORKS = {
    "batch norm": ({"name": "binarynet", "norm": "batch"}, {"width": 4, "dense": 16}),
    "layer norm": ({"name": "binarynet", "norm": "layer"}, {"width": 4, "dense": 16}),
    "xnornet": ({"name": "xnornet"}, {"width": 0.05}),
    "birealnet": ({"name": "birealnet"}, {"width": 0.05}),
}
RATES = {
    "gamma": {"kind": "polynomial", "start": 1e-2, "end": 1e-4, "power": 1.0, "until": 1.0},
    "sigma": 1e-2,
    "threshold": 1e-6,
    "eps": 1e-10,
}
OPTIMIZERS = {
    "bop": {"name": "bop", "gamma": 1e-3, "threshold": 1e-8},
    "biased": {"name": "bop2ndorder", **RATES, "bias_correction": "none"},
    "constant": {"name": "bop2ndorder", **RATES, "bias_correction": "constant"},
    "adam": {"name": "bop2ndorder", **RATES, "bias_correction": "adam"},
    "latent": {"name": "latent"},
}
BATCH, EPOCHS = 8, 2
# Which kernels CUDA takes depends on sizes, so there networks and images are the published ones.
STEPS = {"cpu": 2, "cuda": 25}  # of an epoch
SIZES = {"cpu": (16, 64), "cuda": (32, 224)}  # of BinaryNet's images and the others'
AUGMENT = {"pad": 2, "flip": True}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """places(device, size): a folder of random images, as many as an epoch takes."""
    made = {}

    def place(device, size):
        if size not in made:
            made[size] = tmp_path_factory.mktemp(f"{size} pixels")
            write_random_images(made[size], BATCH * STEPS[device], size)
        return made[size]

    return place


def run_of(network, optimizer, device, places, **changes):
    """A run's data and settings."""
    published, small = NETWORKS[network]
    place = places(device, SIZES[device][published["name"] != "binarynet"])
    return place, {
        "data": {"augment": AUGMENT},
        "network": published if device == "cuda" else published | small,
        "optimizer": OPTIMIZERS[optimizer],
        "lr": 1e-3,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "train_on": "all",
        "norm_statistics": "moving",
        "seed": 0,
        "threads": 1,
        **changes,
    }


def left_by(folder):
    """Bytes of what a training has left."""
    return [(folder / name).read_bytes() for name in FILES]


def undisturbed(place, settings, folder, device):
    """Train in this process; bytes of what it leaves, and the history."""
    _, history = train(settings, open_data(place), folder, folder.with_suffix(".pt"), device)
    return left_by(folder), history


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_steps_are_finite_and_repeat_to_the_bit(network, optimizer, device, places, tmp_path):
    assert_repeats(run_of(network, optimizer, device, places), tmp_path, device)


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_steps_of_less_precision_repeat_to_the_bit(precision, device, places, tmp_path):
    run = run_of("batch norm", "constant", device, places, precision=precision)
    assert_repeats(run, tmp_path, device)


@pytest.mark.parametrize("network", NETWORKS)
def test_float16_leaves_what_float32_does(network, device, places, tmp_path):
    found = [
        undisturbed(*run_of(network, "bop", device, places, precision=precision), folder, device)[0]
        for precision in ("float32", "float16")
        for folder in [tmp_path / precision]
    ]
    assert found[0] == found[1]


def assert_repeats(run, folder, device):
    first, history = undisturbed(*run, folder / "first", device)
    assert all(math.isfinite(row["train_loss"]) for row in history)
    assert history[-1]["flip_rate"] > 0
    torch.rand(7, device=device)  # what was drawn before does not matter
    second, _ = undisturbed(*run, folder / "second", device)
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "latent"])
def test_a_killed_run_ends_as_an_undisturbed_one(optimizer, device, places, tmp_path):
    run = run_of("batch norm", optimizer, device, places, epochs=30)
    killed = start_run(*run, tmp_path / "killed", device)
    assert [killed.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
    killed.kill()
    assert killed.wait() == -signal.SIGKILL and (tmp_path / "killed.pt").exists()
    resumed = start_run(*run, tmp_path / "killed", device)
    first, *_ = said = resumed.communicate()[0].split()
    assert resumed.returncode == 0 and int(first) > 2 and said[-1] == "30"
    assert left_by(tmp_path / "killed") == undisturbed(*run, tmp_path / "other", device)[0]


@pytest.mark.slow
def test_two_runs_at_once_end_as_alone(device, places, tmp_path):
    runs = {
        optimizer: run_of("batch norm", optimizer, device, places, epochs=20)
        for optimizer in ("bop", "adam")
    }
    at_once = {name: start_run(*run, tmp_path / name, device) for name, run in runs.items()}
    assert [process.wait() for process in at_once.values()] == [0, 0]
    for name, run in runs.items():
        alone, _ = undisturbed(*run, tmp_path / f"{name} alone", device)
        assert left_by(tmp_path / name) == alone


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_batches_are_those_of_the_cpu(augment, device, places):
    data = open_data(places(device, SIZES[device][0]))
    drawn = [
        data.batches("train", BATCH, seed=7, augment=augment, device=where)
        for where in ("cpu", device)
    ]
    for (images, labels), (images_there, labels_there) in zip(*drawn, strict=True):
        assert images_there.device.type == labels_there.device.type == device
        assert torch.equal(labels, labels_there.cpu())
        assert torch.equal(pixels(images), pixels(images_there.cpu()))


def pixels(images):
    """0 ... 255, of images that were normalised by 127.5."""
    return (images * 127.5 + 127.5).round()
