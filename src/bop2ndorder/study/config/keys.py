"""Hashes that name products: of settings, and of the code that decides a result.

A product's path holds a hash of all that decides it, so that neither file times nor a machine's
private metadata decide what is rebuilt. The hash of code ignores comments, layout and docstrings
and is the same on every supported Python.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2]


def digest(value: Any, length: int = 10) -> str:
    """Hash of a value that JSON can hold; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@cache
def code_key(*entry_modules: str, package: Path = PACKAGE) -> str:
    """Hash of the named modules and of all modules of the package that they import.

    Args:
        entry_modules: names within the package, such as "optim" or "study.run.train".
        package: the package's folder.
    """
    modules = import_closure(entry_modules, package)
    return digest({name: _syntax(package, name) for name in modules})


def import_closure(entry_modules: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """Modules of the package that importing `entry_modules` can import, sorted.

    Imports inside functions count too. Names are relative to the package; the packages that a
    module lies in are part of the list, since importing it runs their `__init__` ("" is the root).
    """
    found: set[str] = set()
    waiting = list(entry_modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        parent = name.rpartition(".")[0]
        if name and parent not in found:
            waiting.append(parent)
        waiting += [m for m in _imports(package, name) if m not in found]
    return sorted(found)


def _source(package: Path, name: str) -> Path | None:
    path = package.joinpath(*name.split(".")) if name else package
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _imports(package: Path, name: str) -> set[str]:
    """Modules of the package that one module names in its import statements."""
    source = _source(package, name)
    if source is None:
        raise ValueError(f"{package} has no module {name!r}")
    absolute = f"{package.name}.{name}".rstrip(".").split(".")
    here = absolute if source.name == "__init__.py" else absolute[:-1]
    imported: set[str] = set()
    for node in _walk(_parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            targets = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for target in targets:
            root, _, inner = target.partition(".")
            if root == package.name and _source(package, inner) is not None:
                imported.add(inner)
    return imported


def _walk(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those of a module's `__getattr__`.

    That function loads a name when somebody asks for it, so importing the module does not need it.
    """
    for statement in tree.body:
        if not (isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"):
            yield from ast.walk(statement)


@cache
def _syntax(package: Path, name: str) -> Any:
    source = _source(package, name)
    return _plain(_parse(source)) if source else None


def _plain(node: Any) -> Any:
    """The syntax tree as JSON values, without docstrings, places and empty fields.

    Empty fields are left out because newer versions of Python add fields that are mostly empty.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    fields = {key: value for key, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:]
    return [type(node).__name__, {key: _plain(value) for key, value in fields.items()}]
