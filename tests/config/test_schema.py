"""The schema that editors check params.yaml with, held against the program's own judgement."""

import copy
import json

import jsonschema
import pytest
from studies import PARAMS, ROOT, cut_down, one_run, read

from bop2ndorder.study.config import ParamsError
from bop2ndorder.study.config.schema import schema
from bop2ndorder.study.config.study import check

WRITTEN = ROOT / "params.schema.json"


@pytest.fixture(scope="module")
def editor():
    """What an editor makes of the file in the repository."""
    found = json.loads(WRITTEN.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(found)
    return jsonschema.Draft7Validator(found)


def test_it_is_written_anew_after_each_change_of_the_models():
    assert json.loads(WRITTEN.read_text(encoding="utf-8")) == schema(), "call `make schema`"


def test_params_name_it_in_their_first_line():
    (first, *_) = PARAMS.read_text(encoding="utf-8").splitlines()
    assert first == f"# yaml-language-server: $schema={WRITTEN.name}"


@pytest.mark.parametrize("made", [lambda: read(ROOT), cut_down], ids=["whole", "cut down"])
def test_what_the_program_takes_it_takes(editor, made):
    study = made()
    check(study)
    editor.validate(study)


# Place of a mapping -> what is laid over it; wrong for the program as for an editor.
CIFAR10 = ("experiments", "cifar10")
QUICK = ("scales", "quick")
WRONG = {
    "section": ((), {"experiment": {}}),
    "scale": ((), {"scale": "tiny"}),
    "setting": (("defaults",), {"thread": 1}),
    "number as text": (("defaults",), {"threads": "8"}),
    "number too large": (("defaults",), {"threads": 10**7}),
    "word": (("defaults",), {"norm_statistics": "fresh"}),
    "network": (("defaults",), {"network": {"name": "alexnet", "width": 1}}),
    "setting of another network": (
        ("defaults",), {"network": {"name": "xnornet", "width": 1.0, "dense": 3}}
    ),
    "data set": (("data", "cifar10"), {"source": "mnist"}),
    "augmentation": (("data", "cifar10"), {"augment": {"pad": 4, "flop": True}}),
    "experiment's name": (("experiments",), {"5.2": {"seeds": [0]}}),
    "experiment's key": (CIFAR10, {"arm": {}}),
    "no experiment": (("experiments",), {"cifar10": None}),
    "no arm": ((*CIFAR10, "arms"), {"adam": None}),
    "seeds": (CIFAR10, {"seeds": 3}),
    "arm's setting": ((*CIFAR10, "arms", "adam", "set", "optimizer"), {"bias_corection": "adam"}),
    "schedule's kind": ((*CIFAR10, "set"), {"lr": {"kind": "linear", "start": 0.1, "end": 0.01}}),
    "kind for that setting": (
        (*CIFAR10, "set", "optimizer"), {"gamma": {"kind": "noise_floor", "times": 1.0}}
    ),
    "schedule's key": ((*CIFAR10, "set", "lr"), {"ends": 0.0}),
    "schedule's range": ((*CIFAR10, "set", "optimizer", "gamma"), {"start": 2.0}),
    "part of a schedule in a scale": (
        (*QUICK, *CIFAR10), {"arms": {"bop": {"set": {"optimizer": {"gamma": {"evry": 4}}}}}}
    ),
    "axis": (CIFAR10, {"grid": {"optimizer.gama": [0.1]}}),
    "value of a grid": (CIFAR10, {"grid": {"network.norm": ["batch", "group"]}}),
    "empty grid": (CIFAR10, {"grid": {"lr": []}}),
    "margin": (("claims",), {"margin": -1}),
    "claim's key": (("claims", "statements", "C1"), {"claims": "x"}),
    "scale's key": (QUICK, {"default": {}}),
}  # fmt: skip


@pytest.mark.parametrize(("place", "change"), WRONG.values(), ids=WRONG)
def test_what_it_refuses_the_program_refuses(editor, place, change):
    study = copy.deepcopy(one_run())
    found = study
    for key in place:
        found = found[key]
    found |= change
    with pytest.raises(ParamsError):
        check(study)
    with pytest.raises(jsonschema.ValidationError):
        editor.validate(study)


def test_a_scale_lays_parts_over_and_leaves_out(editor):
    study = copy.deepcopy(read(ROOT))
    experiments = study["scales"]["quick"]["experiments"]
    experiments["imagenet"] = None
    experiments["cifar10"]["arms"] |= {"latent": None, "adam": {"set": {"lr": {"power": 2.0}}}}
    study["defaults"]["shadows"] = {"sign": {"name": "bop", "gamma": 1.0e-4, "threshold": 0.0}}
    experiments["cifar10"]["grid"] = {"shadows.sign.gamma": [1.0e-4, 1.0e-3]}
    experiments["cifar10"]["arms"]["bop"]["set"]["optimizer"]["threshold"] = {
        "kind": "steps_of_m", "times": 10.0, "gradient": 2.0e-4
    }  # fmt: skip
    editor.validate(study)
