"""Records -> tables, figures, notebooks and the report page; nothing here trains or measures."""

import importlib

# Loaded at first use: a notebook is started without the seconds that plotting takes to import.
_HOME = {
    "analyse": "sections.experiments",
    "exhibits_of": "sections.experiments",
    "summarise": "pages.metrics",
    "Records": "records",
    "load_records": "records",
    "run_notebook": "pages.notebooks",
    "write_claims": "verdicts.claims",
    "write_report": "pages.report",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
