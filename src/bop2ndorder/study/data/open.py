"""Opening a prepared data set."""

from pathlib import Path

from ...store import damaged_file, read_json
from .arrays import ArrayData
from .dataset import Data


def open_data(path: str | Path, hashes: bool = False) -> Data:
    """Open what `prepare` has made.

    Args:
        path: the folder.
        hashes: whether the contents of its files are checked, too, not their sizes alone: that
            reads them all.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: one of its files is missing or is not as it was made.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no prepared data in {path}: `snakemake prepare_all` makes it")
    if damaged := damaged_file(path, hashes):
        raise ValueError(
            f"{path / damaged} is missing or damaged: remove {path}, and `snakemake prepare_all` "
            "makes it again"
        )
    facts = read_json(path / "data.json")
    if facts["source"] == "imagenet":
        from .imagenet import FileData  # which needs Pillow

        return FileData(path, facts)
    return ArrayData(path, facts)
