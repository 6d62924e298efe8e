"""Flow charts that pages write in Mermaid, which GitHub draws, as SVG without a script.

Of Mermaid's language that is as much as `name[words] --> other[words]`, an arrow a line. Boxes
stand in rows, each below all that lead to it; an arrow over several rows has a narrow place in
each.
"""

import html
import re
import textwrap
from dataclasses import dataclass, field

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ARROW = re.compile(r"^\s*(\w+)(?:\[(.*?)\])? --> (\w+)(?:\[(.*?)\])?\s*$")
BOX, BEND, GAP, LINE, BETWEEN = 172, 14, 16, 19, 40  # widths, space; heights, in pixels


@dataclass
class Place:
    """A box, or where an arrow passes through a row; x is its middle."""

    words: list[str]
    before: list["Place"] = field(default_factory=list)
    row: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> int:
        return BOX if self.words else BEND

    @property
    def height(self) -> int:
        return LINE * len(self.words) + 12 if self.words else 0


def read(chart: str) -> list[Place]:
    """The boxes of a chart, each with those that lead to it, in an order that arrows keep.

    Raises:
        ValueError: for a line that is no arrow.
    """
    boxes: dict[str, Place] = {}
    for line in chart.strip().splitlines()[1:]:
        if not (arrow := ARROW.match(line)):
            raise ValueError(f"a flow chart is lines of `a[words] --> b[words]`; found {line}")
        for name, words in ((arrow[1], arrow[2]), (arrow[3], arrow[4])):
            title, _, rest = (words or name).partition(": ")
            text = [title, *textwrap.wrap(rest, 22)]
            if name not in boxes or words:
                boxes.setdefault(name, Place(text)).words = text
        boxes[arrow[3]].before.append(boxes[arrow[1]])
    for _ in boxes:
        for box in boxes.values():
            box.row = max((other.row + 1 for other in box.before), default=0)
    return sorted(boxes.values(), key=lambda box: box.row)


def arrange(boxes: list[Place]) -> list[list[Place]]:
    """Rows of boxes and bends, with their places; arrows then lead from row to next row."""
    rows: list[list[Place]] = [[] for _ in range(boxes[-1].row + 1)]
    for box in boxes:
        rows[box.row].append(box)
        for index, start in enumerate(box.before):
            for row in range(start.row + 1, box.row):
                start = Place([], [start], row)
                rows[row].append(start)
            box.before[index] = start
    y = 1.0
    for row in rows:
        row.sort(key=lambda place: sum(p.x for p in place.before) / max(len(place.before), 1))
        x = -sum(place.width + GAP for place in row) / 2
        for place in row:
            place.x, place.y = x + (place.width + GAP) / 2, y
            x += place.width + GAP
        y += max(place.height for place in row) + BETWEEN
    return rows


def svg(chart: str) -> str:
    """The drawing, in the colour of the text around it."""
    rows = arrange(read(chart))
    places = [place for row in rows for place in row]
    left = min(place.x - place.width / 2 for place in places) - 1
    right = max(place.x + place.width / 2 for place in places) + 1
    foot = [max(place.y + place.height for place in row) for row in rows]
    drawn = []
    for place in places:
        for start in place.before:
            begin = f"M{start.x:g} {start.y + start.height:g}V{foot[start.row]:g}"
            half = (foot[start.row] + place.y) / 2
            curve = f"C{start.x:g} {half:g} {place.x:g} {half:g} {place.x:g} {place.y:g}"
            head = ' marker-end="url(#head)"' if place.words else ""
            drawn.append(f'<path d="{begin}{curve}" fill="none" stroke="currentColor"{head}/>')
        if place.words:
            box = f'x="{place.x - BOX / 2:g}" y="{place.y:g}" width="{BOX}" height="{place.height}"'
            drawn.append(f'<rect {box} rx="5" fill="none" stroke="currentColor"/>')
            for line, words in enumerate(place.words):
                weight = ' font-weight="bold"' if line == 0 else ""
                at = f'x="{place.x:g}" y="{place.y + LINE * (line + 1):g}"'
                drawn.append(f"<text {at}{weight}>{html.escape(words)}</text>")
    size = f'viewBox="{left:g} 0 {right - left:g} {foot[-1] + 1:g}" width="{right - left:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="flow chart" {size} '
        'font-size="13" text-anchor="middle" fill="currentColor">'
        '<marker id="head" refX="8" refY="4" markerWidth="9" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker>'
        f"{''.join(drawn)}</svg>"
    )


class FlowChart(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        drawing = svg("\n".join(self.content))
        return [nodes.raw("", f'<div class="flowchart">{drawing}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("mermaid", FlowChart)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
