"""What is installed, what is loaded, and what must not stand in any file."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from benchmarks import card

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What `make` installs: all but the optional Slurm plugin.
WANTED = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(
        Requirement,
        [*PROJECT["dependencies"], *EXTRAS["study"], *EXTRAS["docs"], *EXTRAS["dev"]],
    )
}


def lines(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_base_install_is_three_packages():
    base = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert base == {"torch", "numpy", "safetensors"}


def test_snakemake_advises_nothing_but_other_ways_to_install():
    """All rules run in the one environment that `make setup` makes of requirements.lock."""
    done = subprocess.run(["snakemake", "--lint"], cwd=ROOT, text=True, capture_output=True)
    advice = re.findall(r"^ +\* (.*):$", done.stdout + done.stderr, re.M)
    assert set(advice) == {"Specify a conda environment or container for each rule."}


def test_the_base_has_lower_bounds_alone():
    """Of which `make test-oldest` makes the versions that it installs."""
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert [specifier.operator for specifier in requirement.specifier] == [">="]


def test_the_conda_environment_is_that_of_pyproject():
    found = YAML(typ="safe").load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = found["dependencies"]
    assert f"python{PROJECT['requires-python']}" in conda
    *packages, project = pip["pip"]
    assert project == "-e ."
    assert {canonicalize_name(r.name): r for r in map(Requirement, packages)} == WANTED


def test_the_lock_pins_every_package_at_a_version_that_pyproject_allows():
    pins = {}
    for requirement in map(Requirement, lines("requirements.lock")):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        pins[canonicalize_name(requirement.name)] = specifier.version
    for name, requirement in WANTED.items():
        assert requirement.specifier.contains(pins[name]), (name, pins.get(name))
    assert (pins["torch"], pins["torchvision"]) == ("2.14.1", "0.29.1")
    assert "snakemake-executor-plugin-slurm" not in pins, "it slows every call without Slurm"
    assert PROJECT["name"] not in pins


def loaded(*modules: str) -> set[str]:
    """Names of what a fresh Python has loaded after importing some modules."""
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    text = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT / "src", text=True)
    return set(text.split())


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def base():
    """What the base install loads by itself."""
    torch = ("torch", "torch.utils.data", "torch.utils.flop_counter")
    return packages(loaded(*torch, "numpy", "safetensors.torch"))


STANDARD = {*sys.stdlib_module_names, "bop2ndorder"}
# Its modules and folders, all but the study and the command's door to it.
LIBRARY = {path.stem for path in (ROOT / "src" / "bop2ndorder").glob("[a-z]*")} - {"study", "py"}


def test_the_library_loads_nothing_of_the_study(base):
    names = loaded(*(f"bop2ndorder.{module}" for module in LIBRARY))
    assert packages(names) - base <= STANDARD
    ours = {name.split(".")[1] for name in names if name.startswith("bop2ndorder.")}
    assert ours == LIBRARY


def test_training_loads_no_more_either(base):
    """torchvision alone would take seconds at the start of every run."""
    assert packages(loaded("bop2ndorder.study.run.train")) - base <= STANDARD


PYTEST = {"pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"}
OWN = {"benchmarks", *(path.stem for path in ROOT.glob("tests/**/*.py"))}


@pytest.mark.slow
def test_the_tests_for_gpus_load_no_more_either(base):
    """All of them, as docs/gpus.md calls them, are collected by the base install and pytest."""
    page = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"-m pytest -m gpu((?:\s*\\\n[^\\\n]*)+)", page)
    files = re.findall(r"tests/\S+", command)
    needed = re.compile(r"mark\.gpu|^def test_\w+\(.*\bdevice\b", re.MULTILINE)
    tests = {path.relative_to(ROOT): path for path in ROOT.glob("tests/*/test_*.py")}
    marked = {str(name) for name, path in tests.items() if needed.search(path.read_text("utf-8"))}
    assert marked == set(files)
    arguments = ["--collect-only", "-q", "-m", "gpu", *files]
    code = f"import sys, pytest\nassert not pytest.main({arguments})\nprint(*sys.modules)"
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=alone, text=True)
    names = packages(set(said.splitlines()[-1].split()))
    assert names - base - PYTEST - OWN <= STANDARD


@pytest.mark.parametrize("command", [["benchmarks/card.py"], ["-m", "benchmarks.gpu"]])
def test_without_a_gpu_its_benchmark_is_a_sentence(command):
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": "src"}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=hidden, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{card.NONE}\n")


def test_the_command_line_starts_without_torch():
    assert not packages(loaded("bop2ndorder.study.cli")) & {"torch", "numpy", "pandas", "pydantic"}


def tracked() -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    return [ROOT / name for name in listed.rstrip("\0").split("\0") if (ROOT / name).is_file()]


# In pieces, or this file would name them itself.
HOSTS = ["pypi" + ".org", "python" + "hosted.org", "anaconda" + ".org", "extra-" + "index"]
PLACES = ["/" + "work/", "/" + "root/", "/" + "home/", "/" + "Users/", "site-" + "packages/"]


def test_no_file_names_a_package_registry_or_a_place_on_one_machine():
    forbidden = re.compile("|".join(map(re.escape, HOSTS + PLACES)).encode())
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked()
        for match in forbidden.finditer(path.read_bytes())
    ]
    assert not found


def test_licence_and_citation_agree_with_the_package():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "MIT" and licence.startswith("MIT License")
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "MIT"
    assert str(citation["version"]) == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([\d.]+)", changes, re.MULTILINE)[0] == PROJECT["version"]
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])
    assert "2104.05124" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
