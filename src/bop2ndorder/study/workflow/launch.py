"""The process of a training: its GPUs, its ranks, its numerics, and what it shows meanwhile.

Nothing loads torch before the GPUs are leased and the numerics are pinned.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.runs import Run
from ..numerics import pin
from .failures import Failed, noted
from .lease import leased_gpus
from .products import Workflow
from .torchrun import is_rank, start_ranks, told

if TYPE_CHECKING:
    from ..run.tensorboard import EventFiles


def launch(
    workflow: Workflow,
    run: Run,
    checkpoint_every: float = 0,
    runs_per_gpu: int = 1,
    tensorboard: Path | None = None,
) -> None:
    """Train a run to where the workflow looks for it, from where it was stopped if it was.

    Args:
        workflow: the study's scale.
        run: one of its runs. Where it takes several GPUs, as many processes train it: each is
            started with the command `train`, which calls this.
        checkpoint_every: as `train` takes it.
        runs_per_gpu: how many runs share a GPU.
        tensorboard: folder for what TensorBoard shows, if any.

    Raises:
        Failed: says why, and where the traceback is.
    """
    folder, gpus = workflow.run(run.id), run.settings.gpus
    if gpus > 1 and is_rank():
        with told(folder):
            _train(workflow, run, checkpoint_every, tensorboard)
        return
    # The GPU before torch, for CUDA reads it once.
    with noted(workflow.note(run.id), folder), leased_gpus(gpus, runs_per_gpu):
        if gpus == 1:
            _train(workflow, run, checkpoint_every, tensorboard)
        else:
            study = ["--params", workflow.params, "--scale", workflow.scale]
            study += ["--work", str(workflow.work)]
            options = [f"--checkpoint-every={checkpoint_every}"]
            options += [f"--tensorboard={tensorboard}"] if tensorboard else []
            start_ranks([*study, "train", run.id, *options], gpus)


def _train(workflow: Workflow, run: Run, checkpoint_every: float, tensorboard: Path | None) -> None:
    """Train a run in this process, which is one of several where it takes several GPUs."""
    settings = run.settings
    if settings.numerics == "portable":
        pin("torch")
    import torch

    from ..data import open_data
    from ..run.progress import Progress
    from .training import train_run

    places = workflow.run(run.id), workflow.checkpoint(run.id), workflow.origin(run.id)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = open_data(workflow.data(run.data), hashes=True)
    epochs, _ = settings.length(data.count(settings.train_on))
    with ExitStack() as stack:
        watching = [stack.enter_context(Progress(run.id, epochs))]
        if tensorboard:
            watching.append(stack.enter_context(_event_files(tensorboard / run.id)))

        def on_epoch(row: dict[str, Any]) -> None:
            for watch in watching:
                watch(row)

        asked = settings.model_dump()
        train_run(run.id, asked, data, *places, device, on_epoch, checkpoint_every)


def _event_files(folder: Path) -> "EventFiles":
    try:
        from ..run.tensorboard import EventFiles
    except ImportError as error:
        raise Failed(
            f'--tensorboard needs a package more: pip install "bop2ndorder[tensorboard]" ({error})'
        ) from None
    return EventFiles(folder)
