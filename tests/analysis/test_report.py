"""The report page: whole, offline, the same bytes each time."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from synthetic import write_records

from bop2ndorder.study.analysis import analyse, load_records, write_claims, write_report
from bop2ndorder.study.analysis.pages.provenance import made_by, provenance
from bop2ndorder.study.analysis.pages.readme import block_of
from bop2ndorder.study.analysis.pages.report import judged, trained
from bop2ndorder.study.analysis.records import COPIES, describe_data
from bop2ndorder.study.analysis.verdicts.claims import read_claims, read_sensitivity, statements
from bop2ndorder.study.analysis.verdicts.conclusions import conclusions
from bop2ndorder.study.config import load_study
from bop2ndorder.study.run.evaluate import ORIGIN

# A link leads away only where a reader follows it.
LOADED = re.compile(r"""src\s*=\s*["']?\s*(?:https?:)?//|<link|@import|url\(""")
RECORD = {
    "code": {"training": "a", "preparing": "p"},
    "data": {"name": "digits16", "sha256": "ab", "origin": "embedded"},
    "commit": "0123456789abcdef",
    "dirty": False,
    "versions": {"python": "3.11.2"},
    "device": "cpu",
    "processor": {"model": "one", "vendor": "a maker", "extensions": ["avx2"], "cores": 2},
    "numerics": {"in_force": "native", "aten": "AVX2", "mkl": None},
    "train_seconds": 90.0,
}


@pytest.fixture(scope="module")
def study():
    return load_study("params.yaml")


