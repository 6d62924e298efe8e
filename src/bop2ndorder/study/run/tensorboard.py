"""A training as TensorBoard shows it, while it goes on. Needs the package tensorboard."""

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

COUNTS = ("epoch", "step", "images_seen")


class EventFiles:
    """Called with each epoch's row of the history; writes all columns, over images seen.

    A column such as `flip_rate/conv1` is a curve in the group `flip_rate`.

    Args:
        folder: receives the event files. Of an earlier attempt in it TensorBoard shows what lies
            before the first row.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.writer is not None:
            self.writer.close()

    def __call__(self, row: dict[str, Any]) -> None:
        images = row["images_seen"]
        if self.writer is None:
            self.writer = SummaryWriter(str(self.folder), purge_step=images)
        for name, value in row.items():
            if name not in COUNTS and value is not None:
                self.writer.add_scalar(name, value, images)
        self.writer.flush()
