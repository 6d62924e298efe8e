"""The eyes of the other tests here: what is wrong with a page is seen."""

import chromium

WRONG = """<!DOCTYPE html><title>wrong</title>
<script>fetch('https://example.org/told').catch(() => 0); nowhere()</script>
<img src="https://example.org/loaded.png">
<div style="width: 2000px">wide</div>
<h2 id="there">there</h2><a href="#there">good</a><a href="#away">dead</a>
"""
RIGHT = """<!DOCTYPE html><title>right</title>
<meta name="viewport" content="width=device-width"><p>all is well
"""


def test_faults_of_a_page_are_seen(browser, tmp_path):
    (tmp_path / "wrong.html").write_text(WRONG)
    page = browser.open(tmp_path / "wrong.html")
    assert page.overflow() > 700
    assert page.dead_anchors() == ["#away"]
    left = {url for url in page.requests() if not url.startswith("file:")}
    assert left == {"https://example.org/told", "https://example.org/loaded.png"}
    assert any("ERR_NAME_NOT_RESOLVED" in error for error in page.errors())
    assert any("Uncaught" in error for error in page.errors())


def test_pages_are_apart_and_the_browser_ends(browser, tmp_path):
    (tmp_path / "right.html").write_text(RIGHT)
    page = browser.open(tmp_path / "right.html")
    page.resize(390)
    assert (page.evaluate("document.title"), page.evaluate("innerWidth")) == ("right", 390)
    assert not page.errors() and page.overflow() == 0
    with chromium.Browser() as other:
        other.open(tmp_path / "right.html")
        running = other.process
    assert running.returncode is not None
