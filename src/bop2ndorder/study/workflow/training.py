"""A run from its settings to the files that are kept of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...store import write_done, write_json
from ..data import Data
from ..run.provenance import code_in_use, origin, run_facts
from ..run.ranks import joined
from ..run.record import RUN_FILES
from ..run.train import train


def train_run(
    run: str,
    settings: dict[str, Any],
    data: Data,
    folder: Path,
    checkpoint: Path,
    note: Path,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    checkpoint_every: float = 0,
) -> None:
    """Train a run, from where it was stopped if it was, and write all that is kept of it.

    Where its settings say so in `gpus`, several processes train it together, each of which calls
    this, and the first of them writes (`joined`).

    `Workflow` knows where a study's runs belong, and `evaluate` judges what is there then:

        workflow = Workflow(load_study(), "quick")
        planned = workflow.runs[run]
        data = open_data(workflow.data(planned.data))
        places = workflow.run(run), workflow.checkpoint(run), workflow.origin(run)
        train_run(run, planned.settings.model_dump(), data, *places)

    Numerics that the settings call portable are pinned before torch is imported (`numerics.pin`).

    Args:
        run: its id.
        settings, data, device, on_epoch, checkpoint_every: as `train` takes them.
        folder: receives the run's files, done.json last.
        checkpoint: as `train` takes it; removed when all is written.
        note: receives what another machine or hour changes, as `evaluate` takes it.

    Raises:
        As `train` does.
    """
    with joined(settings.get("gpus", 1), device) as ranks:
        if ranks.rank == 0:
            code = code_in_use()
            note.unlink(missing_ok=True)
        network, history = train(
            settings, data, folder, checkpoint, device, on_epoch, ranks, checkpoint_every
        )
        if ranks.rank == 0:
            write_json(folder / "run.json", run_facts(run, settings, data, network))
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, origin(folder, settings, history, device, code))
            write_done(folder, RUN_FILES)
            checkpoint.unlink(missing_ok=True)
