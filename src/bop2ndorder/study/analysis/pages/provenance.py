"""What the records of a scale say of their origin: machines, versions, code, data."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ...config.codes import Classes
from ...run.progress import duration
from ..records import origin_of


def provenance(records: list[dict], planned: int, classes: Classes) -> list[tuple[str, list[str]]]:
    """What the records say of their origin, as lines under headings; counts where they differ.

    Args:
        records: the content of each provenance.json.
        planned: number of runs of the scale.
        classes: the codes that were shown to do the same (`read_classes`).
    """
    known = [record["train_seconds"] for record in records if record["train_seconds"] is not None]
    told = f"{duration(sum(known))} in all" if known or not records else "unknown"
    if known and len(known) < len(records):
        told = f"{duration(sum(known))} in the {len(known)} of {len(records)} records that tell"
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
        ("Training time", [told]),
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
