"""Work on two cores gives what it gives on one."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from scipy import ndimage

from ReShapeITLib.core.parallel import gaussian_filter, threads, together


def test_results_come_in_the_order_of_the_arguments():
    assert together(lambda a, b: a - b, range(5), range(5, 10)) == [-5] * 5
    assert together(str, []) == []


def test_an_error_in_a_thread_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        together(lambda n: 1 / n, (1, 0))


@pytest.mark.parametrize(("told", "at_once"), [("1", 1), ("8", 8), ("64", 8), ("1,4", 1), ("2,1", 2), ("0", 1)])
def test_omp_num_threads_rules_also_as_a_list(told, at_once, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert threads() == at_once


@pytest.mark.parametrize("told", ["", "many"])
def test_without_a_number_in_it_the_cores_rule(told, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {5}, raising=False)
    assert threads() == 1
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert threads() == 3


@pytest.mark.parametrize(("at_once", "most"), [(2, 2), (8, 4)])
def test_no_more_run_at_once_than_are_asked_for_and_than_there_are_threads(at_once, most, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    gate, running = threading.Lock(), [0, 0]  # now, most

    def work(number):
        with gate:
            running[0] += 1
            running[1] = max(running)
        time.sleep(0.05)
        with gate:
            running[0] -= 1
        return number

    assert together(work, range(12), at_once=at_once) == list(range(12))
    assert running[1] == most


@pytest.mark.parametrize("parts", ["1", "2", "8"])
@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 5, 6), (4, 1, 1)])
def test_a_gaussian_in_parts_is_the_whole_gaussian(shape, parts, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", parts)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before = values.copy()
    whole = ndimage.gaussian_filter(values, (0.0, 1.5, 0.7), truncate=3.0)
    np.testing.assert_array_equal(gaussian_filter(values, (0.0, 1.5, 0.7), truncate=3.0), whole)
    np.testing.assert_array_equal(values, before)
