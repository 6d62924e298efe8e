"""The documentation as a site: `make docs`. It needs no network, to be made or to be read."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent / "src")]

project = "bop2ndorder"
author = "The bop2ndorder developers"
copyright = author
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"][
    "version"
]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "flowcharts",
    "formulas",
    "links",
]
exclude_patterns = ["_build", "extensions"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3  # as GitHub has them

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # torch's
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_param = False  # several names may share an entry
napoleon_use_rtype = False

# Every name that a page or docstring refers to must be there, but for those of other packages,
# whose pages are not asked: that needs a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|pathlib|collections)\b.*"),
    (r"py:.*", r"Tensor|Optimizer|nn\.\w+|Path|Any|Callable|Mapping"),
    (r"py:meth", r"update|state_dict"),  # each subclass's own; torch's
]

html_theme = "furo"
html_title = f"bop2ndorder {version}"
html_math_renderer = "mathml"
html_static_path = ["assets"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it fetches pages, which a browser refuses from disk

linkcheck_anchors = False
linkcheck_timeout = 20


def without_private_bases(app, name, obj, options, bases) -> None:
    bases[:] = [base for base in bases if not base.__name__.startswith("_")]


def setup(app) -> None:
    app.connect("autodoc-process-bases", without_private_bases)
