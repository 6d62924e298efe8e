"""Notebooks run with parameters; the same inputs give the same bytes."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..page import render


def run_notebook(source: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook; write it with its outputs, and as a page (.html) beside it.

    Args:
        source: the notebook; a cell tagged `parameters` holds the defaults.
        output: the notebook to write.
        parameters: values laid over the defaults; paths count from the working directory.

    Raises:
        papermill.PapermillExecutionError: a cell failed; names it. Nothing is written then.
    """
    # Both take longer to import than the rest of this package.
    import nbformat
    import papermill

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run.ipynb"
        with _own_kernel(Path(folder)):
            papermill.execute_notebook(
                source, run, parameters=parameters, kernel_name="python3", progress_bar=False
            )
        notebook = nbformat.read(run, as_version=4)
    _strip(notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, output)
    output.with_suffix(".html").write_text(_page(notebook), encoding="utf-8")


@contextmanager
def _own_kernel(folder: Path) -> Iterator[None]:
    """A kernel `python3` that is this interpreter, whatever other kernels the machine has."""
    from ipykernel.kernelspec import write_kernel_spec

    write_kernel_spec(str(folder / "kernels" / "python3"))
    # The package may be imported from a source tree rather than installed.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    changed = {"JUPYTER_PATH": str(folder), "PYTHONHASHSEED": "0", "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _strip(notebook: Any) -> None:
    """Remove what differs from run to run: times, paths, random ids, the kernel's version."""
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec}
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {"tags": cell.metadata.tags} if "tags" in cell.metadata else {}


def _page(notebook: Any) -> str:
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    title = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")
    highlighting = HtmlFormatter().get_style_defs(".highlight")
    return render("notebook.html.j2", title=title, body=body, highlighting=highlighting)
