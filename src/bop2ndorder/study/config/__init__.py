"""params.yaml as a validated study, expanded to runs.

Its names are loaded when they are asked for: what only wants the hash of a code, as the origin of a
run does, needs neither pydantic nor a YAML reader.
"""

from importlib import import_module

_MODULES = {
    "SCALES": "document",
    "Entry": "runs",
    "ParamsError": "problems",
    "Run": "runs",
    "Settings": "settings",
    "Study": "study",
    "enter_root": "root",
    "load_study": "study",
}
__all__ = [*_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