def test_page_is_self_contained_and_repeatable(study, tmp_path):
    entries = study.entries("quick", "normalization")
    missing = entries[-1].run.id
    write_records(entries, tmp_path, skip={missing})
    analyse("normalization", entries, tmp_path, "quick")
    (tmp_path / "normalization" / "notebook.html").touch()
    write_report(study, "quick", tmp_path)
    page = (tmp_path / "report.html").read_bytes()
    write_report(study, "quick", tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page
    html = page.decode()
    assert not LOADED.search(html)
    assert 'src="data:image/png;base64,' in html
    [seen] = re.findall(r'<img alt="([^"]+)"', html)
    assert "batch normalization, layer normalization; one line for each of" in seen
    assert f"missing: {missing}" in html
    assert html.count("Not analysed yet") == len(study.experiments("quick")) - 1
    links = {link for link in re.findall(r'href="([^"#]+)"', html) if "://" not in link}
    assert {"normalization/table.csv", "normalization/notebook.html"} <= links
    assert all((tmp_path / link).exists() for link in links)


def test_verdicts_are_drawn_and_said_with_their_reason(study, tmp_path):
    entries = study.entries("small")
    write_records(entries, tmp_path)
    write_claims(study.claims["small"], entries, tmp_path, "small")
    write_report(study, "small", tmp_path)
    html = unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    claims = read_claims(tmp_path)
    for row in statements(claims).itertuples():
        [heading] = re.findall(f'<h3 id="{row.claim}">.*</h3>', html)
        assert row.statement in heading and f'{row.verdict}">{row.verdict}</span>' in heading
        assert bool(row.why) or row.verdict in ("supported", "contradicted")
        assert not row.why or html.count(row.why) >= 2, "where it was found, and with its own"
    assert all(sentence in html for sentence in conclusions(claims, read_sensitivity(tmp_path)))
    [picture] = re.findall(r'id="forest">.*?</figure>', html, re.DOTALL)
    assert "The primary ones: C1, " in picture and 'href="forest.svg"' in picture
    assert (tmp_path / "forest.svg").is_file()


def test_the_subset_of_imagenette_is_called_so_and_its_sizes_are_those_of_the_records(study):
    results = Path("results/small")
    records = load_records(study.entries("small"), results, "small", "imagenet")
    [subset] = {COPIES.get(p["data"]["sha256"]) for p in records.provenance}
    if subset is None:
        pytest.skip("results/small is of other images than those that are committed")
    runs = records.runs.dropna(subset="test_images")
    [test] = runs["test_images"].unique()
    [train] = (runs["images_seen"] / runs["epochs"]).unique()
    assert subset == f"a subset of {train:,.0f} training and {test:,.0f} test images"
    assert records.images == f"Imagenette ({subset})" and subset in records.basis()
    page = (results / "report.html").read_text(encoding="utf-8")
    section = page.split('<h2 id="imagenet">')[1].split("<h2 ")[0]
    assert section.startswith(f"XNOR-Net and Bi-Real Net on Imagenette ({subset})</h2>")
    assert not re.search(r"ImageNet|[Pp]ublished at", section)
    assert "ImageNet" not in page.split('<h2 id="published">')[0], "nor above it"
    readme = Path("README.md").read_text(encoding="utf-8")
    assert f"Imagenette ({subset})" in block_of(readme)
    assert f"Imagenette at 64x64 (here {subset.replace(' of', ':')})" in readme


def test_it_says_which_runs_count_for_no_claim(study):
    runs = [*study.runs("small").values()]
    seen = sum(run.settings.seed < 11 for run in runs)
    assert 0 < seen < len(runs)
    said = judged(runs, 11)
    assert said.endswith(f" So do the {seen} trainings with a seed below 11, whatever they show.")
    assert " is judged by comparisons that were fixed beforehand; all that" in said, "C4 by two"
    assert judged(runs, 0).endswith(" is shown beside them explores.")


def test_it_says_what_was_trained_how_large_and_on_which_images(study):
    count = len(study.runs("small"))
    said = trained("small", study.runs("small").values(), count)
    assert said.startswith(f"This page reports {count:,} trainings at the scale small (narrow net")
    part = trained("small", study.runs("small").values(), 3)
    assert part.startswith(f"This page reports 3 of {count:,} planned trainings at the scale small")
    assert "in a day" not in said, "which nothing measures"
    assert "XNOR-Net (1/8 of its width) on Imagenette" in said, "as docs/plan.md says"
    assert "Bi-Real Net (1/4 of its width) on Imagenette" in said and "on CIFAR-10" in said
    assert "ImageNet" not in said and said.endswith(", for 500 steps, or for 2 to 130 epochs.")
    stopped = {entry.run.id: entry.run for entry in study.entries("small", "mechanism")}
    said = trained("small", stopped.values(), 0)
    assert said.endswith(" on CIFAR-10, for 500 steps."), "schedules alone go by their epochs"
    said = trained("paper", study.runs("paper").values(), 0)
    assert "Bi-Real Net (as wide as published) on ImageNet" in said


@pytest.mark.parametrize("scale, apart", [("quick", True), ("paper", False)])
def test_published_numbers_stand_apart_where_they_bear_no_comparison(study, tmp_path, scale, apart):
    write_report(study, scale, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ('<h2 id="published">' in html) is apart
    assert (re.search(r">ImageNet</td>.*?>57\.2</td>", html, re.DOTALL) is not None) is apart


@pytest.mark.slow
def test_page_of_the_whole_study(study, tmp_path):
    entries = study.entries("quick")
    write_records(entries, tmp_path)
    for name in study.experiments("quick"):
        analyse(name, entries, tmp_path, "quick")
    write_claims(study.claims["quick"], entries, tmp_path, "quick")
    write_report(study, "quick", tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert len(html) < 1_500_000
    assert not LOADED.search(html)
    headings = re.findall(r'<h2 id="(\w+)"', html)
    assert headings[:4] == ["findings", "claims", "cifar10", "imagenet"]
    others = {"findings", "claims", "published", "provenance"}
    assert {*study.experiments("quick"), *others} == set(headings)
    for label, claim in study.claims["quick"].statements.items():
        assert re.search(f'<h3 id="{label}">{label} {claim.claim} <span', html)
        assert claim.criterion in html


def test_images_that_are_no_download_are_called_so(study, tmp_path):
    """On top of the page, with hash, and in what every caption rests on."""
    entries = study.entries("quick", "normalization")
    write_records(entries, tmp_path)
    [jpeg] = [sha256 for sha256, what in COPIES.items() if "JPEG" in what]
    for path in tmp_path.glob("runs/*/provenance.json"):
        facts = json.loads(path.read_text())
        facts["data"] = {"name": "cifar10", "sha256": jpeg, "origin": "folder"}
        path.write_text(json.dumps(facts))
    said = f"cifar10 (sha256 {jpeg[:12]}, JPEG copies from a local image folder)"
    write_report(study, "quick", tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert f": JPEG copies from a local image folder (sha256 {jpeg[:12]})." in html
    records = load_records(entries, tmp_path, "quick")
    assert said in records.basis()
    other = {"name": "cifar10", "sha256": jpeg[::-1], "origin": "folder"}
    assert "JPEG" not in describe_data(other)


def test_provenance_counts_what_differs():
    other = {**RECORD, "device": "a card", "precision": "tf32", "dirty": True}
    lost = {**RECORD, **dict.fromkeys(ORIGIN)}
    found = dict(provenance([RECORD, RECORD, other], planned=4, classes=[]))
    assert found["Runs"] == ["3 of 4 have a record"]
    assert found["Training time"] == ["4.5 min in all"]
    assert found["Hardware"] == ["one, 2 cores (2 runs)", "a card in tf32, one, 2 cores (1 run)"]
    assert found["Numerics"] == ["in_force native, aten AVX2"]
    assert found["Code"] == [
        "3 records by 1 code",
        "commit 0123456789ab (2 runs)",
        "commit 0123456789ab with changes (1 run)",
    ]
    assert found["Versions"] == ["python 3.11.2"]
    found = dict(provenance([RECORD, lost], planned=2, classes=[]))
    assert found["Training time"] == ["90 s in the 1 of 2 records that tell"]
    assert dict(provenance([lost], planned=2, classes=[]))["Training time"] == ["unknown"]
    assert {found[name][1] for name in ("Hardware", "Numerics", "Versions")} == {"unknown (1 run)"}


def test_provenance_tells_codes_that_do_the_same_from_others():
    a, b, c, d = ({**RECORD, "code": {"training": code}} for code in "abcd")
    on_gpu = {"device": "a card"}
    classes = [[{"training": {"hash": code}} for code in codes] for codes in ("ab", "c")]
    lost = {**RECORD, **dict.fromkeys(ORIGIN)}
    assert made_by([a, a, a | on_gpu], classes) == ["3 records by 1 code"]
    assert made_by([a, b, a | on_gpu, c, d, lost], classes) == [
        "3 records by 2 codes, shown to do the same on the CPU (docs/workflow.md)",
        "1 record by 1 code",
        "1 record by 1 code",
        "1 record by codes that are not known",
    ]
    [line] = made_by([b | on_gpu, b], classes)
    unseen = "1 trained on a GPU by code shown to do the same on the CPU only"
    assert line == f"2 records by 1 code; {unseen}"
    assert made_by([], classes) == []
