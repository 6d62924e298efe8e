"""params.yaml, changed a thousand times: a valid study or a list of mistakes, never a traceback."""

import copy
import math
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import ROOT, one_run

from bop2ndorder.study.config import SCALES, ParamsError, load_study
from bop2ndorder.study.config.study import check
from bop2ndorder.study.run.updates import make_schedule

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, 1e308, 5e-324]),
    st.floats(),
    st.sampled_from(["1e-7", "", "../x", "$(touch x)", "a;b", "quick", "bop", "Ä", "x" * 300]),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from([[], {}, [[]], [{}], {"name": "bop"}, {"kind": "polynomial"}, {"": 1}]),
    st.builds(lambda key, value: {key: value}, st.text(max_size=5), st.integers()),
)


def places(tree, path=()):
    """The path to every value."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@st.composite
def documents(draw):
    """The real file after one to three changes: deleted, renamed, replaced, doubled, moved."""
    document = copy.deepcopy(one_run())
    for _ in range(draw(st.integers(1, 3))):
        if not document:
            break
        *path, key = draw(st.sampled_from(sorted(places(document), key=repr)))
        parent = document
        for step in path:
            parent = parent[step]
        change = draw(st.sampled_from(["delete", "replace", "replace", "rename", "move"]))
        if change == "replace":
            parent[key] = copy.deepcopy(draw(ODD))
        elif change == "delete":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(draw(st.one_of(st.just(parent[key]), ODD))))
        elif change == "rename":
            parent[draw(st.one_of(st.text(max_size=6), st.integers(), st.none()))] = parent.pop(key)
        else:
            document[key] = parent.pop(key)
    return document


def starts(run):
    """All schedules of a run can be made, and give numbers from the first step to the last."""
    steps = run.data.images(run.train_on) // run.batch_size
    settings = {**run.optimizer.model_dump(), **run.model_dump(include={"lr"})}
    schedules = {}
    for name in ("gamma", "sigma", "threshold", "lr"):
        if name in settings:
            gamma = schedules.get("gamma")
            schedules[name] = make_schedule(settings[name], steps, run.epochs, gamma)
            for step in (0, steps * run.epochs - 1):
                assert math.isfinite(schedules[name](step))


def holds(load, source):
    """A study whose ids are safe names, or mistakes in whole lines."""
    try:
        study = load(source)
    except ParamsError as error:
        lines = str(error).splitlines()
        assert len(lines) >= 2 and all(0 < len(line.strip()) < 500 for line in lines)
        return
    for scale in SCALES:
        for run in study.runs(scale).values():
            starts(run.settings)
            assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", run.id)
            assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", run.data)
        for experiment in study.experiments(scale):
            assert re.fullmatch("[a-z][a-z0-9_]*", experiment)


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=500, **QUIET)
@given(document=documents())
def test_a_changed_document(document):
    holds(check, document)


# Values that look like what they are not.
FORMS = [
    " !!bool maybe", " !!int x", " !!float ''", " 2001-99-99", " 2026-11-23 25:61:61",
    " !!binary ä", " !!set {a, b}", " .inf", " .nan", f" 0x{'9' * 5000}", ' "\\U00110000"',
    " *nope", " &x [*x]", " {? [a]: 1}", "<<: 3", "[" * 2000, "\nscale: small",
    " !!python/object/apply:os.mkdir [x]",
]  # fmt: skip
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@settings(max_examples=60, **QUIET)
@given(
    at=st.integers(0, len(TEXT)),
    length=st.integers(0, 20),
    new=st.text(st.sampled_from(" \n\t:-{}[],&*!|>'\"#%@`?1e.x\0\x85"), max_size=4)
    | st.sampled_from(FORMS),
)
def test_a_changed_text(tmp_path_factory, at, length, new):
    # Not above the folders of other tests, which would find it there.
    path = tmp_path_factory.getbasetemp() / "changed" / "params.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT[:at] + new + TEXT[at + length :], encoding="utf-8")
    holds(load_study, path)
