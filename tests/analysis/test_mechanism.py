"""What the section on the mechanism makes of records, held against numbers worked out by hand."""

import csv
import json

import numpy as np
import pytest
from studies import ROOT, keep, read
from synthetic import told, write_records

from bop2ndorder.study.analysis.records import load_records
from bop2ndorder.study.analysis.sections import audits, mechanism
from bop2ndorder.study.analysis.sections.experiments import exhibits_of
from bop2ndorder.study.config.study import check
from bop2ndorder.study.run import audit

POLYNOMIAL = {"kind": "polynomial", "start": 1e-2, "end": 1e-5}
ARMS = {
    "bop": {"optimizer": {"name": "bop", "gamma": 1e-4, "threshold": 1e-8}},
    "wide_bop": {
        "optimizer": {"name": "bop", "gamma": 1e-4, "threshold": 1e-8},
        "network": {"width": 24},
    },
    "constant_5_1": {
        "optimizer": {
            "name": "bop2ndorder", "gamma": 1e-7, "sigma": 1e-3, "threshold": 1e-6,
            "bias_correction": "constant",
        },
    },
    "biased_5_2": {
        "optimizer": {
            "name": "bop2ndorder", "gamma": POLYNOMIAL, "sigma": 1e-3, "threshold": 1e-6,
            "bias_correction": "none",
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def study():
    document = keep(read(ROOT), "cifar10")
    common = {"epochs": 500, "batch_size": 50, "stop_after": 50}
    sign = {"name": "bop", "threshold": 0.0}
    arms = {
        name: changes | {"shadows": {"sign": sign | {"gamma": changes["optimizer"]["gamma"]}}}
        for name, changes in ARMS.items()
    }
    experiment = {
        "set": common | {"train_on": "train"},
        "arms": {name: {"set": changes} for name, changes in arms.items()},
        "seeds": [10],
    }
    document["experiments"] = {"mechanism": experiment}
    document["claims"]["statements"] = {}
    for sizes in document["scales"].values():
        sizes.pop("experiments", None)
        sizes.pop("claims", None)
    return check(document)


def loaded(study, folder, audits, scale="quick"):
    """Records whose histories say, arm by arm and epoch by epoch, what was audited."""
    entries = study.entries(scale)
    write_records([entry for entry in entries if entry.arm in audits], folder)
    for entry in entries:
        path = folder / "runs" / entry.run.id / "history.csv"
        if not path.exists():
            continue
        rows = [*csv.DictReader(path.open(newline=""))][: len(audits[entry.arm])]
        for row, changes in zip(rows, audits[entry.arm], strict=True):
            row |= changes
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        metrics = path.with_name("metrics.json")
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"epochs": len(rows)}))
    return load_records(entries, folder, scale, "mechanism")


# Epochs of 25 steps: two audits in the first, three in the second.
BOP = [
    {"step": 25, "due": 0.10, "off": 0.08, "threshold_steps": 5.0, "disagree/sign": 0.8},
    {"step": 50, "due": 0.20, "off": 0.19, "threshold_steps": 10.0, "disagree/sign": 0.95},
]
NONE = [{"step": 50, "due": 0.05, "off": 1e-6, "threshold_steps": 1e-5, "disagree/sign": 2e-5}]


def test_epochs_count_by_their_audits(study, tmp_path):
    assert audit.EVERY == audits.EVERY
    table = audits.facts(loaded(study, tmp_path, {"bop": BOP})).set_index("arm")
    found, due, off = table.loc["bop"], 2 * 0.1 + 3 * 0.2, 2 * 0.08 + 3 * 0.19
    assert found["held"] == pytest.approx(100 * off / due)
    assert found["off"] == pytest.approx(100 * off / 5)
    assert found["wait"] == pytest.approx(off / (due - off))
    assert found["threshold_steps"] == pytest.approx((2 * 5 + 3 * 10) / 5)
    assert found["disagree"] == pytest.approx(100 * (0.2 * 0.8 + 0.6 * 0.95) / due)
    assert found["steps"] == 50


def test_gamma_is_summed_over_the_whole_schedule(study, tmp_path):
    """Digits: 25 steps an epoch, 500 epochs."""
    total = audits.facts(loaded(study, tmp_path, {})).set_index("arm")["gamma_total"]
    assert total["bop"] == pytest.approx(12_500 * 1e-4)
    steps = np.arange(12_500)
    decaying = 1e-5 + (1e-2 - 1e-5) * (1 - steps / 12_500)
    assert total["biased_5_2"] == pytest.approx(decaying.sum(), rel=1e-3)


@pytest.mark.parametrize(
    ("held", "disagree", "total", "words"),
    [
        (97.0, 97.0, 1e-2, "a threshold"),
        (32.0, np.nan, 10, "a threshold in part"),
        (0.2, 3.0, 10, "a threshold in part"),
        (0.02, 0.02, 10, "the sign of m"),
        (0.0, 0.0, 1e-2, "the sign of the sum of all gradients"),
        (np.nan, np.nan, 1e-2, ""),
    ],
)
def test_a_rule_in_words(held, disagree, total, words):
    assert audits._rule(held, disagree, total) == words


