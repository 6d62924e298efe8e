"""docs/performance.md: its tables and figure; costs in docs/bits.md, GPUs in docs/gpus.md.

All of results.json, which holds, by processor or card and part, what was measured, and on what; a
part `reported` holds comparisons with larq on a processor of which no more is known.
`python -m benchmarks.page` only writes the pages.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bop2ndorder.study.analysis.exhibits import markdown
from bop2ndorder.study.analysis.pages.readme import replace_block
from bop2ndorder.study.analysis.style import legend_below, look, panels, png

from . import results as measurements

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURE = Path(__file__).with_name("performance.png")
BEGIN, END = "<!-- written by `python -m benchmarks` -->", "<!-- end of measurements -->"
CONTESTANTS = {
    "ours": ("bop2ndorder", "#0072B2"),
    "portable": ("bop2ndorder, portable", "#56B4E9"),
    "plain": ("plain PyTorch", "#E69F00"),
    "larq": ("larq on TensorFlow", "#999999"),
}
Results = dict[str, dict[str, Any]]


def write(results: Results) -> None:
    """Bring the pages' measurements and the figure up to date."""
    with look():
        FIGURE.write_bytes(png(draw(results)))
    for name, block in BLOCKS.items():
        page = DOCS / name
        whole = page.read_text(encoding="utf-8")
        page.write_text(replace_block(whole, BEGIN, END, block(results)), encoding="utf-8")


def performance(results: Results) -> str:
    """All that has been measured, processor by processor, after the comparison with larq."""
    parts = {
        "narrow": _training,
        "wide": _training,
        "numerics": _numerics,
        "optimizers": _optimizers,
        "loader": _loader,
        "start": _start,
        "study": _study,
        "planning": _planning,
    }
    texts = [
        f"![fraction of the limit; milliseconds of a step](../benchmarks/{FIGURE.name})",
        "## Beside larq",
        _table(_beside_larq(results)),
    ]
    for processor, measured in sorted(results.items()):
        if measured.keys() & parts.keys():
            texts.append(f"## {processor}")
        for name, describe in parts.items():
            if name in measured:
                texts += [*describe(measured[name]["found"]), _basis(measured[name]["on"])]
    return "\n\n".join(texts)


def costs(results: Results) -> str:
    """What portable numerics cost on each processor where it was measured."""
    rows = [
        {"processor": processor, **row}
        for processor, measured in sorted(results.items())
        for row in _costs(measured.get("numerics", {}).get("found", []))
    ]
    return _table(rows) if rows else "Not measured yet."


def gpus(results: Results) -> str:
    """Throughput on each card where it was measured."""
    texts = []
    for card, measured in sorted(results.items()):
        if "gpu" in measured:
            on = measured["gpu"]["on"]
            texts += [
                f"### {card}",
                _table(_rates(measured["gpu"]["found"])),
                f"*Driver {on['driver']}, CUDA {on['cuda']}, cuDNN {on['cudnn']}.* {_basis(on)}",
            ]
    return "\n\n".join(texts) or "No GPU has been measured so far."


def _rates(found: list) -> list[dict[str, str]]:
    """A row for each network, batch and precision, with and without a graph side by side."""
    rows: dict[tuple, dict[str, str]] = {}
    for case in found:
        names = {key: f"{case[key]}" for key in ("network", "batch", "precision")}
        row = rows.setdefault(tuple(names.values()), names)
        rate = case["images_per_second"]
        shown = "too large for its memory" if rate is None else f"{rate:.0f}"
        row[f"graph: {case['graph']} (images/s)"] = shown
    return [*rows.values()]


def _table(rows: list[dict[str, str]]) -> str:
    return markdown(pd.DataFrame(rows)).rstrip()


def _basis(on: dict[str, Any]) -> str:
    processor, versions = on["processor"], on["versions"]
    return (
        f"*{processor['model']}, {processor['cores']} cores, torch {versions['torch']}, Python "
        f"{versions['python']}, commit {on['commit'][:7]}{' with changes' if on['dirty'] else ''}.*"
    )


def _beside_larq(results: Results) -> list[dict[str, str]]:
    """How many times as fast as larq, for every processor, case and numerics."""
    rows = []
    for processor, measured in sorted(results.items()):
        for part in ("narrow", "wide", "reported"):
            for case in measured.get(part, {}).get("found", []):
                times = case.get("times_larq") or _times_larq(case["images_per_second"])
                rows.append({
                    "processor": processor,
                    **{key: f"{case.get(key, '–')}" for key in ("width", "batch", "threads")},
                    "native / larq": _ratio(times.get("ours")),
                    "portable / larq": _ratio(times.get("portable")),
                })  # fmt: skip
    return rows


