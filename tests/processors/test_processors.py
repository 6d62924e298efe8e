"""Portable numerics give the same bits on this processor and on emulated ones; native ones do not.

Only with `make test-processors`: qemu takes some minutes.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from emulation import EMULATED, HOST, Processors, missing_tools, processors

from bop2ndorder.store import read_json, write_json
from bop2ndorder.study.config import load_study
from bop2ndorder.study.numerics import PINS
from bop2ndorder.study.run.exercise import exercise
from bop2ndorder.study.workflow.kinds import draw, kinds, task

pytestmark = pytest.mark.processors

ROOT = Path(__file__).parents[2]
SCALE, EXPERIMENT = "small", "cifar10"
# What trains otherwise on Intel's and AMD's processors where numerics are native.
CONTROL = "digits16-binarynet-batch-bop2ndorder-none"
CONTROLLED = (HOST, "Haswell", "EPYC-Rome")
# The command line's own process, which makes tables and figures of the records.
ANALYSE = f"""
from bop2ndorder.study.cli import main
for command in (["analyse", "{EXPERIMENT}"], ["claims"]):
    main(["--scale", "{SCALE}", *command], standalone_mode=False)
"""


def chosen() -> dict[str, dict[str, Any]]:
    """A short run for each network, normalization, optimizer, correction and augmentation.

    Of several the one with the statistics of batch norm recomputed and the most schedules. Two
    steps of one epoch; BinaryNet with the widths of `quick` (there with a batch of its size, too)
    and `small`, and once of the published width on two threads. The images of a data set are as
    many as two batches.
    """
    alike: dict[str, list[dict[str, Any]]] = {}
    for settings in kinds(load_study(ROOT / "params.yaml")).values():
        if settings["threads"] == 1:
            alike.setdefault(_name(settings), []).append(settings)
    found = {name: max(several, key=_richness) for name, several in alike.items()}
    short = {}
    for name, settings in found.items():
        narrow = settings["network"]["name"] == "binarynet"
        digits = settings["data"]["source"] == "digits"
        wider = {"width": 16, "dense": 128} if narrow and not digits else {}
        short[name] = _sized(settings, 50 if narrow and digits else 5, **wider)
    published = _sized(found[CONTROL], 5, width=128, dense=1024)
    return {**short, "width128": {**published, "threads": 2}}


def _name(settings: dict[str, Any]) -> str:
    data, network, optimizer = (settings[key] for key in ("data", "network", "optimizer"))
    words = [
        f"{data['source']}{data['image_size']}",
        network["name"],
        network.get("norm"),
        optimizer["name"],
        optimizer.get("bias_correction"),
    ]
    return "-".join(word for word in words if word)


def _richness(settings: dict[str, Any]) -> tuple[bool, int]:
    values = (*settings["optimizer"].values(), settings["lr"])
    schedules = sum(isinstance(value, dict) for value in values)
    return settings["norm_statistics"] == "recomputed", schedules


def _sized(settings: dict[str, Any], batch: int, **network: int) -> dict[str, Any]:
    return {
        **settings,
        "data": {**settings["data"], "limit": 2 * batch},
        "network": {**settings["network"], **network},
        "batch_size": batch,
        "epochs": 1,
    }


class Jobs:
    """What the processors are told to do, all begun at once.

    Args:
        folder: for all that comes out.
        on: where it is done.
    """

    def __init__(self, folder: Path, on: Processors):
        self.folder, self.on = folder, on
        self.source = {"PYTHONPATH": str(ROOT / "src")}
        draw(folder / "images")
        self.work = self._prepared(chosen())
        everywhere = (HOST, *EMULATED)
        self.portable = {name: self._train(name, "portable", *self.work) for name in everywhere}
        self.native = {name: self._train(name, "native", CONTROL) for name in CONTROLLED}
        self.analyses = {name: self._analyse(name) for name in everywhere}

    def traces(self, numerics: str, processor: str) -> dict[str, Any]:
        """Run -> what `exercise` noted of it."""
        getattr(self, numerics)[processor].result()
        folder = self.folder / numerics / processor
        return {path.stem: read_json(path) for path in folder.glob("*.json")}

    def products(self, processor: str) -> dict[str, bytes]:
        """File -> contents, of the tables and figures of the experiment, and of the verdicts."""
        self.analyses[processor].result()
        results = self.folder / "analyses" / processor / "results" / SCALE
        files = [results / "claims.csv", *(results / EXPERIMENT).iterdir()]
        return {path.name: path.read_bytes() for path in files}

    def _prepared(self, short: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The tasks of training, whose data are prepared; a data set for each size of a batch."""
        train: dict[str, Any] = {}
        for size in sorted({settings["batch_size"] for settings in short.values()}):
            data = self.folder / f"data{size}"
            of_size = {k: v for k, v in short.items() if v["batch_size"] == size}
            work = task(of_size, self.folder / "images", data)
            write_json(self.folder / "prepare.json", {**work, "train": {}})
            exercise(self.folder / "prepare.json", data)
            train |= work["train"]
        return train

    def _train(self, processor: str, numerics: str, *names: str) -> Future[None]:
        train = {
            name: {**run, "settings": {**run["settings"], "numerics": numerics}}
            for name, run in self.work.items()
            if name in names
        }
        path = self.folder / f"{numerics}.json"
        write_json(path, {"prepare": {}, "train": train, "resume": None})
        out = self.folder / numerics / processor
        out.mkdir(parents=True)
        variables = self.source | (PINS["torch"] if numerics == "portable" else {})
        command = ("-m", "bop2ndorder", "exercise", path, out)
        return self.on.python(processor, *command, variables=variables, folder=out)

    def _analyse(self, processor: str) -> Future[None]:
        """Make tables, figures and verdicts of the committed records, in a folder of its own."""
        folder = self.folder / "analyses" / processor
        records = Path("results", SCALE, "runs")
        shutil.copytree(ROOT / records, folder / records)
        shutil.copy(ROOT / "params.yaml", folder)
        return self.on.python(processor, "-c", ANALYSE, variables=self.source, folder=folder)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> Iterator[Jobs]:
    if sentence := missing_tools():
        pytest.exit(sentence, returncode=1)
    folder = tmp_path_factory.mktemp("processors")
    with processors(folder) as on:
        yield Jobs(folder, on)


