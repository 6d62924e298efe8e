"""docs/performance.md: its tables and its figure, made of results.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bop2ndorder.analysis.exhibits import markdown
from bop2ndorder.analysis.readme import replace_block
from bop2ndorder.analysis.style import legend_below, look, panels, png

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
FIGURE = Path(__file__).with_name("performance.png")
BEGIN, END = "<!-- written by `python -m benchmarks` -->", "<!-- end of measurements -->"
CONTESTANTS = {
    "ours": ("bop2ndorder", "#0072B2"),
    "plain": ("plain PyTorch", "#E69F00"),
    "larq": ("larq on TensorFlow", "#999999"),
}


def write(results: dict[str, Any]) -> None:
    """Bring the page's measurements and the figure up to date."""
    with look():
        FIGURE.write_bytes(png(draw(results)))
    whole = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replace_block(whole, BEGIN, END, block(results)), encoding="utf-8")


def block(results: dict[str, Any]) -> str:
    """What stands between the comments, for the parts that have been measured."""
    parts = {
        "narrow": _training,
        "wide": _training,
        "optimizers": _optimizers,
        "start": _start,
        "study": _study,
        "planning": _planning,
    }
    texts = [f"![fraction of the limit; milliseconds of a step](../benchmarks/{FIGURE.name})"]
    for name, describe in parts.items():
        if name in results:
            on = results[name]["on"]
            processor = on["processor"]
            basis = (
                f"*{processor['model']}, {processor['cores']} cores, torch "
                f"{on['versions']['torch']}, Python {on['versions']['python']}, commit "
                f"{on['commit'][:7]}{' with changes' if on['dirty'] else ''}.*"
            )
            texts += [*describe(results[name]["found"]), basis]
    return "\n\n".join(texts)


def _training(found: list) -> Iterator[str]:
    yield f"### Training BinaryNet of width {found[0]['width']}"
    rows = []
    for case in found:
        images, fraction = case["images_per_second"], case["fraction_of_limit"]
        rows.append({
            "batch": f"{case['batch']}",
            "threads": f"{case['threads']}",
            "limit (10⁹/s)": f"{case['limit_operations_per_second'] / 1e9:.0f}",
            **{f"{title} (images/s)": f"{images[n]:.0f}" for n, (title, _) in CONTESTANTS.items()},
            **{f"{title} / limit": f"{fraction[n]:.2f}" for n, (title, _) in CONTESTANTS.items()},
            "times larq": f"{images['ours'] / images['larq']:.2f}",
        })  # fmt: skip
    yield markdown(pd.DataFrame(rows)).rstrip()
    macs = found[0]["operations_per_image"] / 6e6
    yield (
        f"Medians of {found[0]['turns']} turns. The forward pass of an image takes {macs:.3f} "
        "million multiply-accumulates, its training six operations for each."
    )


def _optimizers(found: list) -> Iterator[str]:
    yield "### One optimizer step"
    rows = [{
        "optimizer": row["optimizer"],
        "threads": f"{row['threads']}",
        "ms": f"{row['milliseconds']:.1f}",
        "times fused Adam": f"{row['times_fused_adam']:.2f}",
        "times foreach Adam": f"{row['times_foreach_adam']:.2f}",
        "of copy bandwidth": f"{row['fraction_of_copy_bandwidth']:.2f}",
    } for row in found]  # fmt: skip
    yield markdown(pd.DataFrame(rows)).rstrip()
    yield (
        f"{found[0]['weights'] / 1e6:.1f} million weights. Bytes that a step cannot do without "
        "(each of weight, gradient, moments once in, what changes once out) per second, over those "
        "of a plain copy."
    )


def _start(found: dict) -> Iterator[str]:
    yield "### Start of a run"
    more = found["first_step"] - found["import_torch"]
    optimizer = found["make_an_optimizer"] - found["import_torch"]
    yield (
        f"From the start of `bop2ndorder train` to the end of its first step "
        f"{found['first_step']:.2f} s: {more:.2f} s more than `python -c 'import torch'` "
        f"({found['import_torch']:.2f} s). Constructing any `torch.optim` object, which imports "
        f"`torch._dynamo`, takes {optimizer:.2f} s of that."
    )


def _study(found: dict) -> Iterator[str]:
    yield "### The quick study"
    idle = found["no_op_seconds"]
    yield (
        f"`snakemake` in a fresh clone: {found['runs']} runs, {found['snakemake_seconds']:.0f} s, "
        f"{found['times_train_jobs_over_cores']:.2f} times the sum of its training jobs "
        f"({found['train_jobs_seconds']:.0f} s) over {found['cores']} cores. With nothing to do, "
        f"`snakemake` takes {idle['snakemake']:.1f} s and `dvc repro` {idle['dvc_repro']:.1f} s."
    )


def _planning(found: dict) -> Iterator[str]:
    yield "### Planning"
    yield (
        f"`snakemake -n` for a study of {found['runs']} runs, none of them made: "
        f"{found['seconds']:.1f} s."
    )


def draw(results: dict[str, Any]) -> Figure:
    """Fractions of the limit for every case, and milliseconds of the optimizers' steps."""
    figure, [[left, right]] = panels(1, 2, 3.6, width_ratios=(2, 1))
    cases = [*results["narrow"]["found"], *results["wide"]["found"]]
    for place, (name, (title, colour)) in enumerate(CONTESTANTS.items()):
        at = [case + 0.27 * (place - 1) for case in range(len(cases))]
        heights = [case["fraction_of_limit"][name] for case in cases]
        bars = left.bar(at, heights, 0.25, color=colour, label=title)
        left.bar_label(bars, [f"{height:.2f}" for height in heights], fontsize=6.5, padding=1)
    labels = [f"width {c['width']}\nbatch {c['batch']}\n{c['threads']} thr." for c in cases]
    left.set_xticks(range(len(cases)), labels, fontsize=7.5)
    left.set(title="Training", ylabel="fraction of the machine's limit", ylim=(0, 1))
    left.grid(False, axis="x")
    steps = results["optimizers"]["found"]
    names = list(dict.fromkeys(row["optimizer"] for row in steps))
    for threads, colour, shift in ((1, "#56B4E9", -0.2), (2, "#0072B2", 0.2)):
        times = {r["optimizer"]: r["milliseconds"] for r in steps if r["threads"] == threads}
        at = [place + shift for place in range(len(names))]
        bars = right.barh(at, [times[n] for n in names], 0.38, color=colour,
                          label=f"{threads} thread{'s' * (threads > 1)}")  # fmt: skip
        right.bar_label(bars, fmt="%.0f", fontsize=7.5, padding=2)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.grid(False, axis="y")
    millions = steps[0]["weights"] / 1e6
    right.set(title=f"One step, {millions:.0f} million weights", xlabel="milliseconds")
    legend_below(figure)
    return figure
