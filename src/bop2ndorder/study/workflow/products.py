"""What the workflow needs to know of the study: where each product lies and whether it is current.

Runs and data sets are named by all that decides them, so for them "there" means "current".
Products with fixed names (tables, figures, notebooks, the report) have beside them the key of what
they were made from; they are current when that key is still the one of today's inputs. Thus
contents decide what is made again, never file times.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...store import DONE, damaged_file, read_json
from ..config import Run, Study
from ..config.keys import PACKAGE, code_key, digest
from ..run.evaluate import RECORD
from ..run.record import read_record

RUN_FILES = ("weights.safetensors", "predictions.safetensors", "history.csv", "run.json")
# The modules that `bop2ndorder.analysis` hands out; what they import counts with them.
ANALYSIS = (
    "study.analysis.verdicts.claims",
    "study.analysis.sections.experiments",
    "study.analysis.pages.notebooks",
    "study.analysis.pages.report",
)
NOTEBOOKS = Path("notebooks")
# The file of each product that the report shows or links.
SHOWN = {
    "analysis": "{}/exhibits.json",
    "notebook": "{}/notebook.html",
    "metrics": "metrics.json",
    "claims": "claims.csv",
    "report": "report.html",
}
# Markers that make Snakemake redo a product that is there but not current; never in git or DVC.
OUTDATED = Path(".snakemake/outdated")


@dataclass(frozen=True)
class Workflow:
    """The products of one scale of a study, relative to the project's folder.

    Attributes:
        study, scale: the study, and which of its scales.
        work: where data, runs and logs go; results always are the project's.
    """

    study: Study
    scale: str
    work: Path = Path()

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

    def record(self, run: str) -> Path:
        """Folder of a run's record; in git."""
        return self.results / "runs" / run

    def records(self, experiment: str | None = None) -> list[Path]:
        """The metrics.json of every run, or of those of one experiment."""
        runs = {entry.run.id for entry in self.study.entries(self.scale, experiment)}
        return [self.record(run) / RECORD[0] for run in sorted(runs)]

    def note(self, name: str) -> Path:
        """Where it is noted why a run or a data set could not be made."""
        return self.work / "logs" / self.scale / "failed" / f"{name}.txt"

    def products(self) -> list[str]:
        """What is made of the records, in an order in which it can be made; see `key`."""
        parts = [f"{what}-{e}" for what in ("analysis", "notebook") for e in self.experiments]
        return [*parts, "metrics", "claims", "report"]

    def shown(self, product: str) -> Path:
        """The file of a product that the report shows or links."""
        what, _, experiment = product.partition("-")
        return self.results / SHOWN[what].format(experiment)

    def key_file(self, product: str) -> Path:
        """Holds the key of what a product was made from."""
        return self.results / ".keys" / product

    def key(self, product: str) -> str:
        """The key of what a product is made from today.

        Args:
            product: analysis-EXPERIMENT, notebook-EXPERIMENT, metrics, claims or report.
        """
        what, _, experiment = product.partition("-")
        inputs = [_analysis_code(), self._judged(experiment or None)]
        if what == "notebook":
            inputs.append(_notebook_code(self.notebook(experiment)))
        if what in ("claims", "report"):
            inputs.append(self.study.claims[self.scale].model_dump())
        return digest([what, *inputs])

    def notebook(self, experiment: str) -> Path:
        """The notebook's source."""
        return NOTEBOOKS / f"{experiment}.ipynb"

    def mark(self, product: str) -> None:
        """Note that a product has been made from what is there now."""
        path = self.key_file(product)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.key(product) + "\n", encoding="utf-8")

    def is_current(self, product: str) -> bool:
        """Whether a product has been made from what is there now."""
        path = self.key_file(product)
        return path.exists() and path.read_text(encoding="utf-8").strip() == self.key(product)

    def outdated(self, product: str) -> list[str]:
        """The marker to add to the inputs of a product that is there but not current."""
        path = self.key_file(product)
        return [_marker(product, path)] if path.exists() and not self.is_current(product) else []

    def damaged(self, run: str) -> list[str]:
        """The marker to add to the inputs of a run of which a file is missing or truncated."""
        done = self.run(run) / DONE
        broken = done.exists() and damaged_file(done.parent) is not None
        return [_marker(f"run-{run}", done)] if broken else []

    def recorded(self, run: str) -> bool:
        """Whether a run has a record, all files of it whole."""
        return read_record(self.record(run)) is not None

    def unrecorded(self, run: str) -> list[str]:
        """The marker to add to the inputs of a record that is damaged or of other weights."""
        metrics = self.record(run) / RECORD[0]
        return [_marker(f"record-{run}", metrics)] if self._differs(run) else []

    def markers(self) -> list[str]:
        """The markers of all results that are there but not current, for targets to ask for.

        Snakemake looks for missing inputs of what it is asked for, not of what lies below it.
        """
        results = [marker for product in self.products() for marker in self.outdated(product)]
        return results + [marker for run in self.runs for marker in self.unrecorded(run)]

    def damages(self) -> list[str]:
        """The markers of all damaged runs."""
        return [marker for run in self.runs for marker in self.damaged(run)]

    def _differs(self, run: str) -> bool:
        folder = self.record(run)
        if not (folder / RECORD[0]).exists():
            return False  # which Snakemake sees by itself
        record = read_record(folder)
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


def _marker(what: str, condemned: Path) -> str:
    """Path of the marker that condemns a file as it is now.

    A marker that is there already asks for nothing, so each state of the file has its own.
    """
    return str(OUTDATED / f"{what}-{condemned.stat().st_mtime_ns}")


def _analysis_code() -> list[str]:
    """Code and page templates that make tables, figures and pages of records."""
    templates = (PACKAGE / "study" / "analysis" / "templates").iterdir()
    texts = [path.read_text(encoding="utf-8") for path in sorted(templates)]
    return [code_key(*ANALYSIS), digest(texts)]


def _notebook_code(path: Path) -> list[str]:
    """The cells of a notebook, without what editors store beside them."""
    if not path.exists():
        return []
    return ["".join(cell["source"]) for cell in read_json(path)["cells"]]
