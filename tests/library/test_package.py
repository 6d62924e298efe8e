"""The package as it is imported."""

import subprocess
import sys


def test_modules_are_there_without_being_imported_one_by_one():
    """As torch's are; and none of them is loaded before it is asked for."""
    code = """
import sys
import bop2ndorder
assert not any(name.startswith("bop2ndorder.") or name == "torch" for name in sys.modules)
assert bop2ndorder.optim.Bop and bop2ndorder.binary.is_binary and bop2ndorder.__version__
assert {"load_run", "optim", "__version__"} <= set(dir(bop2ndorder))
from bop2ndorder import optim, schedules
try:
    bop2ndorder.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'bop2ndorder' has no attribute 'nothing'\n"
