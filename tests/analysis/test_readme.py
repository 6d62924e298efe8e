"""README.md: its results are those of the committed files, its example trains."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from bop2ndorder.binary import is_binary
from bop2ndorder.study.analysis.pages.readme import (
    BEGIN,
    END,
    SHOWN,
    block,
    block_of,
    leading,
    write_readme,
)
from bop2ndorder.study.config import load_study

README = Path("README.md")
WAITS = '["It waits.", "For what, the report tells."]'
CLAIMS = load_study("params.yaml").claims
RESULTS = Path("results")


def committed(name: str) -> str:
    command = ["git", "show", f"HEAD:./{RESULTS / leading(RESULTS) / name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_results_are_those_that_are_committed():
    shown = block_of(README.read_text(encoding="utf-8"))
    scale = leading(RESULTS)
    folder = RESULTS / scale
    told = scale, folder.as_posix(), CLAIMS[scale].plan.document
    here = block(*told, lambda name: (folder / name).read_text(encoding="utf-8"))
    # A study run on other hardware may differ from what is committed; the README then shows that.
    if shown != here:
        assert shown == block(*told, committed), "run `bop2ndorder readme`"


def test_the_first_screen_is_findings_a_figure_and_a_table_that_exist():
    block = block_of(README.read_text(encoding="utf-8"))
    first, findings, figure, caption, table, *_ = block.split("\n\n")
    assert first.startswith(f"At the scale `{leading(RESULTS)}`: BinaryNet on ")
    assert all(line.startswith("- **") for line in findings.splitlines())
    [path] = re.findall(r"!\[.+\]\((.+)\)", figure)
    assert Path(path).is_file() and f"Scale {leading(RESULTS)};" in caption
    assert table.startswith("| optimizer | test accuracy (%) | 95 % interval |")
    assert len(table.splitlines()) - 2 <= 5


def results_of(folder: Path, accuracy: str, verdict: str = "undecided", why: str = "") -> None:
    for name in SHOWN:
        (folder / name).mkdir(parents=True)
        (folder / name / "exhibits.json").write_text(
            f'{{"title": "the {name}", "finding": {WAITS if name == "mechanism" else "[]"}}}'
        )
    (folder / "cifar10" / "exhibits.json").write_text(
        '{"title": "one on {CIFAR}", "finding": ["Bop wins."], "exhibits": ['
        '{"kind": "figure", "name": "convergence", "title": "T", "caption": "C", "seen": "S"},'
        '{"kind": "table", "name": "table", "caption": "D", "columns": ["optimizer", "sigma",'
        f'"test accuracy (%)"], "rows": [["Bop", "", "{accuracy}"]]}}]}}'
    )
    (folder / "claims.csv").write_text(
        "claim,comparison,statement,verdict,why,estimate,low,high,holm_low,holm_high,p_holm,"
        "measure,metric,setup,n\n"
        f"C1,overall,It is so.,{verdict},{why},1.2,,,,,,,,,3\nC1,one,,supported,,,,,,,,,,,3\n"
        "C2,overall,It is better.,supported,,2.25,1.5,3,1.4,3.1,0.01,accuracy,val_accuracy,"
        "a net,8\n"
    )
    (folder / "sensitivity.csv").write_text(
        "claim,variation,verdict,why,open\nC1,as planned,undecided,,\nC2,as planned,supported,,\n"
        "C1,Welch's test,supported,,\nC2,Welch's test,undecided,,one\n"
    )


def test_block_is_replaced_and_nothing_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    with pytest.raises(FileNotFoundError, match="no scale in .* has mechanism/exhibits.json, "):
        write_readme(readme, tmp_path, CLAIMS)
    results_of(tmp_path / "quick", "91.2", why="too few seeds")
    write_readme(readme, tmp_path, CLAIMS)
    text = readme.read_text()
    assert text.startswith("before\n\n<!--") and text.endswith("-->\n\nafter\n")
    assert "quick/cifar10/convergence.png)" in text and "old" not in text
    assert text.count("| optimizer | test accuracy (%) |\n| --- | --: |\n| Bop | 91.2 |") == 1
    assert "- **the mechanism.** It waits.\n- **one on {CIFAR}.** Bop wins.\n" in text
    assert text.endswith(
        "\n- It is so. **Undecided**: too few seeds.\n- It is better. **Supported**: +2.2 points "
        "of validation accuracy [+1.4 to +3.1] (a net; 8 seeds). Judged otherwise it "
        "would be undecided for its comparison one (Welch's test).\n\n"
        f"{END}\n\nafter\n"
    )
    assert "At the scale `quick`: one on {CIFAR}, the imagenet; " in text
    assert "Verdicts on the paper's 2 claims: 1 supported and 1 undecided.\n" in text
    plan = CLAIMS["quick"].plan.model_copy(update={"document": "docs/another.md"})
    other = CLAIMS["quick"].model_copy(update={"plan": plan})
    write_readme(readme, tmp_path, {"quick": other})
    assert "judged by rules that [the plan](docs/another.md) fixed" in readme.read_text()
    readme.write_text(f"before\n\n{BEGIN}\n\n\n\n{END}\n\nafter\n")
    write_readme(readme, tmp_path, CLAIMS)
    assert readme.read_text() == text, "also where it had been emptied"
    readme.write_text("no place for it")
    with pytest.raises(ValueError, match="must hold the lines"):
        write_readme(readme, tmp_path, CLAIMS)


def test_the_larger_scale_leads_once_it_has_results(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n\nold\n\n{END}")
    results_of(tmp_path / "quick", "91.2")
    results_of(tmp_path / "small", "62.3")
    write_readme(readme, tmp_path, CLAIMS)
    assert "At the scale `small`" in readme.read_text() and "62.3" in readme.read_text()
    (tmp_path / "small" / "claims.csv").unlink()
    write_readme(readme, tmp_path, CLAIMS)
    assert "At the scale `quick`" in readme.read_text() and "62.3" not in readme.read_text()


def test_example_trains(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for line in example.splitlines() if line]
    assert len(lines) <= 18
    torch.manual_seed(0)
    names: dict = {}
    exec(example.replace("range(100)", "range(1)"), names)
    first = names["loss"].item()
    exec(example, names)
    assert names["loss"].item() < 0.3 * first
    assert all(is_binary(parameter) for parameter in names["binary"])
    assert any(state["flips"] > 0 for state in names["flip"].state.values())
    said = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\d+% of the training images", said) and int(said.split("%")[0]) > 50


def test_scales_are_those_of_the_study():
    study, text = load_study("params.yaml"), README.read_text(encoding="utf-8")
    for scale in ("quick", "small", "paper"):
        [row] = re.findall(rf"^\| `{scale}` \|.*$", text, re.MULTILINE)
        assert f"| {len(study.runs(scale))} |" in row
