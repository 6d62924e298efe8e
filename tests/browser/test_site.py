"""The documentation in a real browser: from disk alone, in sight at a desk and on a phone."""

import pytest

FILES = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
COLOURS = """[document.body, ...document.querySelectorAll('math, .flowchart svg')]
  .map(part => getComputedStyle(part).color)"""
GROUND = "getComputedStyle(document.body).backgroundColor"
FOUND = """new Promise(done => {
  Search.performSearch('noise floor');
  const look = () => /finished/.test(document.querySelector('.search-summary').innerText) ?
    done([...document.querySelectorAll('#search-results li a')].map(link => link.href)) :
    setTimeout(look, 50);
  look();
})"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(browser, site):
    return {path.stem: browser.open(path) for path in sorted(site.glob("*.html"))}


def test_every_page_opens_from_disk_alone(pages, site):
    for name, page in pages.items():
        assert page.requests(), "at least itself"
        for request in page.requests():
            assert request.startswith(site.as_uri()), name
        assert page.errors() == [], name
        assert page.evaluate(FILES) == [], f"{name}: pictures that are not there"
        assert page.dead_anchors() == [], name


def test_every_page_fits_a_desk_and_a_phone(pages):
    """What is wide, a table or code, scrolls in a box of its own."""
    for width in (1280, 390):
        for name, page in pages.items():
            page.resize(width)
            assert page.overflow() == 0, f"{name} at {width}"


def test_formulas_and_flow_charts_have_the_colour_of_the_text(pages):
    for name in ("flips", "api", "workflow"):
        seen = set()
        for dark in (False, True):
            pages[name].darken(dark)
            text, *drawn = pages[name].evaluate(COLOURS)
            assert drawn and set(drawn) == {text}, f"{name}, dark: {dark}"
            seen.add((text, pages[name].evaluate(GROUND)))
        assert len(seen) == 2, "a reader who prefers dark pages gets them"


def test_the_search_finds_without_a_network(pages, site):
    found = pages["search"].evaluate(FOUND)
    assert (site / "flips.html").as_uri() in {link.partition("#")[0] for link in found}
    assert pages["search"].errors() == []
