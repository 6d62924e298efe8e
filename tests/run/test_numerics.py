"""Portable numerics: what is pinned, when, and what is said where it cannot be."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
import torch
from tiny import settings

from bop2ndorder.study import numerics
from bop2ndorder.study.analysis.pages.notebooks import run_notebook
from bop2ndorder.study.run.provenance import origin, processor
from bop2ndorder.study.run.train import train

UNPINNED = {
    name: value
    for name, value in os.environ.items()
    if not any(name in pins for pins in numerics.PINS.values())
}
able = pytest.mark.skipif(not numerics.runs_avx2(), reason="needs an x86-64 with AVX2 and FMA")


def python(code: str) -> subprocess.CompletedProcess:
    """A fresh Python without any pins."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**UNPINNED, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def answer(code: str):
    done = python(code)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


REPORT = """
import json, os
{first}
import numpy, scipy.linalg, threadpoolctl
from bop2ndorder.study import numerics
simd = numpy.show_config(mode="dicts")["SIMD Extensions"]
pools = threadpoolctl.threadpool_info()
blas = [[p["architecture"], p["num_threads"]] for p in pools if p["internal_api"] == "openblas"]
print(json.dumps([numerics.in_force("cpu"), simd.get("found", []), blas]))
"""


@able
def test_pinned_libraries_use_what_every_processor_has():
    """By what torch, NumPy and threadpoolctl say, not by the variables."""
    first = "from bop2ndorder.study.numerics import pin; pin('numpy'); pin('torch')"
    found, features, blas = answer(REPORT.format(first=first))
    assert found == {"in_force": "portable", **numerics.PORTABLE, "numpy": "baseline"}
    assert features == []
    assert len(blas) == 2 and {*map(tuple, blas)} == {("Haswell", 1)}, "of NumPy and of SciPy"


@able
def test_without_pins_the_same_report_says_native():
    found, features, _ = answer(REPORT.format(first=""))
    assert found["in_force"] == "native" and found["mkl"] == "off"
    assert found["numpy"].split() == features != []


def test_the_library_sets_no_variable():
    modules = ["", ".optim", ".binary", ".networks", ".schedules", ".weights", ".load"]
    imports = ", ".join(f"bop2ndorder{module}" for module in modules)
    code = f"import json, os; before = dict(os.environ); import {imports}; "
    assert answer(code + "print(json.dumps(before == dict(os.environ)))")


@able
def test_torch_loaded_otherwise_is_a_sentence_that_says_what_to_set():
    code = "import torch; from tiny import settings; "
    code += "from bop2ndorder.study.run.train import train; "
    code += "from pathlib import Path; run = settings(numerics='portable'); "
    done = python(code + "train(run, None, Path('run'), Path('run.pt'))")
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("RuntimeError: torch was loaded without portable numerics: set ")
    assert all(f"{name}='{v}'" in sentence for name, v in numerics.PINS["torch"].items())
    done = python("import torch; from bop2ndorder.study.numerics import pin; pin('torch')")
    assert done.stderr.splitlines()[-1] == sentence


@able
@pytest.mark.parametrize("library", numerics.PINS)
def test_another_value_set_after_loading_is_a_sentence(library, monkeypatch):
    numerics.pin(library)
    name, _ = next(iter(numerics.PINS[library].items()))
    monkeypatch.setenv(name, "other")
    with pytest.raises(RuntimeError, match=rf'{name}=.*numerics\.pin\("{library}"\)'):
        numerics.pin(library)


ELSEWHERE = """
import json, os, sys
from pathlib import Path
from bop2ndorder.study import numerics
numerics.runs_avx2 = lambda: False  # as on aarch64
before = dict(os.environ)
for library in numerics.PINS:
    numerics.pin(library)
from tiny import settings
numerics.require(settings(numerics="portable"), "cpu")
numerics.require(settings(), "cpu")
print(json.dumps([before == dict(os.environ), numerics.in_force("cpu")["in_force"]]))
"""


def test_a_processor_that_cannot_hold_them_trains_natively_and_says_so_once():
    done = python(ELSEWHERE)
    assert json.loads(done.stdout) == [True, "native"]
    assert done.stderr.splitlines() == [
        "numerics: native instead of portable, since this processor is no x86-64 with AVX2 and FMA"
    ]


def test_a_gpu_trains_natively_and_says_so(capsys):
    numerics.require(settings(numerics="portable"), "cuda")
    assert capsys.readouterr().err.endswith("since it runs on a GPU\n")
    assert numerics.in_force("cuda")["in_force"] == "native"


@able
def test_portable_and_native_runs_are_the_same_where_the_pins_are_set(digits, tmp_path):
    """What the setting asks for is a matter of the process, not of other code."""
    files = []
    for kind in ("native", "portable"):
        train(settings(numerics=kind), digits, tmp_path / kind, tmp_path / f"{kind}.pt")
        files.append({path.name: path.read_bytes() for path in (tmp_path / kind).iterdir()})
    assert files[0] == files[1]


@able
def test_a_notebook_computes_with_the_pins_of_the_command(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "from bop2ndorder.study.numerics import in_force\nprint(in_force('cpu')['numpy'])"
    )
    start = nbformat.v4.new_markdown_cell("# Pins")
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    source = nbformat.v4.new_notebook(cells=[start, cell], metadata=metadata)
    nbformat.write(source, tmp_path / "source.ipynb")
    run_notebook(tmp_path / "source.ipynb", tmp_path / "out.ipynb", {})
    assert nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs[0].text == "baseline\n"


def test_the_origin_names_processor_and_numerics(digits, tmp_path):
    """The processor as the system's own tools see it."""
    _, history = train(settings(threads=2), digits, tmp_path / "run", tmp_path / "run.pt")
    found = origin(tmp_path / "run", settings(), history, "cpu", {})
    assert found["threads"] == 2 and found["device"] == "cpu"
    assert found["versions"]["libc"].split()[1] == os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    assert found["numerics"] == numerics.in_force("cpu")
    chip = processor()
    assert chip == found["processor"] and chip["cores"] == os.cpu_count()
    said = subprocess.run(["lscpu"], capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
    assert chip["model"] in said and chip["vendor"] in said
    assert ("avx2" in chip["extensions"]) == (torch.backends.cpu.get_cpu_capability() != "DEFAULT")
    assert set(chip["extensions"]) <= set(said.split())
    assert "sse4_2" in chip["extensions"] and "sse2" not in chip["extensions"]
