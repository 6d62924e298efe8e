"""Trained networks that come with the repository, one of each row of the final tables."""

import re
import shutil
from pathlib import Path

from ...store import file_sha256
from ..analysis.names import with_labels
from ..analysis.pages.cards import card, listing
from ..analysis.records import load_records
from ..analysis.sections import HEADLINE
from ..run.record import read_record
from .failures import Failed
from .products import Workflow


def ship(workflow: Workflow, experiment: str) -> Path:
    """Copy the network of the first seed of each row of an experiment's table to where git has it.

    Beside each file a card, beside all a list. Networks that were on the list and no longer are
    rows of the table are removed.

    Returns:
        the list.

    Raises:
        Failed: the experiment is no final comparison; or a network has no weights here that are
            those of its record. Nothing is written then.
    """
    if experiment not in HEADLINE:
        raise Failed(f"ships networks of the final comparisons only: {', '.join(HEADLINE)}")
    scale, results = workflow.scale, workflow.results
    records = load_records(workflow.study.entries(scale, experiment), results, scale)
    first = with_labels(records.runs).drop_duplicates("setting")
    sources = {run: _weights(workflow, run) for run in first["run"]}
    if lacking := [run for run, source in sources.items() if source is None]:
        raise Failed(
            f"{len(lacking)} of {len(sources)} networks have no weights here that are those of "
            f"their records, such as {lacking[0]}: `snakemake` trains and records them, `dvc pull` "
            "fetches weights"
        )
    page = results / "models" / f"{experiment}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    for run in _listed(page) - sources.keys():
        for path in (workflow.shipped(run), page.with_name(f"{run}.md")):
            path.unlink(missing_ok=True)
    for row in first.itertuples():
        if (target := workflow.shipped(row.run)) != sources[row.run]:
            shutil.copyfile(sources[row.run], target)
        record = read_record(workflow.record(row.run))
        text = card(row, record.provenance, record.metrics, scale)
        page.with_name(f"{row.run}.md").write_text(text, encoding="utf-8")
    page.write_text(listing(records, first, scale), encoding="utf-8")
    return page


def _weights(workflow: Workflow, run: str) -> Path | None:
    """A file with the weights that a run's record names; None where none is here."""
    record = read_record(workflow.record(run))
    for path in (workflow.shipped(run), workflow.run(run) / "weights.safetensors"):
        if record and path.is_file() and file_sha256(path) == record.metrics["weights_sha256"]:
            return path
    return None


def _listed(page: Path) -> set[str]:
    """The runs whose networks a list links."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return set(re.findall(r"\((\S+)\.safetensors\)", text))
