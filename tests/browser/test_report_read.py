"""The report in a real browser: whole, offline, in sight at a desk and on a phone, and printed."""

import io
import re

import pytest
from pypdf import PdfReader
from synthetic import write_records

from bop2ndorder.study.analysis import analyse, write_claims, write_report
from bop2ndorder.study.config import load_study

OPEN = "document.querySelectorAll('details').forEach(part => part.open = true)"
SHOWN = "getComputedStyle(document.body).backgroundColor"
CELLS = "[...document.querySelectorAll('{} tbody tr')].map(row => row.cells[{}].textContent)"
SETTLED = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"
WIDE = """[...document.querySelectorAll('.scroll')]
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText.slice(0, 80))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of two experiments analysed, their claims judged, the others still to come."""
    study = load_study("params.yaml")
    results = tmp_path_factory.mktemp("results")
    write_records(study.entries("quick"), results)
    for name in ("cifar10", "imagenet"):
        analyse(name, study.entries("quick"), results, "quick")
    write_claims(study.claims["quick"], study.entries("quick"), results, "quick")
    write_report(study, "quick", results)
    return results / "report.html"


@pytest.fixture
def page(browser, report):
    return browser.open(report)


def test_it_opens_from_disk_alone(page, report):
    assert page.requests() == [report.as_uri()]
    assert page.errors() == []
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("[...document.images].every(image => image.alt.endsWith('.'))")


def test_it_fits_a_desk_and_a_phone(page):
    page.evaluate(OPEN)
    assert page.overflow() == 0
    assert page.evaluate(WIDE) == []
    page.resize(390, 844)
    page.evaluate(SETTLED)
    assert page.overflow() == 0
    hints = page.evaluate("document.querySelectorAll('.wide > .hint').length")
    assert hints == len(page.evaluate(WIDE)) > 0, "what scrolls sideways says so"


@pytest.mark.parametrize("width", [1280, 390])
def test_contents_stay_in_sight_and_lead_somewhere(page, width):
    page.resize(width)
    assert page.dead_anchors() == []
    links = page.evaluate(
        "[...document.querySelectorAll('#contents a')].map(a => a.getAttribute('href'))"
    )
    headings = page.evaluate("[...document.querySelectorAll('h2')].map(h => '#' + h.id)")
    assert links[1:] == headings and "#cifar10" in links
    page.evaluate("document.querySelector('#contents a[href=\"#imagenet\"]').click()")
    page.evaluate(SETTLED)
    there = page.evaluate("document.getElementById('imagenet').getBoundingClientRect().top")
    assert 0 <= there < 100, "the heading is in sight, under no bar"
    assert page.evaluate("document.getElementById('contents').getBoundingClientRect().top") == 0
    here = page.evaluate("document.querySelector('#contents .here').getAttribute('href')")
    assert here == "#imagenet"


def test_tables_are_sorted_by_numbers(page):
    table = '[aria-label="Every run"]'
    column = page.evaluate(
        f"[...document.querySelectorAll('{table} th')]"
        ".findIndex(head => /accuracy/.test(head.textContent))"
    )
    head = f"document.querySelector('{table}').querySelectorAll('th')[{column}]"
    for order in ("ascending", "descending"):
        page.evaluate(f"{head}.click()")
        assert page.evaluate(f"{head}.ariaSort") == order
        found = page.evaluate(f"{CELLS.format(table, column)}")
        rows = page.evaluate(f"document.querySelector('{table} tbody').rows.length")
        numbers = [float(cell) for cell in found[:rows]]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert len(set(numbers)) > 1


def test_runs_link_to_their_records(page, report):
    links = page.evaluate(
        "[...document.querySelectorAll('td a')].map(a => [a.getAttribute('href'), a.textContent])"
    )
    assert links
    for address, run in links:
        assert address == f"runs/{run}/" and (report.parent / address / "metrics.json").is_file()


def test_dark_where_a_reader_prefers_it(page):
    light = page.evaluate(SHOWN)
    page.darken()
    dark = page.evaluate(SHOWN)
    assert [int(re.findall(r"\d+", colour)[0]) > 128 for colour in (light, dark)] == [True, False]
    shown = page.evaluate("getComputedStyle(document.images[0]).filter")
    assert shown == "brightness(0.88)", "no colour map is turned round"


def test_it_prints(page):
    pages = PdfReader(io.BytesIO(page.pdf())).pages
    text = "\n".join(one.extract_text() for one in pages)
    assert "A Bop and Beyond" in pages[0].extract_text() and "Provenance" in text
    assert "Final comparison" in text and "95 % interval" in text, "tables are unfolded on paper"
    assert 3 < len(pages) < 60
    page.ask("Emulation.setEmulatedMedia", media="print")
    page.resize(720)  # as wide as paper between margins
    page.evaluate(OPEN)
    assert page.overflow() == 0, "nothing is cut off at the edge of the paper"
