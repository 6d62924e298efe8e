"""params.yaml as a validated study, expanded to runs."""

from .document import SCALES
from .problems import ParamsError
from .root import enter_root
from .runs import Entry, Run
from .settings import Settings
from .study import Study, load_study

__all__ = [
    "SCALES", "Entry", "ParamsError", "Run", "Settings", "Study", "enter_root", "load_study",
]  # fmt: skip