def test_rules_are_named_and_what_is_missing_is_a_dash(study, tmp_path):
    records = loaded(study, tmp_path, {"bop": BOP, "constant_5_1": NONE})
    shown = exhibits_of(records)
    table = shown["mechanism"].shown.set_index("settings")
    assert table["the rule is"].to_dict() == {
        "Bop": "a threshold",
        "Bop, width 24": "–",
        "5.1, corrected": "the sign of the sum of all gradients",
        "5.2, biased": "–",
    }
    assert table.loc["Bop", "held (%)"] == "91.3"
    assert table.loc["5.1, corrected", "off (%)"] == "0.00010"
    assert table.loc["Bop, width 24", "network"] == "BinaryNet 24"
    assert table["held as found before (%)"].unique().tolist() == ["–"], "of other images"
    assert (
        "5.1, corrected" in shown["plane"].seen and "2 of 4 runs missing" in shown["plane"].caption
    )
    assert told(mechanism, records) == (
        "Counted in the first 50 steps on handwritten digits. "
        "With 1 of 2 settings (5.1, corrected) the threshold holds back at most 0.0020 % of the "
        "weights that would flip in a step without it: they flip by the sign of m alone, as Bop "
        "does with a threshold of 0, and dividing by the root of the second moment does nothing. "
        "With 1 of 2 it holds back 91.3 % (Bop) of the weights that would flip in a step without "
        "it. A weight that is held back step after step counts in each: to every flip there are 10 "
        "(Bop) that are held back."
    )
    assert mechanism.headline(records)["bop"].keys() == {"held", "off", "wait", "threshold_steps"}


def test_of_several_thresholds_the_ends_are_named(study, tmp_path):
    """A share h held is h / (1 - h) times what flips: 0.0913 / 0.9087, and 0.958 / 0.042."""
    less = [{**row, "off": row["off"] / 10} for row in BOP]
    more = [{**row, "off": row["off"] * 1.05} for row in BOP]
    records = loaded(study, tmp_path, {"bop": BOP, "biased_5_2": less, "wide_bop": more})
    assert told(mechanism, records).endswith(
        " With 3 of 3 it holds back 9.1 % (5.2, biased) to 95.8 % (Bop, width 24) of the weights "
        "that would flip in a step without it. A weight that is held back step after step counts "
        "in each: to every flip there are 0.1 (5.2, biased) to 23 (Bop, width 24) that are held "
        "back."
    )


def test_a_finding_tells_bop_from_bop2ndorder_and_agrees_with_the_table(study, tmp_path):
    """A Bop that holds nothing divides by nothing; 0.2 % held and 3 % apart are no sign rule."""
    differs = [{**NONE[0], "off": 0.002 * NONE[0]["due"], "disagree/sign": 0.03}]
    records = loaded(study, tmp_path, {"bop": NONE, "biased_5_2": NONE, "constant_5_1": differs})
    rules = audits.facts(records).set_index("arm")["rule"]
    assert rules["constant_5_1"] == "a threshold in part"
    assert told(mechanism, records) == (
        "Counted in the first 50 steps on handwritten digits. "
        "With 1 of 3 settings (5.2, biased) the threshold holds back at most 0.0020 % of the "
        "weights that would flip in a step without it: they flip by the sign of m alone, as Bop "
        "does with a threshold of 0, and dividing by the root of the second moment does nothing. "
        "With 1 of 3 settings (Bop) the threshold holds back at most 0.0020 % of the weights that "
        "would flip in a step without it: they flip by the sign of m alone. Little is held back, "
        "but of what the rule or the sign rule flips, one alone flips 3.0 % with 5.1, corrected."
    )


def test_on_cifar10_held_is_set_beside_what_was_found_before(study, tmp_path):
    near = [{"step": 50, "due": 0.1, "off": 0.1 * 0.893, "threshold_steps": 3.0}]
    records = loaded(study, tmp_path, {"bop": near, "constant_5_1": BOP}, "small")
    column = mechanism.mechanism_table(records).shown["held as found before (%)"]
    assert column.tolist() == ["88 to 90: yes", "99.9: no record", "0.00: no", "≤ 0.03: no record"]


def test_without_records_or_without_audits_nothing_is_drawn(study, tmp_path):
    records = loaded(study, tmp_path / "none", {})
    assert "plane" not in exhibits_of(records) and told(mechanism, records) == ""
    assert mechanism.headline(records) == {}
    blank = [{"step": 50, **dict.fromkeys(("due", "off", "threshold_steps", "disagree/sign"), "")}]
    records = loaded(study, tmp_path / "blank", {"bop": blank})
    assert "plane" not in exhibits_of(records) and told(mechanism, records) == ""
    assert mechanism.headline(records) == {}, "what is unknown is not 0"
