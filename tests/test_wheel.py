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
    waiting, seen = needs(folder), set()
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
    return folder


def needs(folder: Path) -> list[str]:
    """What the wheel itself says that it requires."""
    (metadata,) = folder.glob("bop2ndorder-*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    return required(re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE))


def required(lines: list[str]) -> list[str]:
    """Names of the requirements that hold on this machine, without any extra."""
    found = map(Requirement, lines)
    return [r.name for r in found if not r.marker or r.marker.evaluate({"extra": ""})]


def run(folder: Path, code: str, cwd: Path) -> str:
    """What a Python prints that has its standard library and the packages of one folder."""
    path = f"import sys; sys.path.append({str(folder)!r})\n"
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