@pytest.mark.parametrize("processor", EMULATED)
def test_every_kind_of_run_is_the_same(jobs, processor):
    here, there = (jobs.traces("portable", name) for name in (HOST, processor))
    assert len(here) == len(chosen()) and not [trace for trace in here.values() if "error" in trace]
    assert [name for name in here if there.get(name) != here[name]] == []


def test_the_control_differs_natively_and_only_so(jobs):
    """So the comparison sees what the pins prevent."""
    bits = {
        numerics: {str(jobs.traces(numerics, name)[CONTROL]) for name in CONTROLLED}
        for numerics in ("native", "portable")
    }
    assert len(bits["native"]) > 1
    assert len(bits["portable"]) == 1


@pytest.mark.parametrize("processor", EMULATED)
def test_tables_figures_and_verdicts_are_the_same_bytes(jobs, processor):
    here, there = (jobs.products(name) for name in (HOST, processor))
    assert {"table.csv", "convergence.svg", "convergence.png", "claims.csv"} <= here.keys()
    assert [name for name in here if there.get(name) != here[name]] == []


@pytest.mark.parametrize(("processor", "able"), [("Nehalem", False), ("Broadwell", True)])
def test_whether_a_processor_can_hold_the_pins_is_asked_of_it(jobs, processor, able):
    code = "from bop2ndorder.study.numerics import runs_avx2; assert runs_avx2() is " + str(able)
    jobs.on.python(processor, "-c", code, variables=jobs.source, folder=jobs.folder).result()
