"""What the study no longer names is put aside, not deleted: a change may be taken back."""

import shutil
from pathlib import Path

from .products import Workflow

SHELF = Path(".stale")


def shelve(workflow: Workflow) -> list[str]:
    """Put aside unnamed data, runs, records and tables of one scale; take back those named again.

    So the folders hold what the study names and nothing else, whatever came before: their hash in
    dvc.lock depends on the commit, not on its history. `make clean-stale` empties the shelf.

    Returns:
        a line for each thing moved.
    """
    named = {run.data for run in workflow.runs.values()}
    shown = {path.parent.name for path in workflow.results.glob("*/exhibits.json")}
    others = _names(workflow.results) - shown  # runs, models and plots
    places = [
        (workflow.work, workflow.data(""), named),
        (workflow.work, workflow.run(""), set(workflow.runs)),
        (Path(), workflow.record(""), set(workflow.runs)),
        (Path(), workflow.results, {*workflow.experiments} | others),
    ]
    for path in workflow.key_file("").glob("*"):
        if path.name not in workflow.products:
            path.unlink()
    moved = []
    for root, folder, wanted in places:
        shelf = root / SHELF / folder.relative_to(root)
        for source, target, names in (
            (folder, shelf, _names(folder) - wanted),
            (shelf, folder, (_names(shelf) & wanted) - _names(folder)),
        ):
            for name in sorted(names):
                target.mkdir(parents=True, exist_ok=True)
                if (target / name).exists():
                    shutil.rmtree(target / name)
                shutil.move(source / name, target / name)
                moved.append(f"{source.name}/{name} -> {target}")
    return moved


def _names(folder: Path) -> set[str]:
    """Folders in a folder; hidden ones, such as downloads, are nobody's product."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
