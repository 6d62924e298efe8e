"""A trained network of the study, by the id of its run."""

from pathlib import Path
from typing import Any

from torch import nn

from .networks import build
from .store import damaged_file, file_sha256, read_json
from .weights import load_weights


def load_run(run: str, root: str | Path = ".") -> nn.Module:
    """The trained network of a run, in evaluation mode, on the CPU.

    It is one that was trained or pulled here (runs/SCALE/ID), or else one that comes with the
    repository (results/SCALE/models/ID.safetensors), whose record in git says what it is.

    Args:
        run: the run's id, or a beginning of it that fits one run only.
        root: the folder of the study, which has params.yaml.

    Raises:
        FileNotFoundError: no such run, or several; or a network that comes without its record.
        ValueError: a file of it is damaged.
    """
    root = Path(root)
    trained = {path.parent.name: path.parent for path in root.glob("runs/*/*/done.json")}
    shipped = {path.stem: path for path in root.glob("results/*/models/*.safetensors")}
    found = sorted(name for name in trained.keys() | shipped.keys() if name.startswith(run))
    places = f"{root / 'runs'} and {root / 'results' / '*' / 'models'}"
    if not found:
        raise FileNotFoundError(
            f"no finished run in {places} whose id begins with {run!r}: root must be a clone of "
            "the study, results/*/models/*.md describe the networks in git, and `snakemake` "
            "or `dvc pull` brings others"
        )
    if len(found) > 1:
        raise FileNotFoundError(
            f"{len(found)} runs in {places} have an id that begins with {run!r}, such as "
            f"{' and '.join(found[:3])}: give more of it"
        )
    (name,) = found
    weights, facts = _trained(trained[name]) if name in trained else _shipped(shipped[name])
    settings = facts["settings"]
    network = build(
        num_classes=facts["data"]["classes"],
        image_size=settings["data"]["image_size"],
        latent=settings["optimizer"]["name"] == "latent",
        **settings["network"],
    )
    load_weights(network, weights)
    return network.eval()


def _trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Weights and facts of a run that is here, as its done.json vouches for them."""
    if damaged := damaged_file(folder, hashes=True):
        raise ValueError(
            f"{folder / damaged} is damaged: restore it with `dvc checkout --force {folder.parent}`"
        )
    return folder / "weights.safetensors", read_json(folder / "run.json")


def _shipped(weights: Path) -> tuple[Path, dict[str, Any]]:
    """Weights that are in git, and their facts, as the record of the run vouches for them."""
    record = weights.parent.with_name("runs") / weights.stem
    if not (record / "provenance.json").exists():
        raise FileNotFoundError(
            f"{weights} has no record in {record}: restore it with `git checkout {record}`"
        )
    if file_sha256(weights) != read_json(record / "metrics.json")["weights_sha256"]:
        raise ValueError(
            f"{weights} is damaged, or of another training than its record: restore both with "
            f"`git checkout {weights.parents[1]}`"
        )
    return weights, read_json(record / "provenance.json")
