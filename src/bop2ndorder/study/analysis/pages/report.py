"""The report: one self-contained page a scale, made of what `analyse` wrote and the records."""

import base64
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from ....store import read_json
from ...config.codes import read_classes
from ...config.runs import Run
from ...config.settings import MODELS
from ...config.study import Study
from ...run.record import read_record
from ..exhibits import Table, listed, words
from ..names import NETWORKS, OPTIMIZERS, SOURCES
from ..page import render
from ..published import FULL_SCALE, PUBLISHED
from ..records import origin_of
from ..sections import SECTIONS
from ..verdicts.claims import (
    EXPLAINED,
    RULE,
    comparison_table,
    read_claims,
    read_sensitivity,
    registration_table,
    sensitivity_table,
    statements,
)
from ..verdicts.conclusions import conclusions
from ..verdicts.forest import forest
from .provenance import provenance

NOTEBOOK = "notebook.html"
TITLE = "“A Bop and Beyond”, reproduced"
PAPER = {
    "title": "A Bop and Beyond: A Second Order Optimizer for Binarized Neural Networks",
    "authors": "C. D. Suarez-Ramirez, M. Gonzalez-Mendoza, L. Chang, G. Ochoa-Ruiz, "
    "M. A. Duran-Vega",
    "place": "CVPR Workshops 2021",
    "arxiv": "2104.05124",
}
ASKED = (
    "The weights of a binary network are −1 or +1, and Bop trains them by flipping: a weight flips "
    "where the running mean m of its gradient asks for the other sign and exceeds a threshold. "
    "Bop2ndOrder, which the paper proposes, divides m by the root of a running mean of squared "
    "gradients first."
)
# What a scale is; the paper's needs no excuse.
SENTENCES = {
    "quick": "narrow networks, few images and epochs: it shows that everything works from end to "
    "end, and decides nothing",
    "small": "narrow networks and few epochs",
    "paper": "everything as published",
}


def write_report(
    study: Study, scale: str, results: Path, missing: Sequence[dict[str, str]] = ()
) -> None:
    """Write results/report.html.

    Args:
        study: the study; decides the experiments and their order.
        scale: quick, small or paper.
        results: the folder results/SCALE; holds EXPERIMENT/exhibits.json and runs/ID. An
            experiment that has not been analysed yet is named as such.
        missing: the runs without a record and why, as rows of a table (`failures.missing_runs`).
    """
    results = Path(results)
    planned = study.experiments(scale)
    order = [name for name in SECTIONS if name in planned]
    order += [name for name in planned if name not in SECTIONS]
    runs = study.runs(scale)
    found = {run: read_record(results / "runs" / run) for run in runs}
    records = {run: record.provenance for run, record in found.items() if record is not None}
    links = {run: f"runs/{run}/" for run in records}
    page = render(
        "report.html.j2",
        title=TITLE,
        paper=PAPER,
        done=[
            ASKED,
            trained(scale, runs.values(), len(records)),
            judged(runs.values(), study.claims[scale].first_seed),
            *left_out(planned),
        ],
        data=described_data(records.values()),
        claims=_claims(results, study.claims[scale].plan.document),
        sections=[_section(results, name, links) for name in order],
        published=None if scale == FULL_SCALE else published_table(),
        missing=_table("Runs without a record", missing),
        provenance=provenance(list(records.values()), len(runs), read_classes()),
    )
    (results / "report.html").write_text(page, encoding="utf-8")


def trained(scale: str, runs: Iterable[Run], recorded: int) -> str:
    """In a sentence: what the runs of a scale train, how large, on which images.

    Args:
        scale: quick, small or paper.
        runs: all that are planned.
        recorded: how many of them have a record.
    """
    runs = list(runs)
    count = f"{recorded:,}" if recorded == len(runs) else f"{recorded:,} of {len(runs):,} planned"
    networks: dict[tuple[str, str], set[float]] = {}
    for run in runs:
        settings = run.settings
        place = settings.network.name, settings.data.source
        networks.setdefault(place, set()).add(settings.network.width)
    parts = [
        f"{NETWORKS[name]} ({_widths(name, widths)}) on {SOURCES[source]}"
        for (name, source), widths in networks.items()
    ]
    # Of runs that stop early, schedules alone go by their epochs.
    epochs = {run.settings.epochs for run in runs if run.settings.stop_after is None}
    steps = {run.settings.stop_after for run in runs} - {None}
    lengths = [
        f"for {_span(counts)} {what}"
        for counts, what in ((steps, "steps"), (epochs, "epochs"))
        if counts
    ]
    return (
        f"This page reports {count} trainings at the scale {scale} ({SENTENCES[scale]}): "
        f"{listed(parts)}, {', or '.join(lengths)}."
    )