def _times_larq(images: dict[str, float]) -> dict[str, float]:
    return {name: rate / images["larq"] for name, rate in images.items()}


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _training(found: list) -> Iterator[str]:
    yield f"### Training BinaryNet of width {found[0]['width']}"
    rows = []
    for case in found:
        images, fraction = case["images_per_second"], case["fraction_of_limit"]
        shown = {name: title for name, (title, _) in CONTESTANTS.items() if name in images}
        peaks = case["operations_per_second"]
        rows.append({
            "batch": f"{case['batch']}",
            "threads": f"{case['threads']}",
            "limit (10⁹/s)": f"{case['limit_operations_per_second'] / 1e9:.0f}",
            "reached by": max(peaks, key=peaks.get),
            **{f"{title} (images/s)": f"{images[name]:.0f}" for name, title in shown.items()},
            **{f"{title} / limit": f"{fraction[name]:.2f}" for name, title in shown.items()},
        })  # fmt: skip
    yield _table(rows)
    macs = found[0]["operations_per_image"] / 6e6
    yield (
        f"Medians of {found[0]['turns']} turns. The forward pass of an image takes {macs:.3f} "
        "million multiply-accumulates, its training six operations for each."
    )


def _numerics(found: list) -> Iterator[str]:
    yield "### Portable and native numerics"
    yield _table(list(_costs(found)))
    yield f"Medians of {found[0]['turns']} pairs, the two of a pair one after the other."


def _costs(found: list) -> Iterator[dict[str, str]]:
    for case in found:
        images = case["images_per_second"]
        yield {
            **{key: f"{case[key]}" for key in ("width", "batch", "threads")},
            "native (images/s)": f"{images['ours']:.0f}",
            "portable (images/s)": f"{images['portable']:.0f}",
            "portable / native": f"{case['portable_over_native']:.2f}",
        }


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
    yield _table(rows)
    yield (
        f"{found[0]['weights'] / 1e6:.1f} million weights. Bytes that a step cannot do without "
        "(each of weight, gradient, moments once in, what changes once out) per second, over those "
        "of a plain copy."
    )


def _loader(found: dict) -> Iterator[str]:
    yield "### ImageNet's input"
    rates, fractions = found["images_per_second_and_core"], found["fraction_of_limit"]
    titles = {
        "limit": "decoding and resizing alone",
        "ours": "bop2ndorder",
        "plain": "plain PyTorch",
    }
    yield _table([{
        "": title,
        "images/s and core": f"{rates[name]:.0f}",
        "of the limit": f"{fractions.get(name, 1):.2f}",
    } for name, title in titles.items()])  # fmt: skip
    yield (
        f"JPEGs of 500x375 pixels and {found['bytes_of_a_file'] / 1e3:.0f} KB, batches of "
        f"{found['batch']}, {found['cores']} workers on {found['cores']} cores, medians of "
        f"{found['turns']} turns. With {found['workers_sharing']} workers ours hold "
        f"{found['shared_bytes'] / 1e6:.0f} MB of shared memory."
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


def draw(results: Results) -> Figure:
    """A row for each processor: fractions of the limit, milliseconds of the optimizers' steps."""
    drawn = {name: parts for name, parts in sorted(results.items()) if "narrow" in parts}
    figure, rows = panels(len(drawn), 2, 3.6 * len(drawn), width_ratios=(2, 1))
    for (processor, parts), (left, right) in zip(drawn.items(), rows, strict=True):
        cases = [case for part in ("narrow", "wide") if part in parts
                 for case in parts[part]["found"]]  # fmt: skip
        _draw_training(left, cases)
        left.set_title(f"Training on {processor}")
        if "optimizers" in parts:
            _draw_optimizers(right, parts["optimizers"]["found"])
        else:
            right.set_axis_off()
    legend_below(figure)
    return figure


def _draw_training(axes: Axes, cases: list[dict[str, Any]]) -> None:
    shown = [name for name in CONTESTANTS if name in cases[0]["fraction_of_limit"]]
    width = 0.8 / len(shown)
    for place, name in enumerate(shown):
        title, colour = CONTESTANTS[name]
        at = [case + width * (place - (len(shown) - 1) / 2) for case in range(len(cases))]
        heights = [case["fraction_of_limit"][name] for case in cases]
        bars = axes.bar(at, heights, 0.93 * width, color=colour, label=title)
        axes.bar_label(bars, [f"{h:.2f}" for h in heights], fontsize=6, padding=1)
    labels = [f"width {c['width']}\nbatch {c['batch']}\n{c['threads']} thr." for c in cases]
    axes.set_xticks(range(len(cases)), labels, fontsize=7.5)
    axes.set(ylabel="fraction of the machine's limit", ylim=(0, 1))
    axes.grid(False, axis="x")


def _draw_optimizers(axes: Axes, steps: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["optimizer"] for row in steps))
    for threads, colour, shift in ((1, "#CC79A7", -0.2), (2, "#882255", 0.2)):
        times = {r["optimizer"]: r["milliseconds"] for r in steps if r["threads"] == threads}
        at = [place + shift for place in range(len(names))]
        bars = axes.barh(at, [times[n] for n in names], 0.38, color=colour,
                         label=f"{threads} thread{'s' * (threads > 1)}")  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=7.5, padding=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    millions = steps[0]["weights"] / 1e6
    axes.set(title=f"One step, {millions:.0f} million weights", xlabel="milliseconds")


BLOCKS = {"performance.md": performance, "bits.md": costs, "gpus.md": gpus}

if __name__ == "__main__":
    write(measurements.read())
