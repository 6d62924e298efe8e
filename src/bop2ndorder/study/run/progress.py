"""Progress of a training: a bar in a terminal, plain lines in a log."""

import sys
import time
from typing import Any

from tqdm import tqdm


class Progress:
    """Called with each epoch's row of the history.

    Args:
        run: the run's id.
        epochs: how many there are; a run that is taken up starts at a later one.
    """

    def __init__(self, run: str, epochs: int):
        self.epochs = epochs
        self.started = time.perf_counter()
        self.first: int | None = None
        terminal = sys.stderr.isatty()
        self.bar = tqdm(total=epochs, desc=run, unit="epoch") if terminal else None
        if not terminal:
            print(f"{run}: {epochs} epochs", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, row: dict[str, Any]) -> None:
        accuracy = row["val_accuracy"]
        shown = {
            "loss": f"{row['train_loss']:.4f}",
            "accuracy": f"{row['train_accuracy']:.2%}",
            **({} if accuracy is None else {"validation": f"{accuracy:.2%}"}),
            "flip_rate": f"{row['flip_rate']:.1e}",
        }
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(row["epoch"] - self.bar.n)
            return
        if self.first is None:
            self.first = row["epoch"] - 1
        per_epoch = (time.perf_counter() - self.started) / (row["epoch"] - self.first)
        left = per_epoch * (self.epochs - row["epoch"])
        facts = " ".join(f"{name} {value}" for name, value in shown.items())
        print(f"epoch {row['epoch']}/{self.epochs} {facts} left {duration(left)}",
              file=sys.stderr, flush=True)  # fmt: skip


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has two: 90 s, 2.5 min, 30.0 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
