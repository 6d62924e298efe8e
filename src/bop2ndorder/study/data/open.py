"""Opening a prepared data set."""

from pathlib import Path

from ...store import damaged_file, read_json
from .arrays import ArrayData
from .dataset import Data


def open_data(path: str | Path) -> Data:
    """Open what `prepare` has made.

    Sizes of files are checked, contents are not: that would read everything each time.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: one of its files is missing or has another size than when it was made.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no prepared data in {path}: run `bop2ndorder prepare` to make it")
    if damaged := damaged_file(path):
        raise ValueError(
            f"{path / damaged} is missing or damaged: remove {path} and run `bop2ndorder prepare`"
        )
    facts = read_json(path / "data.json")
    if facts["source"] == "imagenet":
        from .imagenet import FileData  # which needs Pillow

        return FileData(path, facts)
    return ArrayData(path, facts)
