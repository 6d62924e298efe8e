"""Workers that stay: order, reuse, memory of a fixed size, their end."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context

import numpy as np
import psutil
import pytest
import torch

from bop2ndorder.study.data.workers import Workers, _end_without


def write(task, slot):
    """Write a number and the process that did it; slower for every third task."""
    time.sleep(0.01 if task % 3 == 0 else 0)
    slot[:8] = np.frombuffer(np.int64(task).tobytes(), np.uint8)
    slot[8:16] = np.frombuffer(np.int64(os.getpid()).tobytes(), np.uint8)
    return 16


def read(result):
    return result.clone().view(torch.int64).tolist()


def children():
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_stay_until_the_next(count):
    workers, found = Workers(write, (16,), count), []
    for result in workers.results(range(40)):
        time.sleep(0.002)  # the workers are ahead by then
        found.append(read(result))
    assert [task for task, _ in found] == list(range(40))
    assert len({process for _, process in found} - {os.getpid()}) == count


def test_the_same_processes_do_one_list_after_another():
    before = children()
    workers = Workers(write, (16,), 2)
    assert children() == before  # none until there is work
    found = [{read(result)[1] for result in workers.results(range(20))}]
    abandoned = workers.results(range(100))
    next(abandoned)
    for tasks in (range(50, 60), range(20)):
        found.append([read(result) for result in workers.results(tasks)])
        assert [task for task, _ in found[-1]] == list(tasks)
        assert {process for _, process in found[-1]} == found[0] == children() - before


def test_results_of_other_tasks_are_not_taken_for_ones_own():
    workers = Workers(write, (16,), 2)
    first, second = workers.results(range(10)), workers.results(range(10, 20))
    assert read(next(first))[0] == 0 and read(next(second))[0] == 10
    with pytest.raises(RuntimeError, match="given other tasks meanwhile: finish one pass"):
        next(first)
    assert [read(result)[0] for result in second] == list(range(11, 20))


def test_what_is_done_ahead_is_bounded():
    done = get_context("fork").Value("i", 0)

    def count(task, slot):
        with done.get_lock():
            done.value += 1
        return 1

    workers = Workers(count, (1,), 3)
    results = workers.results(range(100))
    for taken in range(1, 4):
        next(results)
        until = time.monotonic() + 30
        while done.value < taken + 2 * 3 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)  # they could go on
        assert done.value == taken + 2 * 3
    assert len(workers.slots) == 2 * 3 + 1


def test_processes_end_with_the_object():
    before = children()
    workers = Workers(write, (16,), 2)
    next(workers.results(range(100)))
    assert len(children() - before) == 2
    del workers
    assert children() == before


def fail(task, slot):
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(task, slot)


def test_a_worker_that_dies_is_noticed():
    with pytest.raises(RuntimeError, match="worker .* (exited unexpectedly|killed by signal)"):
        list(Workers(fail, (16,), 2).results(range(20)))


ENDLESS = """
import signal, time, psutil
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
from bop2ndorder.study.data.workers import Workers

results = Workers(lambda task, slot: 1, (1,), 2).results(range(100))
next(results)
print(*(child.pid for child in psutil.Process().children()), flush=True)
time.sleep(600)
"""


def test_a_worker_whose_parent_went_before_it_was_ready_ends():
    """torch's own watch begins later, and takes whoever is the parent then for the one to miss."""
    worker = os.fork()
    if worker == 0:
        _end_without(os.getppid() + 1, 0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 1
    _end_without(os.getppid(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_where_their_parent_is_killed(how):
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True)
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(how)
    parent.wait(20)
    # A worker looks every five seconds whether its parent is there.
    assert not psutil.wait_procs(workers, 20)[1]