def _span(counts: set[int]) -> str:
    """2 to 30, or 2 alone."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def judged(runs: Iterable[Run], first_seed: int) -> str:
    """In two sentences: what decides the claims, and how many runs have seeds that do not count."""
    passed_over = sum(run.settings.seed < first_seed for run in runs)
    older = (
        f" So do the {passed_over:,} trainings with a seed below {first_seed}, whatever they show."
        if passed_over
        else ""
    )
    return (
        "Each of the paper's claims is judged by comparisons that were fixed beforehand; all that "
        f"is shown beside them explores.{older}"
    )


def left_out(planned: Iterable[str]) -> list[str]:
    """In a sentence: the sections of the study that a scale does not run; none where it has all."""
    titles = [section.title for name, section in SECTIONS.items() if name not in planned]
    return [f"Not run at this scale: {listed(titles)}."] if titles else []


def _widths(network: str, widths: Iterable[float]) -> str:
    """How wide a network is, against the published one: 1/8 and 1/4 of its width."""
    full = MODELS[network].model_fields["width"].default
    of = [Fraction(width / full).limit_denominator(64) for width in sorted(widths)]
    if of == [1]:
        return "as wide as published"
    return f"{listed(['all' if part == 1 else str(part) for part in of])} of its width"


def published_table() -> dict[str, Any]:
    """The numbers that the papers publish, apart from ours."""
    rows = [
        {
            "data": SOURCES[source],
            "network": NETWORKS[network],
            "optimizer": OPTIMIZERS[optimizer],
            "top-1 accuracy (%), one run": f"{value:.1f}",
        }
        for (source, network, optimizer), value in PUBLISHED.items()
    ]
    return _table("Published numbers", rows)


def described_data(records: Iterable[dict[str, Any]]) -> list[str]:
    """A sentence for each kind of images: their name, and where they came from."""
    hashes: dict[tuple[str, str], set[str]] = {}
    for record in records:
        data = record["data"]
        place = SOURCES[record["settings"]["data"]["source"]], origin_of(data)
        hashes.setdefault(place, set()).add(data["sha256"][:12])
    return [
        f"{source[0].upper()}{source[1:]}: {origin} (sha256 {listed(sorted(found))})."
        for (source, origin), found in sorted(hashes.items())
    ]


def _claims(results: Path, plan: str) -> dict[str, Any] | None:
    """The verdicts, drawn and in words, and each claim with its comparisons; None where they are
    not judged yet."""
    table, varied = read_claims(results), read_sensitivity(results)
    if table is None or varied is None:
        return None
    drawn = forest(table)
    each = [
        {
            **row,
            "table": _shown(comparison_table(table, row["claim"]), "All its comparisons")
            | {"caption": ""},  # it is the same for all, and said once
        }
        for row in statements(table).to_dict("records")
    ]
    return {
        "rule": f"{RULE} {EXPLAINED}",
        "conclusions": conclusions(table, varied),
        "forest": None if drawn is None else _image(drawn.write(results), results),
        "each": each,
        "tables": {
            "claims": _shown(registration_table(table, plan)),
            "sensitivity": _shown(sensitivity_table(varied)),
        },
    }


def _section(results: Path, name: str, links: dict[str, str]) -> dict[str, Any]:
    folder = results / name
    try:
        section = read_json(folder / "exhibits.json")
    except FileNotFoundError:
        title = name.replace("_", " ").capitalize()
        return {"experiment": name, "title": title, "short": title, "asks": "", "finding": [],
                "exhibits": [], "missing": []}  # fmt: skip
    for exhibit in section["exhibits"]:
        # What all rest on is said once, at the end of the section.
        exhibit["caption"] = exhibit["caption"].removesuffix(section["basis"]).rstrip()
        if exhibit["kind"] == "figure":
            _image(exhibit, folder)
        else:
            exhibit["links"] = links
    notebook = f"{name}/{NOTEBOOK}" if (folder / NOTEBOOK).is_file() else None
    short = section["title"].partition(" (")[0]
    return {"finding": [], **section, "short": short, "notebook": notebook}


def _shown(table: Table, title: str | None = None) -> dict[str, Any]:
    return {**table.content(), "title": title or table.title, "links": {}}


def _image(exhibit: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is known of a figure, with the figure itself."""
    png = (folder / f"{exhibit['name']}.png").read_bytes()
    exhibit["image"] = base64.b64encode(png).decode()
    return exhibit


def _table(title: str, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    table = pd.DataFrame(rows)
    return {
        "title": title,
        "caption": "",
        "columns": list(table),
        "words": words(table),
        "rows": table.to_numpy().tolist(),
        "links": {},
    }
