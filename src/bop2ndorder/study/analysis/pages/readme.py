"""What README.md shows of the results: a block between two comments, made of committed files."""

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ...config.claims import Claims
from ..exhibits import listed, markdown, signed, signed_interval
from ..sections import HEADLINE
from ..verdicts.claims import FILE as CLAIMS
from ..verdicts.claims import (
    SENSITIVITY,
    effect_on,
    parse_claims,
    parse_sensitivity,
    statements,
)
from ..verdicts.conclusions import otherwise
from ..verdicts.deciding import UNDECIDED, VERDICTS

BEGIN, END = "<!-- results: written by `bop2ndorder readme` -->", "<!-- end of results -->"
# The README leads with the largest scale that there are results of.
SENTENCES = {
    "paper": "At the scale `paper`: {}, all as published.",
    "small": """\
At the scale `small`: {}; far narrower networks than the published ones, in far fewer epochs. \
Their accuracies lie far below the published, so only differences count.""",
    "quick": """\
At the scale `quick`: {}; narrow networks, on a CPU. This shows that everything works from end to \
end. It says little about CIFAR-10 and ImageNet.""",
}
EXPERIMENT, FIGURE, TABLE = "cifar10", "convergence", "table"
# What a rule does comes before what is reached with it, and after that why, and whether it lasts.
SHOWN = ("mechanism", *HEADLINE, "rules", "length")
# A README has room for the rest only; the report has all.
LEFT_OUT = {"gamma", "sigma", "threshold", "training accuracy (%)"}


def write_readme(readme: Path, results: Path, claims: Mapping[str, Claims]) -> None:
    """Bring the block in README.md up to date.

    Args:
        readme: the file.
        results: the folder with a folder of results for each scale.
        claims: those of each scale, which name the plan.

    Raises:
        ValueError: the file has no place for the block.
        FileNotFoundError: no scale has results yet.
    """
    whole = readme.read_text(encoding="utf-8")
    scale = leading(results)
    folder = results / scale
    new = block(
        scale,
        folder.as_posix(),
        claims[scale].plan.document,
        lambda name: (folder / name).read_text(encoding="utf-8"),
    )
    readme.write_text(replace_block(whole, BEGIN, END, new), encoding="utf-8")


def leading(results: Path) -> str:
    """The largest scale with the tables and verdicts that the README shows."""
    needed = [*map(_exhibits, SHOWN), CLAIMS, SENSITIVITY]
    for scale in SENTENCES:
        if all((results / scale / name).is_file() for name in needed):
            return scale
    raise FileNotFoundError(
        f"no scale in {results} has {', '.join(needed)} yet: `snakemake report` makes them"
    )


def replace_block(page: str, begin: str, end: str, new: str) -> str:
    """The page with what stands between its two comments replaced."""
    found = _between(page, begin, end)
    return page[: found.start(1)] + new + page[found.end(1) :]


def block_of(page: str, begin: str = BEGIN, end: str = END) -> str:
    """What stands between two comments of a page; `ValueError` unless they are there once."""
    return _between(page, begin, end).group(1)


def _between(page: str, begin: str, end: str) -> re.Match[str]:
    pattern = f"{re.escape(begin)}\n\n(.*?)\n\n{re.escape(end)}"
    found = [*re.finditer(pattern, page, re.DOTALL)]
    if len(found) != 1:
        raise ValueError(f"the page must hold the lines `{begin}` and `{end}` once, in this order")
    return found[0]


def block(scale: str, folder: str, plan: str, read: Callable[[str], str]) -> str:
    """What should stand between the comments: findings, a figure, a table and the verdicts.

    Args:
        scale: whose results they are.
        folder: results/SCALE, for links.
        plan: the document that fixed how claims are judged.
        read: the text of a file by its name within that folder.
    """
    sections = {name: json.loads(read(_exhibits(name))) for name in SHOWN}
    exhibits = {exhibit["name"]: exhibit for exhibit in sections[EXPERIMENT]["exhibits"]}
    figure, table = exhibits[FIGURE], exhibits[TABLE]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    kept = frame[[name for name in frame.columns if name not in LEFT_OUT]]
    theirs = (
        " What of a difference in speed or accuracy is theirs, the finding on rules and schedules "
        "tells."
        if sections["rules"]["finding"]
        else ""
    )
    data = ", ".join(sections[name]["title"] for name in HEADLINE)
    found = [f"- **{s['title']}.** {s['finding'][0]}" for s in sections.values() if s["finding"]]
    table_of_claims = parse_claims(io.StringIO(read(CLAIMS)))
    claims = statements(table_of_claims)
    varied = parse_sensitivity(io.StringIO(read(SENSITIVITY)))
    judged = [
        f"- {row.statement} {_said(row)}{otherwise(row, table_of_claims, varied)}"
        for row in claims.itertuples()
    ]
    return "\n\n".join(
        [
            f"{SENTENCES[scale].format(data)} {_counted(claims['verdict'])}",
            "\n".join(found),
            f"![{figure['seen']}]({folder}/{EXPERIMENT}/{FIGURE}.png)",
            f"*{figure['caption']}*",
            markdown(kept).rstrip(),
            f"*{table['caption']}*",
            f"The paper's claims, judged by rules that [the plan]({plan}) fixed before the "
            "runs that count. What is compared is what was published: its arms differ in their "
            f"schedules and learning rates as well.{theirs} In brackets intervals, wider than "
            f"those above, since they allow for {len(judged)} claims being judged at once (Holm's "
            "correction):",
            "\n".join(judged),
        ]
    )


def _counted(verdicts: pd.Series) -> str:
    """How many claims got which verdict, in a sentence."""
    counts = verdicts.value_counts()
    said = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts]
    return f"Verdicts on the paper's {len(verdicts)} claims: {listed(said)}."


def _said(row) -> str:
    """The verdict; its effect where it was tested; the reason where that says more."""
    if pd.isna(row.p_holm):
        return f"**{row.verdict.capitalize()}**: {row.why}."
    why = f" {row.why}" if row.why and row.verdict != UNDECIDED else ""
    return (
        f"**{row.verdict.capitalize()}**{why}: {signed(row.estimate)} points of {effect_on(row)} "
        f"[{signed_interval(row.holm_low, row.holm_high)}] ({row.setup}; {row.n} seeds)."
    )


def _exhibits(experiment: str) -> str:
    return f"{experiment}/exhibits.json"
