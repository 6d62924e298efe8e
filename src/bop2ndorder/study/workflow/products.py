"""What the workflow needs to know of the study: where each product lies and whether it is current.

Runs and data sets are named by all that decides them, so for them "there" means "current".
Products with fixed names (tables, figures, notebooks, the report) have beside them the key of what
they were made from; they are current when that key is still the one of today's inputs, and their
files are as they were made. Thus contents decide what is made again, never file times.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...store import DONE, damaged_file, file_sha256, read_json
from ..analysis.sections import section_of
from ..config.keys import PACKAGE, code_key, digest
from ..config.runs import Run
from ..config.study import Study
from ..run.evaluate import RECORD
from ..run.record import read_record

NOTEBOOKS = Path("notebooks")
ANALYSIS = "study.analysis"
# Markers that make Snakemake redo a product that is there but not current; never in git or DVC.
OUTDATED = Path(".snakemake/outdated")


@dataclass(frozen=True)
class Product:
    """What is made of records, under a fixed name.

    Attributes:
        kind: analysis (tables and figures), notebook, metrics, claims or report.
        experiment: of which it is; None where it is of all.
        file: what the report shows or links of it, in results/SCALE.
        others: patterns of the other files that it consists of, in results/SCALE.
        modules: of the package; their code, with what they import, makes it.
    """

    kind: str
    experiment: str | None
    file: str
    others: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.kind if self.experiment is None else f"{self.kind}-{self.experiment}"


def _products(experiments: list[str]) -> Iterator[Product]:
    """All products of a scale, in an order in which they can be made."""
    shared, pages = f"{ANALYSIS}.sections.experiments", f"{ANALYSIS}.pages"
    sections = {e: f"{ANALYSIS}.sections.{section_of(e).module}" for e in experiments}
    for name, section in sections.items():
        others = tuple(f"{name}/*.{suffix}" for suffix in ("csv", "md", "png", "svg"))
        yield Product("analysis", name, f"{name}/exhibits.json", others, (shared, section))
    for name, section in sections.items():
        others, made_by = (f"{name}/notebook.ipynb",), (shared, section, f"{pages}.notebooks")
        yield Product("notebook", name, f"{name}/notebook.html", others, made_by)
    made_by = (f"{pages}.metrics", *sections.values())
    yield Product("metrics", None, "metrics.json", ("metrics_all.json", "plots/*.csv"), made_by)
    made_by = (f"{ANALYSIS}.verdicts.claims",)
    yield Product("claims", None, "claims.csv", ("sensitivity.csv",), made_by)
    yield Product("report", None, "report.html", ("forest.*",), (f"{pages}.report",))


@dataclass(frozen=True)
class Workflow:
    """The products of one scale of a study, relative to the project's folder.

    Attributes:
        study, scale: the study, and which of its scales.
        work: where data, runs and logs go; results always are the project's.
        params: the study's file.
    """

    study: Study
    scale: str
    work: Path = Path()
    params: str = "params.yaml"

    @cached_property
    def runs(self) -> dict[str, Run]:
        return self.study.runs(self.scale)

    @property
    def experiments(self) -> list[str]:
        return self.study.experiments(self.scale)

    @property
    def results(self) -> Path:
        return Path("results", self.scale)

    def data(self, name: str) -> Path:
        """Folder of a prepared data set."""
        return self.work / "data" / self.scale / name

    def images(self, run: Run) -> int | None:
        """Training images of an epoch of a run, by its prepared data; None where they lack."""
        try:
            counts = read_json(self.data(run.data) / "data.json")["counts"]
            held_out = counts["validation"] if run.settings.train_on == "all" else 0
            return counts["train"] + held_out
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def run(self, run: str) -> Path:
        """Folder of a run: its results and no more, weights, predictions, history; in DVC."""
        return self.work / "runs" / self.scale / run

    def checkpoint(self, run: str) -> Path:
        """Where a run that is being trained can be taken up; unknown to Snakemake and DVC."""
        return self.work / "runs" / ".checkpoints" / self.scale / f"{run}.pt"

    def origin(self, run: str) -> Path:
        """What a run's training noted of its machine and times; unknown to Snakemake and DVC."""
        return self.work / "runs" / ".provenance" / self.scale / f"{run}.json"

    def log(self, run: str) -> Path:
        """What a run's training said."""
        return self.work / "logs" / self.scale / "train" / f"{run}.log"

    def cores(self, run: str, gpus: int) -> int:
        """CPU cores that a training keeps busy where there are so many GPUs, or places on them.

        A GPU holds images that are stored as arrays, and one core leads it. Image files are decoded
        by as many workers as the settings name threads.
        """
        settings = self.runs[run].settings
        decodes = settings.data.source == "imagenet"
        return settings.gpus if gpus and not decodes else settings.threads

    def record(self, run: str) -> Path:
        """Folder of a run's record; in git."""
        return self.results / "runs" / run

    def shipped(self, run: str) -> Path:
        """The file of a run's weights in git, for the few runs of which it is there."""
        return self.results / "models" / f"{run}.safetensors"

    def records(self, experiment: str | None = None) -> list[Path]:
        """The metrics.json of every run, or of those of one experiment."""
        runs = {entry.run.id for entry in self.study.entries(self.scale, experiment)}
        return [self.record(run) / RECORD[0] for run in sorted(runs)]

    def note(self, name: str) -> Path:
        """Where it is noted why a run or a data set could not be made."""
        return self.work / "logs" / self.scale / "failed" / f"{name}.txt"

    def retrain_note(self, name: str) -> Path:
        """Where it is noted why a run could not be trained again elsewhere: no failure of here."""
        return self.work / "logs" / self.scale / "retrain" / f"{name}.txt"

    @cached_property
    def products(self) -> dict[str, Product]:
        """Name -> what is made of the records, in an order in which it can be made."""
        return {product.name: product for product in _products(self.experiments)}

    def shown(self, product: str) -> Path:
        """The file of a product that the report shows or links."""
        return self.results / self.products[product].file

    def key_file(self, product: str) -> Path:
        """Holds the key of what a product was made from, and the hashes of what was made."""
        return self.results / ".keys" / product

    def key(self, product: str) -> str:
        """The key of what a product is made from today: code, entries, records, and what else."""
        made = self.products[product]
        inputs: list = [code_key(*made.modules), self._judged(made.experiment)]
        if made.kind in ("notebook", "report"):
            inputs.append(_templates())
        if made.kind == "notebook":
            inputs.append(_notebook_code(self.notebook(made.experiment)))
        if made.kind in ("claims", "report"):
            inputs.append(self.study.claims[self.scale].model_dump())
        if made.kind == "report":
            inputs.append([self.key(other) for other in self.products if other != product])
        return digest([made.kind, *inputs])

    def notebook(self, experiment: str) -> Path:
        """The source of an experiment's notebook: one for each way to show an experiment."""
        return NOTEBOOKS / f"{section_of(experiment).module}.ipynb"

    def mark(self, product: str, key: str) -> None:
        """Note from what a product has been made: its key, taken before it was begun."""
        made = self.products[product]
        files = {path for one in (made.file, *made.others) for path in self.results.glob(one)}
        names = sorted(path.relative_to(self.results).as_posix() for path in files)
        lines = [key, *(f"{file_sha256(self.results / name)}  {name}" for name in names)]
        path = self.key_file(product)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def is_current(self, product: str) -> bool:
        """Whether a product has been made from what is there now, and is there as it was made."""
        path = self.key_file(product)
        if not path.exists():
            return False
        key, *files = path.read_text(encoding="utf-8").splitlines() or [""]
        return key == self.key(product) and all(map(self._is_whole, files))

    def _is_whole(self, line: str) -> bool:
        """Whether a file is what its line in a key file says, as sha256sum writes it."""
        sha256, _, name = line.partition("  ")
        path = self.results / name
        return path.is_file() and file_sha256(path) == sha256

    def recorded(self, run: str) -> bool:
        """Whether a run has a record, all files of it whole."""
        return read_record(self.record(run)) is not None

    # What is there and has to be made again, Snakemake learns by a marker among its inputs.

    def outdated(self, product: str) -> list[str]:
        """The marker of a product that is there but not current."""
        return _marker(product, self.key_file(product), lambda _: not self.is_current(product))

    def data_for(self, run: str) -> list[Path]:
        """The data set that a run is trained on; none where it is trained already.

        Else data that are made again would have every run of them trained again: Snakemake heeds
        `ancient` of a file that is there only.
        """
        finished = (self.run(run) / DONE).exists() and not self.damaged(run)
        return [] if finished else [self.data(self.runs[run].data) / DONE]

    def damaged(self, run: str) -> list[str]:
        """The marker of a run of which a file is missing or truncated."""
        done = self.run(run) / DONE
        return _marker(f"run-{run}", done, lambda done: damaged_file(done.parent) is not None)

    def unrecorded(self, run: str) -> list[str]:
        """The marker of a record that is damaged or of other weights."""
        metrics = self.record(run) / RECORD[0]
        return _marker(f"record-{run}", metrics, lambda _: self._differs(run))

    def markers(self) -> list[str]:
        """The markers of all results that are there but not current, for targets to ask for.

        Snakemake looks for missing inputs of what it is asked for, not of what lies below it.
        """
        results = [marker for product in self.products for marker in self.outdated(product)]
        return results + [marker for run in self.runs for marker in self.unrecorded(run)]

    def damages(self) -> list[str]:
        """The markers of all damaged runs."""
        return [marker for run in self.runs for marker in self.damaged(run)]

    def _differs(self, run: str) -> bool:
        record = read_record(self.record(run))
        try:
            weights = read_json(self.run(run) / DONE)["files"]["weights.safetensors"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return record is None  # nothing to compare with
        return record is None or record.metrics.get("weights_sha256") != weights

    def _judged(self, experiment: str | None) -> list:
        """What an analysis reads: the experiment's entries, and the records' content."""
        entries = self.study.entries(self.scale, experiment)
        return [[e.experiment, e.arm, e.axis, e.run.id, self._metrics[e.run.id]] for e in entries]

    @cached_property
    def _metrics(self) -> dict[str, str | None]:
        """Run id -> hash of its record's metrics, which cover weights and answers.

        None where there is no record, or one that is to be replaced.
        """
        paths = {run: self.record(run) / RECORD[0] for run in self.runs}
        return {
            run: digest(path.read_text(encoding="utf-8"))
            if path.exists() and not self._differs(run)
            else None
            for run, path in paths.items()
        }


def _marker(what: str, path: Path, wrong: Callable[[Path], bool]) -> list[str]:
    """The marker that condemns a file as it is now, where it is there and wrong.

    A marker that is there already asks for nothing, so each state of the file has its own.
    """
    if not path.exists() or not wrong(path):
        return []
    return [str(OUTDATED / f"{what}-{path.stat().st_mtime_ns}")]


def _templates() -> str:
    folder = PACKAGE / "study" / "analysis" / "templates"
    return digest([path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())])


def _notebook_code(path: Path) -> list[str]:
    """The cells of a notebook, without what editors store beside them."""
    if not path.exists():
        return []
    return ["".join(cell["source"]) for cell in read_json(path)["cells"]]
