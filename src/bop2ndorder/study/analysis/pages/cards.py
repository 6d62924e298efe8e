"""What is said of the networks that come with the repository: a card of each, and a list."""

from typing import Any

import pandas as pd

from ...data.preparation import BINARY_SCALING, IMAGENET_SCALING
from ..exhibits import markdown
from ..names import NETWORKS, SYMBOLS, schedule_text
from ..records import HYPERPARAMETERS, Records, describe_data
from ..sections import section_of

# What may be done with the images that the networks were trained on.
TERMS = {
    "digits": "the handwritten digits of UCI's repository: CC BY 4.0",
    "cifar10": "CIFAR-10, which states no licence",
    "imagenette": "Imagenette, images of ImageNet: non-commercial research and education",
    "imagenet": "ImageNet: non-commercial research and education",
}
LIMITS = """\
## Limits

- One training of one seed, the first; it was not picked by its accuracy. What the settings reach on
  average, and how far seeds are apart, says the table of the experiment.
- It shows what the optimizer does at the size of this study{narrow}. It is no classifier to
  rely on.
- The layers are PyTorch's: a weight is a bit on disk and a float in memory, and nothing computes
  faster.
- Weights that were latent are kept as signs: right for inference, wrong to train on.
"""


def card(row: Any, facts: dict[str, Any], metrics: dict[str, Any], scale: str) -> str:
    """The card of a network, in Markdown.

    Args:
        row: of `Records.runs`, with its label.
        facts, metrics: the run's provenance.json and metrics.json.
        scale: quick, small or paper.
    """
    settings, data, run = facts["settings"], facts["data"], facts["run"]
    network, image_size = settings["network"], settings["data"]["image_size"]
    sizes = ", ".join(f"{k} {v}" for k, v in network.items() if k != "name")
    split = "test" if "test_images" in metrics else "val"
    images = f"{metrics[f'{split}_images']:,} {'test' if split == 'test' else 'validation'} images"
    used = {"all": "all training images", "train": "training images, apart from validation ones"}
    chosen = {name: getattr(row, name) for name in HYPERPARAMETERS} | {"lr": row.lr}
    values = [f"{SYMBOLS[k]} {text}" for k, v in chosen.items() if (text := schedule_text(v))]
    facts_shown = {
        "network": f"{NETWORKS[network['name']]}, {sizes}: {facts['parameters']['binary']:,} "
        f"binary and {facts['parameters']['real']:,} real-valued parameters",
        "images": f"float32 (N, 3, {image_size}, {image_size}), RGB, {scaling(row.source)}",
        "logits": f"{data['classes']}, in the alphabetical order of the classes",
        "data": f"{describe_data(data)}; {used[settings['train_on']]}",
        "optimizer": f"{row.label}; {', '.join(values)}",
        "training": f"{settings['epochs']} epochs, batches of {settings['batch_size']}, seed "
        f"{settings['seed']}",
        "accuracy": f"{metrics[f'{split}_top1_percent']:.2f} % of {images}; among the first five "
        f"{metrics[f'{split}_top5_percent']:.2f} %",
        "file": f"[{run}.safetensors]({run}.safetensors), SHA-256 {metrics['weights_sha256']}; its "
        "layout: docs/export.md",
        "record": f"[metrics](../runs/{run}/metrics.json), [origin](../runs/{run}/provenance.json),"
        f" [history](../runs/{run}/history.csv)",
        "licence": f"of the weights MIT, as of this repository; of the images: {TERMS[row.source]}",
    }
    lines = [f"| {name} | {text} |" for name, text in facts_shown.items()]
    return "\n".join(
        [
            f"# {NETWORKS[network['name']]} trained with {row.label}, scale {scale}\n",
            "    from bop2ndorder import load_run",
            f'    network = load_run("{run}")  # in the folder of the repository\n',
            "| | |\n| --- | --- |",
            *lines,
            "",
            LIMITS.format(narrow="" if scale == "paper" else ": narrow, few epochs"),
        ]
    )


def listing(records: Records, shown: pd.DataFrame, scale: str) -> str:
    """The list of an experiment's networks, in Markdown.

    Args:
        records: of the experiment.
        shown: the rows of `records.runs` whose networks there are, with their labels.
        scale: quick, small or paper.
    """
    title = section_of(records.experiment).title.format(records.images)
    table = pd.DataFrame(
        {
            "network": shown["network"].map(NETWORKS),
            "optimizer": shown["label"],
            "seed": shown["seed"],
            "its accuracy (%)": shown[records.accuracy].map("{:.2f}".format),
            "weights": [f"[safetensors]({run}.safetensors)" for run in shown["run"]],
            "card": [f"[{run}]({run}.md)" for run in shown["run"]],
        }
    )
    return (
        f"# Networks of: {title}, scale {scale}\n\n"
        "The first seed of each row of the experiment's table, by "
        f"`bop2ndorder --scale {scale} ship {records.experiment}`. "
        "`bop2ndorder.load_run(ID)` loads one, in the folder of the repository, and "
        f"`bop2ndorder --scale {scale} evaluate ID` holds its accuracy against its record where "
        f"the data are prepared.\n\n{markdown(table)}"
    )


def scaling(source: str) -> str:
    """How bytes become what the network takes; a test holds it against prepared data."""
    if source in ("digits", "cifar10"):
        return f"bytes x as x / {BINARY_SCALING[1][0]:g} - 1"
    mean, std = IMAGENET_SCALING
    return f"bytes x as (x - {mean}) / {std}"
