"""What a training asks of a device, seen without one (helpers/pretended_device.py).

Each network trains at full size with each optimizer for an epoch of four steps, BinaryNet from
arrays, XNOR-Net and Bi-Real Net from files.
"""

import json
import os
import pprint
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "helpers" / "pretended_epochs.py"

# Operations of the device from one batch to the next: a step, and the making of a batch. Each is a
# launch, which small networks wait for. Four or five of a flip optimizer make gamma times `lr`, and
# look whether it is 0. The test that fails prints all of these anew; whoever
# copies them here says what the additional ones are for.
OPERATIONS = {
    "binarynet batch": {"bop": 193, "none": 235, "constant": 239, "adam": 381, "latent": 214},
    "binarynet layer": {"bop": 184, "none": 226, "constant": 230, "adam": 372, "latent": 205},
    "xnornet": {"bop": 172, "none": 210, "constant": 214, "adam": 305, "latent": 170},
    "birealnet": {"bop": 452, "none": 522, "constant": 526, "adam": 787, "latent": 494},
}
# Less than an operation for each binary layer, of which XNOR-Net has six.
SLACK = 3
FILES = ("xnornet", "birealnet")
CASES = [(network, optimizer) for network in OPERATIONS for optimizer in OPERATIONS[network]]
every_case = pytest.mark.parametrize(("network", "optimizer"), CASES)


@pytest.fixture(scope="module")
def seen():
    """What the script saw, in a process of its own, since torch keeps a new device for good."""
    done = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def epoch(seen, network, optimizer):
    """What was seen of an epoch, which must have come to its end."""
    found = seen[f"{network} {optimizer}"]
    assert "error" not in found, found["error"]
    return found


@every_case
def test_no_tensors_of_two_devices_meet_and_no_value_is_read_back(seen, network, optimizer):
    epoch(seen, network, optimizer)


@pytest.mark.parametrize("optimizer", ["bop", "none", "constant", "adam"])
def test_a_step_that_is_audited_reads_nothing_back_and_repeats_the_one_before(seen, optimizer):
    """With all four rules as shadows; what is counted is not part of what a graph repeats."""
    found = epoch(seen, "audited", optimizer)
    assert found["differing"] == [] and max(found["copies"][1:]) == 0
    assert found["operations"][1] > OPERATIONS["binarynet batch"][optimizer] + 9 * 4


@every_case
def test_only_images_of_files_and_their_labels_are_copied_to_the_device(seen, network, optimizer):
    """And once an epoch the values of hyperparameters, if they come as a table."""
    first, *later = epoch(seen, network, optimizer)["copies"]
    images = 2 if network in FILES else 0
    assert first <= images + 1 and max(later) <= images


@every_case
def test_a_step_takes_so_many_operations(seen, network, optimizer):
    _, number, again, _ = epoch(seen, network, optimizer)["operations"]
    known = OPERATIONS[network][optimizer]
    assert number == again
    assert abs(number - known) <= SLACK, (
        f"{number} operations a step, known are {known}. As they are now:\n{measured(seen)}"
    )


def measured(seen):
    """`OPERATIONS` as seen."""
    table = {
        network: {
            optimizer: seen[f"{network} {optimizer}"].get("operations", [None] * 2)[1]
            for optimizer in optimizers
        }
        for network, optimizers in OPERATIONS.items()
    }
    return pprint.pformat(table, width=100, sort_dicts=False)


@every_case
def test_a_step_repeats_the_one_before(seen, network, optimizer):
    """As a CUDA graph does, though each hyperparameter has another value at every step."""
    assert epoch(seen, network, optimizer)["differing"] == []


READ = "RuntimeError: a value is read back"
MISTAKES = {
    "item": READ,
    "bool": READ,
    "list": READ,
    "copy to the CPU": READ,
    "into a CPU tensor": READ,
    "mask": "DynamicOutputShapeException: aten.nonzero",
    "two devices": "RuntimeError: tensors of two devices meet in aten.mul.Tensor",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_step_that_would_wait_or_fail_is_seen(seen, mistake):
    assert MISTAKES[mistake] in seen[f"mistake {mistake}"]["error"]


def test_a_number_copied_to_the_device_in_a_step_is_seen(seen):
    assert min(epoch(seen, "mistake", "copy to the device")["copies"]) >= 1


def test_a_number_that_a_graph_would_freeze_is_seen(seen):
    pairs = epoch(seen, "mistake", "number")["differing"]
    assert [["aten.mul.Tensor", ["1"]], ["aten.mul.Tensor", ["2"]]] in pairs


def test_an_operation_more_in_each_layer_is_seen(seen):
    """One forward, and one backward but in the first layer, whose input needs no gradient."""
    more = epoch(seen, "mistake", "operation")["operations"][1]
    more -= epoch(seen, "binarynet batch", "bop")["operations"][1]
    assert more == 9 + 8 and more > 2 * SLACK
