"""A trained network of the study, by the id of its run."""

from pathlib import Path

from torch import nn

from .networks import build
from .store import damaged_file, read_json
from .weights import load_weights


def load_run(run: str, root: str | Path = "runs") -> nn.Module:
    """The trained network of a run, in evaluation mode, on the CPU.

    Args:
        run: the run's id, or a beginning of it that fits one run only.
        root: the folder `runs` of the study.

    Raises:
        FileNotFoundError: no such run, or several.
        ValueError: a file of it is damaged.
    """
    found = sorted(path.parent for path in Path(root).glob("*/*/done.json")
                   if path.parent.name.startswith(run))  # fmt: skip
    if len(found) != 1:
        what = "no finished run" if not found else f"{len(found)} runs"
        raise FileNotFoundError(
            f"{what} in {root} whose id begins with {run!r}: see `bop2ndorder plan` for the ids, "
            "`dvc pull` or `snakemake` for the weights"
        )
    if damaged := damaged_file(found[0], hashes=True):
        raise ValueError(f"{found[0] / damaged} is damaged: restore it with `dvc checkout runs`")
    facts = read_json(found[0] / "run.json")
    settings = facts["settings"]
    network = build(
        num_classes=facts["data"]["classes"],
        image_size=settings["data"]["image_size"],
        latent=settings["optimizer"]["name"] == "latent",
        **settings["network"],
    )
    load_weights(network, found[0] / "weights.safetensors")
    return network.eval()
