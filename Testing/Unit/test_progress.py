"""Progress reports: what they say, that they never go back, and how a run is cancelled."""

from __future__ import annotations

import io
import json
import os
import signal

import pytest

from ReShapeITLib.core.errors import CancelledError
from ReShapeITLib.core.progress import Progress, cancel_on_signals


def fractions_of(stream):
    return [json.loads(line)["fraction"] for line in stream.getvalue().splitlines()]


def test_json_mode_writes_one_object_a_line():
    stream = io.StringIO()
    Progress("json", stream).stage("fit", 0.25, "step 3 of 12")
    assert stream.getvalue().endswith("\n")
    assert json.loads(stream.getvalue()) == {"stage": "fit", "fraction": 0.25, "message": "step 3 of 12"}


def test_json_lines_are_flushed_at_once(tmp_path):
    with open(tmp_path / "progress.txt", "w") as stream:
        Progress("json", stream).stage("fit", 0.5)
        assert (tmp_path / "progress.txt").read_text().startswith('{"stage": "fit"')


def test_the_fraction_never_goes_back_and_stays_within_zero_and_one():
    stream = io.StringIO()
    progress = Progress("json", stream)
    for fraction in (-0.5, 0.3, 0.1, 0.6, 7.0):
        progress.stage("fit", fraction)
    assert fractions_of(stream) == [0.0, 0.3, 0.3, 0.6, 1.0]


def test_a_part_counts_within_its_share_of_the_run():
    stream = io.StringIO()
    part = Progress("json", stream).part(0.2, 0.6)
    part.stage("fit", 0.5)
    part.part(0.5, 1.0).stage("fit", 0.5)
    part.stage("fit", 3.0)
    assert fractions_of(stream) == pytest.approx([0.4, 0.5, 0.6])


def test_none_mode_writes_nothing():
    stream = io.StringIO()
    Progress("none", stream).stage("fit", 0.5)
    assert stream.getvalue() == ""


def test_the_bar_shows_the_stage_the_percentage_and_the_message():
    stream = io.StringIO()
    progress = Progress("bar", stream)
    progress.stage("align", 0.25, "start 2 of 4")
    progress.close()
    assert all(text in stream.getvalue() for text in ("align", "25%", "start 2 of 4"))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="bar, json, none"):
        Progress("loud")


def test_a_cancelled_run_stops_at_its_next_report():
    progress = Progress("none")
    progress.check_cancelled()
    progress.cancel()
    with pytest.raises(CancelledError):
        progress.stage("fit", 0.5)
    with pytest.raises(CancelledError):
        progress.part(0.0, 0.5).check_cancelled()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run(number):
    progress = Progress("none")
    with cancel_on_signals(progress), pytest.raises(CancelledError):
        os.kill(os.getpid(), number)
        progress.check_cancelled()


@pytest.fixture
def default_interrupt():
    """The usual answer to SIGINT: a shell starts its background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_stops_at_once(default_interrupt):
    progress = Progress("none")
    with cancel_on_signals(progress):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with cancel_on_signals(Progress("none")):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
