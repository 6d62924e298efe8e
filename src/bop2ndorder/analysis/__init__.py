"""Records -> tables, figures, notebooks and the report page; nothing here trains or measures."""

from .experiments import analyse, exhibits_of, summarise
from .notebooks import run_notebook
from .records import Records, load_records
from .report import write_report

__all__ = [
    "Records",
    "analyse",
    "exhibits_of",
    "load_records",
    "run_notebook",
    "summarise",
    "write_report",
]
