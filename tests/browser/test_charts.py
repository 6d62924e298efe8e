"""The charts of `dvc plots`, drawn in a browser by the Vega that Snakemake brings along."""

import json
from importlib.resources import files

import pytest
from dvc_render import VegaRenderer
from ruamel.yaml import YAML
from studies import ROOT

VEGA = ("vega/vega.js", "vega-lite/vega-lite.js", "vega-embed/vega-embed.js")
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>chart</title>{scripts}<div id="chart"></div>
<script>const drawn = vegaEmbed("#chart", {spec}, {{renderer: "svg"}})</script>
"""


PANELS, ARMS = ("cifar10: BinaryNet", "imagenet: XNOR-Net"), ("Bop", "Bop2ndOrder, biased")
# As DVC reads them from two versions of a table: all is text, and an empty cell is an empty text.
ROWS = [
    {"rev": rev, "panel": panel, "arm": arm, "epoch": str(epoch), "accuracy": str(80 + epoch + add),
     "low": "79.5" if arm == "Bop" else "", "high": "90.5" if arm == "Bop" else "", "seeds": "3"}
    for rev, add in (("workspace", 0.5), ("main", 0))
    for panel in PANELS
    for arm in ARMS
    for epoch in (1, 2, 3)
]  # fmt: skip


def page_of(name, rows):
    """A page with a chart as DVC draws it, but that its scripts come from this machine."""
    (axes,) = (
        plot[file]
        for plot in YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]
        for file in plot
        if file.endswith(f"/{name}.csv")
    )
    spec = VegaRenderer(rows, name, template_dir=str(ROOT / ".dvc" / "plots"), **axes)
    assets = files("snakemake") / "assets" / "data"
    scripts = "".join(f"<script>{(assets / file).read_text()}</script>" for file in VEGA)
    return PAGE.format(scripts=scripts, spec=json.dumps(spec.get_filled_template()))


def count(page, selector):
    return page.evaluate(f"document.querySelectorAll('#chart svg {selector}').length")


@pytest.mark.parametrize("name", ["accuracy", "convergence"])
def test_two_versions_are_drawn_in_one_chart(browser, tmp_path, name):
    rows = [row for row in ROWS if name == "convergence" or row["epoch"] == "3"]
    (tmp_path / "chart.html").write_text(page_of(name, rows), encoding="utf-8")
    page = browser.open(tmp_path / "chart.html")
    script = "[...document.querySelectorAll('#chart svg text')].map(text => text.textContent)"
    words = page.evaluate(f"drawn.then(() => {script})")
    assert {*PANELS, *ARMS, "workspace", "main"} <= set(words) and not page.errors()
    each = len(PANELS) * len(ARMS) * 2
    if name == "accuracy":
        assert words.count("83.5") == words.count("83.0") == len(PANELS) * len(ARMS)
        assert count(page, "[class*=layer_1_marks] > path") == each
        assert count(page, "[class*=layer_0_marks] > line") == each / 2, "those with intervals"
    else:
        assert count(page, ".mark-line path") == each
