"""docs/library.md is a program that prints what the page says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "library.md"


def test_the_page_runs_and_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", text, re.DOTALL)
    assert len(blocks) == text.count("```python") > 5
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, (code, shown) in enumerate(blocks):
        exec(compile(code, f"block {number} of {PAGE.name}", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        assert [line.rstrip() for line in printed] == shown.splitlines()
