"""The report: one self-contained page a scale, made of what `analyse` wrote and the records."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ....store import read_json
from ...config.codes import Classes, read_classes
from ...config.study import Study
from ...run.progress import duration
from ...run.record import read_record
from ..page import render
from ..records import describe_data, origin_of
from ..sections import SECTIONS
from ..verdicts.claims import RULE, comparison_table, read_claims, statements, verdict_table

NOTEBOOK = "notebook.html"


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
    runs = list(study.runs(scale))
    found = [read_record(results / "runs" / run) for run in runs]
    records = [record.provenance for record in found if record is not None]
    page = render(
        "report.html.j2",
        title=f"Bop and Bop2ndOrder: scale {scale}",
        scale=scale,
        sections=[_section(results, name) for name in order],
        claims=_claims(results),
        missing=_table(missing),
        data=sorted({describe_data(record["data"]) for record in records}),
        provenance=provenance(records, len(runs), read_classes()),
    )
    (results / "report.html").write_text(page, encoding="utf-8")


def provenance(records: list[dict], planned: int, classes: Classes) -> list[tuple[str, list[str]]]:
    """What the records say of their origin, as lines under headings; counts where they differ.

    Args:
        records: the content of each provenance.json.
        planned: number of runs of the scale.
        classes: the codes that were shown to do the same (`read_classes`).
    """
    seconds = sum(record["train_seconds"] or 0 for record in records)
    commits = [
        f"{(record['commit'] or 'unknown')[:12]}{' with changes' if record['dirty'] else ''}"
        for record in records
    ]
    data = [
        f"{record['data']['name']}: {origin_of(record['data'])}, sha256 {record['data']['sha256']}"
        for record in records
    ]
    return [
        ("Runs", [f"{len(records)} of {planned} have a record"]),
        ("Training time", [f"{duration(seconds)} in all"]),
        ("Data", _counted(data)),
        ("Hardware", _counted(_hardware(record) for record in records)),
        ("Numerics", _counted(_pairs(record["numerics"]) for record in records)),
        ("Versions", _counted(_pairs(record["versions"]) for record in records)),
        ("Code", made_by(records, classes) + _counted(f"commit {commit}" for commit in commits)),
    ]


def made_by(records: list[dict], classes: Classes) -> list[str]:
    """How many codes trained the records: a line for those that were shown to do the same."""
    named = {e["training"]["hash"]: same[0]["training"]["hash"] for same in classes for e in same}
    groups: dict[str | None, list[tuple[str | None, str | None]]] = {}
    for record in records:
        code = (record["code"] or {}).get("training")
        groups.setdefault(named.get(code, code), []).append((code, record["device"]))
    lines = []
    for first, made in groups.items():
        codes = {code for code, _ in made}
        known = _number(len(codes), "code") if first else "codes that are not known"
        line = f"{_number(len(made), 'record')} by {known}"
        if len(codes) > 1:
            line += ", shown to do the same on the CPU (docs/workflow.md)"
        if unseen := sum(code != first and device != "cpu" for code, device in made):
            line += f"; {unseen} trained on a GPU by code shown to do the same on the CPU only"
        lines.append(line)
    return lines


def _claims(results: Path) -> dict[str, Any] | None:
    """The verdicts, and each claim with its comparisons; None where they are not judged yet."""
    table = read_claims(results)
    if table is None:
        return None
    each = [
        {**row, "table": comparison_table(table, row["claim"]).content()}
        for row in statements(table).to_dict("records")
    ]
    return {"rule": RULE, "verdicts": verdict_table(table).content(), "each": each}


def _section(results: Path, name: str) -> dict[str, Any]:
    folder = results / name
    try:
        section = read_json(folder / "exhibits.json")
    except FileNotFoundError:
        return {"experiment": name, "title": name, "asks": "", "exhibits": [], "missing": [],
                "notebook": None}  # fmt: skip
    for exhibit in section["exhibits"]:
        if exhibit["kind"] == "figure":
            png = (folder / f"{exhibit['name']}.png").read_bytes()
            exhibit["image"] = base64.b64encode(png).decode()
    notebook = f"{name}/{NOTEBOOK}" if (folder / NOTEBOOK).is_file() else None
    return {**section, "notebook": notebook}


def _table(rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    columns = list(rows[0]) if rows else []
    return {
        "columns": columns,
        "words": [True] * len(columns),
        "rows": [list(row.values()) for row in rows],
    }


def _counted(lines: Iterable[str]) -> list[str]:
    """Each line once, the commonest first, with its number of runs where there are several."""
    counts = sorted(Counter(lines).items(), key=lambda item: (-item[1], item[0]))
    if len(counts) == 1:
        return [counts[0][0]]
    return [f"{line} ({_number(count, 'run')})" for line, count in counts]


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def _hardware(record: dict[str, Any]) -> str:
    if record["processor"] is None:
        return "unknown"
    gpu = "" if record["device"] == "cpu" else f"{record['device']} in {record['precision']}, "
    return f"{gpu}{record['processor']['model']}, {record['processor']['cores']} cores"


def _pairs(values: dict[str, Any] | None) -> str:
    if values is None:
        return "unknown"
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
