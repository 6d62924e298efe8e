"""Rooms of the package: who may import whom, read off the code's own imports."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "bop2ndorder"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip("."):
    path for path in PACKAGE.rglob("*.py")
}  # fmt: skip
# From the lowest room to the highest: each may import what stands before it, and itself.
ROOMS = (
    "",  # the library
    "study.config",
    "study.numerics",
    "study.data",
    "study.run",
    "study.analysis",
    "study.analysis.sections",
    "study.analysis.verdicts",
    "study.analysis.pages",
    "study.workflow",
    "study.sentences",
    "study.cli",
)


def room(module: str) -> str:
    inside = [name for name in ROOMS if f"{module}.".startswith(f"{name}.") or not name]
    return max(inside, key=len)


def imports(module: str) -> set[str]:
    """Modules of the package that one imports, in functions too, but for those that types need."""
    path = MODULES[module]
    here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) + 1 - node.level], *(node.module or "").split(".")]
            names = [".".join(filter(None, [*base, alias.name])) for alias in node.names]
            inner = ".".join(filter(None, base))
            found |= {name if name in MODULES else inner for name in names}
    return found - {module}


# `python -m` and the package itself open the house: they may call any room.
DOORS = {"__main__"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - DOORS))
def test_no_module_imports_from_a_higher_room(module):
    here = ROOMS.index(room(module))
    higher = {name for name in imports(module) if ROOMS.index(room(name)) > here}
    assert not higher, f"{module or 'the package'}, of {room(module) or 'the library'}"


def test_no_module_imports_itself_by_a_detour():
    TopologicalSorter({module: imports(module) for module in MODULES}).prepare()


def test_every_room_is_seen():
    """Or a wall could be walked around by a new folder that nobody named."""
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert imports("study.run.train") >= {"study.run.trainer", "weights"}


def test_the_library_loads_nothing_of_the_study():
    library = {name for name in MODULES if room(name) == ""} - DOORS - {"", "study"}
    code = f"import sys, bop2ndorder.{', bop2ndorder.'.join(library)}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert library >= {"optim", "flip_optimizer", "flip_rules", "hyperparameters", "load"}
    assert not [module for module in loaded if module.startswith("bop2ndorder.study")]
    assert not {"pydantic", "pandas", "snakemake", "ruamel"} & set(loaded)


def test_no_test_imports_another():
    tests = Path(__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py")}
    assert not [
        name for name, text in texts.items() if re.search("^(from|import) test_", text, re.M)
    ]
