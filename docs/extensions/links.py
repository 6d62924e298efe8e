"""Links that the pages have for readers of the repository, for readers of the site.

A link from page to page stays one. A link to any other file of the repository leads to a copy of
that file in the site, since there is no address of the repository to lead to. Sphinx makes the
copy; what is done here is for Markdown files that are no pages, and for files that pages include.
"""

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

# ](target of a link or an image, but no address and no place on the same page
TARGET = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def to_pages_or_copies(app: Sphinx, document: nodes.document) -> None:
    """Let [flips.md](flips.md) read as the title of that page, and Markdown elsewhere be a copy."""
    for link in list(document.findall(addnodes.pending_xref)):
        if link.get("refdomain") != "doc":
            continue
        page = link["reftarget"]  # a path from the root of the disk where it is no page
        if Path(page).is_absolute():
            target = os.path.relpath(f"{page}.md", (Path(app.srcdir) / link["refdoc"]).parent)
            copy = addnodes.download_reference(reftarget=target, refdoc=link["refdoc"])
            copy["reftype"], copy["refdomain"], copy["refexplicit"] = "myst", None, True
            link.replace_self(copy + [nodes.literal("", link.astext(), classes=["download"])])
        elif link.astext().removeprefix("docs/") == f"{page}.md" and not link.get("reftargetid"):
            link["refexplicit"] = False
            link[0].clear()


def from_docs(app: Sphinx, included: Path, page: str, content: list[str]) -> None:
    """In a file that a page includes, let links begin at the page instead of at the file."""
    pages, folder = Path(app.srcdir), (Path(app.srcdir) / included).parent

    def moved(link: re.Match[str]) -> str:
        if (pages / link[1]).name in {"CHANGELOG.md", "CONTRIBUTING.md"}:
            return link[1]  # which are pages of the same name
        return os.path.relpath(folder / link[1], pages)

    content[0] = TARGET.sub(moved, content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", to_pages_or_copies, priority=100)  # before files are copied
    app.connect("include-read", from_docs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
