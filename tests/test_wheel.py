"""The built wheel: all of the package's files, and a library that needs three packages."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What the wheel is made from, apart from what earlier builds left in the repository."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=left_out)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    files = [path for path in (source / "src").rglob("*") if path.is_file()]
    named = {path.relative_to(source / "src").as_posix() for path in files}
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *offline, str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built, named


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """A folder with what `pip install WHEEL` would bring, the packages as links to those here."""
    folder = tmp_path_factory.mktemp("bare")
    alone = ["--no-index", "--no-deps", "--target", str(folder)]
    subprocess.run([*PIP, "install", *alone, str(wheel[0])], check=True)
    link(needs(folder), folder)
    return folder


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    """A folder with what else torch's exporter to ONNX takes, where it is installed."""
    pytest.importorskip("onnx", reason="needs onnx and onnxscript")
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript")
    folder = tmp_path_factory.mktemp("exporter")
    link(["onnx", "onnxscript"], folder)
    return folder


def link(names: list[str], folder: Path) -> None:
    """Link packages, and all that they require, into a folder."""
    waiting, seen = list(names), set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        package = distribution(name)
        waiting += required(package.requires or [])
        for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(package.locate_file(top))


def needs(folder: Path) -> list[str]:
    """What the wheel itself says that it requires."""
    (metadata,) = folder.glob("bop2ndorder-*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    return required(re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE))


def required(lines: list[str]) -> list[str]:
    """Names of the requirements that hold on this machine, without any extra."""
    found = map(Requirement, lines)
    return [r.name for r in found if not r.marker or r.marker.evaluate({"extra": ""})]


def run(folder: Path, code: str, cwd: Path, *others: Path) -> str:
    """What a Python prints that has its standard library and the packages of some folders."""
    path = f"import sys; sys.path += {[*map(str, (folder, *others))]}\n"
    command = [sys.executable, "-I", "-S", "-c", path + code]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_holds_every_file_of_the_package(wheel):
    built, named = wheel
    held = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    assert held == named
    assert {"bop2ndorder/py.typed", "bop2ndorder/study/config/codes.json"} <= held


def test_the_wheel_brings_the_library_and_not_what_the_study_needs(bare, tmp_path):
    assert set(needs(bare)) == {"torch", "numpy", "safetensors"}
    code = """
from importlib.util import find_spec
asked = ["torch", "click", "pydantic", "pandas", "sklearn", "torchvision", "snakemake", "dvc"]
print(*(name for name in asked if find_spec(name)))
import bop2ndorder
print(bop2ndorder.__file__)
"""
    there, place = run(bare, code, tmp_path).splitlines()
    assert there == "torch"
    assert Path(place).is_relative_to(bare)


def test_the_example_of_the_readme_runs_on_the_wheel_alone(bare, tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = f"""
import os
os.environ["OMP_NUM_THREADS"] = "1"
import torch
torch.manual_seed(0)
{example}
assert loss < 0.7, "guessing has ln 4"
from bop2ndorder import load_run, networks, schedules
assert all((p.abs() == 1).all() for p in binary)
print("names", *(name for name in sys.modules if name.startswith("bop2ndorder.study")))
"""
    assert run(bare, code, tmp_path).splitlines()[-1] == "names"


def test_a_network_made_binary_learns_under_a_scheduler_and_resumes(bare, tmp_path):
    """`binarize_`, LambdaLR for 100 steps, all states through a file after 50, `summary`."""
    code = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
import torch
from torch import nn
from bop2ndorder.binary import binary_parameters
from bop2ndorder.convert import binarize_
from bop2ndorder.optim import Bop2ndOrder
from bop2ndorder.summary import summary

def begin():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Hardtanh(), nn.Flatten(), nn.Linear(128, 16),
        nn.BatchNorm1d(16), nn.Linear(16, 4),
    )
    binary, real = binary_parameters(binarize_(net, skip=["6"]))
    flip, adam = Bop2ndOrder(binary, gamma=0.03), torch.optim.Adam(real, lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(flip, lambda step: 0.97**step)
    return net, flip, adam, scheduler

def train(net, flip, adam, scheduler, steps):
    for step in steps:
        images, labels = batches[step]
        loss = nn.functional.cross_entropy(net(images), labels)
        net.zero_grad()
        loss.backward()
        flip.step()
        adam.step()
        scheduler.step()
    return loss.item()

torch.manual_seed(1)
patterns = torch.randn(4, 1, 6, 6)
batches = []
for _ in range(100):
    labels = torch.randint(4, (32,))
    batches.append((patterns[labels] + torch.randn(32, 1, 6, 6), labels))

through = begin()
loss = train(*through, range(100))
first = begin()
train(*first, range(50))
torch.save([part.state_dict() for part in first], "states")
resumed = begin()
for part, state in zip(resumed, torch.load("states", weights_only=True)):
    part.load_state_dict(state)
train(*resumed, range(50, 100))
assert abs(through[1].param_groups[0]["lr"] / 0.97**100 - 1) < 1e-9
weights, others = (part[0].state_dict() for part in (through, resumed))
assert all(torch.equal(others[name], weight) for name, weight in weights.items())
net = through[0]
assert all((net[i].weight.abs() == 1).all() for i in (0, 4)) and not (net[6].weight == 1).any()
assert sum(state["flips"] for state in through[1].state.values()) > 100
print(loss)
print(summary(net, (1, 6, 6)))
"""
    loss, *_, total = run(bare, code, tmp_path).splitlines()
    assert float(loss) < 0.2, "guessing has ln 4"
    binary, real, layers = 72 + 2048, 8 + 16 + 16 + 32 + 68, 16 * 72 + 2048 + 64
    buffers = 2 * (8 + 16)
    size = binary // 8 + 4 * (real + buffers) + 2 * 8
    assert total.split() == ["total", *(f"{n:,}" for n in (binary, real, 0, layers, size))]


def test_the_network_of_the_readme_goes_to_onnx(bare, exporter, tmp_path):
    """And onnx's own evaluator finds what torch does."""
    code = """
import os, warnings
os.environ["OMP_NUM_THREADS"] = "1"
import onnx, torch
from onnx.reference import ReferenceEvaluator
from bop2ndorder.networks import binarynet
torch.manual_seed(0)
net = binarynet(width=4, dense=16, image_size=16)
net(torch.randn(8, 3, 16, 16))
images = torch.randn(5, 3, 16, 16)
warnings.simplefilter("ignore")
made = torch.onnx.export(net.eval(), (images,), "net.onnx", external_data=False, verbose=False)
model = onnx.load("net.onnx")
onnx.checker.check_model(model, full_check=True)
(logits,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: images.numpy()})
torch.testing.assert_close(torch.from_numpy(logits), net(images).detach())
print("held")
"""
    assert run(bare, code, tmp_path, exporter).splitlines()[-1] == "held"


def test_the_command_of_the_library_alone_says_what_to_install(bare, tmp_path):
    code = f"""
from importlib.metadata import distributions
(installed,) = distributions(name="bop2ndorder", path=[{str(bare)!r}])
(script,) = installed.entry_points.select(group="console_scripts")
command = script.load()
sys.argv = [script.name, "--help"]
try:
    command()
except SystemExit as end:
    print(end)
"""
    said = run(bare, code, tmp_path)
    assert said.count("\n") == 1 and 'pip install "bop2ndorder[study]"' in said
