"""The pages in docs say what their scripts and the Snakefile say."""

import importlib
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from project import Project
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from benchmarks import page
from bop2ndorder.networks import build
from bop2ndorder.store import read_json
from bop2ndorder.study.analysis.pages.readme import block_of
from bop2ndorder.study.numerics import PINS

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = DOCS.parent / "src" / "bop2ndorder"
# Modules of the library that are no part of its interface, or whose names another one offers.
INNER = {"__main__", "flip_optimizer", "flip_rules", "hyperparameters", "load", "signs", "store"}


@pytest.mark.parametrize("name", page.BLOCKS)
def test_pages_show_what_was_measured(name):
    results = read_json(Path("benchmarks/results.json"))
    shown = block_of((DOCS / name).read_text(encoding="utf-8"), page.BEGIN, page.END)
    assert shown == page.BLOCKS[name](results), "run `python -m benchmarks` anew, or its page alone"


def test_measurements_of_two_processors_stand_side_by_side():
    case = {"width": 16, "batch": 50, "threads": 1, "turns": 5, "portable_over_native": 0.875}
    numerics = {
        name: {
            "numerics": {
                "found": [{**case, "images_per_second": {"ours": rate, "portable": 7.0}}],
                "on": {
                    "processor": {"model": name, "cores": 2},
                    "versions": {"torch": "2", "python": "3"},
                    "commit": "0" * 40,
                    "dirty": False,
                },
            }
        }
        for name, rate in (("one", 8.0), ("other", 9.0))
    }
    reported = {"reported": {"found": [{"width": 16, "threads": 1, "times_larq": {"ours": 0.5}}]}}
    results = {**numerics, "third": reported}
    assert page.costs(results).splitlines()[2:] == [
        "| one | 16 | 50 | 1 | 8 | 7 | 0.88 |",
        "| other | 16 | 50 | 1 | 9 | 7 | 0.88 |",
    ]
    shown = page.performance(results)
    assert "| third | 16 | – | 1 | 0.50 | – |" in shown
    assert shown.index("## one\n") < shown.index("*one, 2 cores") < shown.index("## other\n")


def test_throughput_of_a_card_is_a_row_for_each_precision():
    case = {"network": "xnornet", "batch": 256}
    found = [
        {**case, "precision": "tf32", "graph": "auto", "images_per_second": 1234.5},
        {**case, "precision": "tf32", "graph": "off", "images_per_second": 999.4},
        {**case, "precision": "float16", "graph": "auto", "images_per_second": None},
    ]
    on = {
        **{"driver": "1.2", "cuda": "13.0", "cudnn": 9, "commit": "0" * 40, "dirty": False},
        "processor": {"model": "a processor", "cores": 2},
        "versions": {"torch": "2", "python": "3"},
    }
    shown = page.gpus({"a card": {"gpu": {"on": on, "found": found}}, "other": {"start": {}}})
    title, _, head, _, *rows, _, basis = shown.splitlines()
    assert title == "### a card" and head.endswith(
        "| graph: auto (images/s) | graph: off (images/s) |"
    )
    assert rows[0] == "| xnornet | 256 | tf32 | 1234 | 999 |"
    assert rows[1].startswith("| xnornet | 256 | float16 | too large for its memory | ")
    assert basis.startswith("*Driver 1.2, CUDA 13.0, cuDNN 9.*")


def test_the_processors_that_readme_counts_are_listed():
    listed = re.findall(
        r"^\| [^|]+ \| (real|emulated) \|", (DOCS / "bits.md").read_text(encoding="utf-8"), re.M
    )
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    [counts] = re.findall(r"seen on (\d+) processors, (\d+) of them emulated", readme)
    assert [*map(int, counts)] == [len(listed), listed.count("emulated")]


def test_every_pin_is_explained():
    said = (DOCS / "bits.md").read_text(encoding="utf-8")
    assert [name for pins in PINS.values() for name in pins if f"`{name}`" not in said] == []


