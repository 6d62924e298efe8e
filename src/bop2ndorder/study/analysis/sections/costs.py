"""What a comparison would cost with wider networks or more epochs."""

import json

import pandas as pd

from ...config.settings import MODELS, DataSettings
from ..exhibits import Table
from ..names import NETWORKS, number_text
from ..records import Records

WIDER, LONGER = (1, 2, 4, 8), (1, 10, 50)  # times as wide, times as many epochs


def cost_table(records: Records) -> Table | None:
    """Each network at multiples of its width, up to the published one, and of its epochs."""
    table = costs(records)
    if table.empty:
        return None
    # Here, since torch takes longer to import than all tables together.
    from ...run.operations import CPU_RATE, GPU_RATES, PASSES

    gpu = GPU_RATES["float32"]
    millions = table["multiply_accumulates"] / 1e6
    columns = {
        "network": table["network"].map(NETWORKS),
        "width": table["width"].map("{:g}".format),
        "multiply-accumulates an image": millions.map("{:.1f}M".format),
    }
    for times in LONGER:
        hours = table[f"core_hours_{times}"].map(_hours)
        columns[f"{times} × epochs (core hours)" if times > 1 else "core hours"] = hours
    return Table(
        "costs",
        "What wider or longer would cost",
        "One run of as many epochs as the longest here, and of more: an estimate by operations, "
        f"{PASSES} forward passes a step, of a CPU core that sustains {number_text(CPU_RATE)} of "
        f"them a second; a GPU that sustains {number_text(gpu)} takes "
        f"1/{gpu / CPU_RATE:g} of it. Widths up to the published one.",
        table,
        pd.DataFrame(columns),
    )


def costs(records: Records) -> pd.DataFrame:
    """One row a network and width.

    Returns:
        network, run (the longest that has a record), width (multiples of its width),
        multiply_accumulates (of the forward pass of an image) and core_hours_TIMES (of a run with
        TIMES as many epochs).
    """
    from ...run.operations import CPU_RATE, operations_per_image, training_speed

    recorded, rows = records.runs[~records.runs["missing"].astype(bool)], []
    for name, runs in recorded.groupby("network", sort=False):
        longest = runs.loc[runs["images_seen"].idxmax()]
        settings = json.loads(longest["setting"])
        data = DataSettings.model_validate(settings["data"])
        published = MODELS[name].model_fields["width"].default
        for times in WIDER:
            wide = {
                key: times * value if key in ("width", "dense") else value
                for key, value in settings["network"].items()
            }
            if times > 1 and wide["width"] > published:
                continue
            operations = operations_per_image(wide, data.classes(), data.image_size)
            hours = longest["images_seen"] / training_speed(operations, CPU_RATE) / 3600
            row = {"network": name, "run": longest["run"], "width": wide["width"]}
            row["multiply_accumulates"] = operations // 2
            row |= {f"core_hours_{factor}": factor * hours for factor in LONGER}
            rows.append(row)
    return pd.DataFrame(rows)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
