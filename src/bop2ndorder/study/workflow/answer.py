"""A network that comes with the repository answers the images of its record again."""

from ...store import DONE
from ..numerics import pin
from ..run.evaluate import RECORD, accuracy
from ..run.record import read_record
from .failures import Failed
from .products import Workflow


def is_only_shipped(workflow: Workflow, run: str) -> bool:
    """Whether a run was neither trained nor pulled here, but its network came with git."""
    return not (workflow.run(run) / DONE).exists() and workflow.shipped(run).exists()


def answer_again(workflow: Workflow, run: str) -> tuple[str, float]:
    """Let a shipped network answer the images that its record was made of, on the CPU.

    Returns:
        the split, and the top-1 accuracy there in percent, which is that of the record.

    Raises:
        Failed: the record is damaged, the images are others, or other answers are right.
        FileNotFoundError, ValueError: as `load_run` and `open_data` raise them.
    """
    pin("torch")  # what is native may be computed so, too
    import torch

    from ...load import load_run
    from ..data import open_data
    from ..run.predict import predict

    planned, folder = workflow.runs[run], workflow.record(run)
    if (record := read_record(folder)) is None:
        raise Failed(f"its record is damaged: `git checkout {folder}` restores it")
    network, data = load_run(run), open_data(workflow.data(planned.data))
    if data.sha256 != (known := record.provenance["data"]["sha256"]):
        raise Failed(f"the images in {data.path} are not those of its record, sha256 {known}")
    split, top1 = accuracy(record.metrics)
    workers = planned.settings.threads if data.source == "imagenet" else 0
    network = network.to(memory_format=torch.channels_last)
    found = predict(network, data, split, "cpu", workers)
    right, count = int((found["top"][:, 0] == found["labels"]).sum()), len(found["labels"])
    if right != (recorded := round(top1 / 100 * count)):
        raise Failed(
            f"{right} of its {count} answers to {split} images are right here, {recorded} by its "
            f"record: {folder / RECORD[2]} says with which versions and numerics"
        )
    return split, top1
