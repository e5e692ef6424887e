"""Work on two cores gives what it gives on one."""

from __future__ import annotations

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


@pytest.mark.parametrize(("told", "at_once"), [("1", 1), ("8", 2), ("1,4", 1), ("2,1", 2), ("0", 1)])
def test_omp_num_threads_rules_also_as_a_list(told, at_once, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert threads() == at_once


@pytest.mark.parametrize("told", ["", "many"])
def test_without_a_number_in_it_the_cores_rule(told, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert threads() == 1


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 5, 6), (4, 1, 1)])
def test_a_gaussian_in_halves_is_the_whole_gaussian(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before = values.copy()
    whole = ndimage.gaussian_filter(values, (0.0, 1.5, 0.7), truncate=3.0)
    np.testing.assert_array_equal(gaussian_filter(values, (0.0, 1.5, 0.7), truncate=3.0), whole)
    np.testing.assert_array_equal(values, before)