@pytest.mark.slow
def test_the_graph_of_rules_is_snakemakes(tmp_path):
    """Every arrow, of all four targets."""
    project = Project.of_this_project(tmp_path / "project")
    targets = ("all", "prepare_all", "train_all", "report")
    drawn = project.call("snakemake", "--rulegraph", "mermaid-js", *targets)
    names = dict(re.findall(r"^\s*(\w+)\[(\w+)\]$", drawn, re.M))
    arrows = {(names[a], names[b]) for a, b in re.findall(r"(\w+) --> (\w+)", drawn)}
    page = (DOCS / "workflow.md").read_text(encoding="utf-8")
    [graph] = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    shown = re.findall(r"(\w+)(?:\[[^]]*\])? --> (\w+)", graph)
    assert sorted(shown) == sorted(arrows)


def test_links_lead_somewhere():
    for text in (*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text(encoding="utf-8")):
            assert (text.parent / link).exists(), f"{text.name}: {link}"


@pytest.mark.parametrize(
    ("network", "size", "batch", "shown"),
    [
        ("birealnet", 224, 1024, "Bi-Real Net (1,024 images)"),
        ("xnornet", 224, 1024, "XNOR-Net (1,024)"),
        ("binarynet", 32, 50, "BinaryNet (50)"),
    ],
)
def test_memory_of_a_step_is_what_torch_keeps_for_the_backward_pass(network, size, batch, shown):
    kept = {}  # by storage, which views share

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.device("meta"), saved_tensors_hooks(keep, lambda tensor: tensor):
        images = torch.empty(batch, 3, size, size)
        logits = build(network, num_classes=1000, image_size=size).train()(images)
        cross_entropy(logits, torch.zeros(batch, dtype=torch.long))
    gigabytes = sum(storage.nbytes() for storage in kept.values()) / 1e9
    page = " ".join((DOCS / "gpus.md").read_text(encoding="utf-8").split())
    assert re.search(rf"{gigabytes:.1f} GB (of activations )?of {re.escape(shown)}", page)


class Links(HTMLParser):
    """The links of a page, and the places that links can lead to."""

    def __init__(self, page: Path):
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links |= {found[name] for name in ("href", "src") if found.get(name)}
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}


@pytest.fixture(scope="module")
def pages(site):
    found = {page: Links(page) for page in site.glob("*.html")}
    assert len(found) > 10
    return found


@pytest.mark.slow
def test_links_within_the_site_lead_somewhere(pages, site):
    lost = []
    for source, of in pages.items():
        for link in of.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (site / unquote(parts.path)).resolve() if parts.path else source
            assert file.is_relative_to(site), f"{source.name}: {link} leads out of the site"
            places = pages[file].places if file in pages else {parts.fragment}
            if not file.exists() or (parts.fragment and unquote(parts.fragment) not in places):
                lost.append(f"{source.name}: {link}")
    assert lost == []


@pytest.mark.slow
def test_the_site_asks_nothing_of_a_network(pages):
    """Links may lead out; scripts, styles and pictures may not come from there."""
    for source in pages:
        text = source.read_text(encoding="utf-8")
        assert re.findall(r'(?:src|<link[^>]* href)="(?:https?:)?//[^"]*"', text) == []


@pytest.mark.slow
def test_every_page_is_in_the_sidebar_of_every_page(pages, site):
    wanted = {path.with_suffix(".html").name for path in DOCS.glob("*.md")} - {"index.html"}
    for name in ("index.html", "api.html"):
        sidebar = (
            (site / name).read_text("utf-8").split('class="sidebar-tree"')[1].split("</aside>")[0]
        )
        listed = set(re.findall(r'href="([\w.]+\.html)', sidebar))
        assert wanted <= listed | {name}


@pytest.mark.slow
def test_every_public_name_is_in_the_reference_with_a_docstring(pages, site):
    shown = pages[site / "api.html"].places
    named = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for path in (*PACKAGE.glob("[!_]*.py"), *PACKAGE.glob("networks/*.py"))
    }
    papers = {"networks.binarynet", "networks.xnornet", "networks.birealnet"}  # in `networks`
    for name in named - INNER - papers:
        module = importlib.import_module(f"bop2ndorder.{name}")
        for public in module.__all__:
            assert getattr(module, public).__doc__, f"{name}.{public} has no docstring"
            assert f"bop2ndorder.{name}.{public}" in shown, f"api.md lacks {name}.{public}"
    assert "bop2ndorder.load_run" in shown
