"""The study's folder, from which all its paths count."""

import os
from pathlib import Path

from .problems import ParamsError


def enter_root(params: str = "params.yaml") -> None:
    """Change into the study's folder: the nearest, from the working directory upward.

    Args:
        params: path of its file, from that folder.

    Raises:
        ParamsError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if os.path.exists(folder / params):
            os.chdir(folder)
            return
    text = f"cannot be read: it is neither in {here} nor in any folder above; go to the study's"
    raise ParamsError(Path(params).name, [text])
