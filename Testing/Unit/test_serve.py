"""``reshapeit serve``: one process, many requests; whatever comes, each gets one last line and the process stays."""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.resident.pipe import Pipe
from ReShapeITLib.job.resident.runs import points_of
from Testing.tiny_template import patient

ROOT = Path(__file__).resolve().parents[2]


class Piped:
    """A Pipe in a thread, with a sleeping and a failing piece of work."""

    def __init__(self):
        ends = os.pipe()
        self.asked = open(ends[1], "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by the tests
        self.answers, self.ended = queue.Queue(), threading.Event()
        work = {"sleep": self.sleep, "fail": self.fail, "echo": lambda name, fields, progress: {"told": fields["word"]}}
        questions = open(ends[0], encoding="utf-8")  # noqa: SIM115 - lives as long as the thread
        self.pipe = Pipe(questions, self, work, {"now": lambda fields: {"at": "once"}}, self.ended.set)
        self.thread = threading.Thread(target=self.pipe.run, daemon=True)
        self.thread.start()
        assert "started" in self.answer()

    def write(self, text: str) -> None:
        self.answers.put(json.loads(text))

    def flush(self) -> None:
        pass

    def ask(self, **fields) -> None:
        self.asked.write(json.dumps(fields) + "\n")

    def answer(self) -> dict:
        return self.answers.get(timeout=10)

    @staticmethod
    def sleep(name, fields, progress) -> dict:
        for step in range(1000):
            progress.stage("sleep", step / 1000)
            time.sleep(0.005)
        return {}

    @staticmethod
    def fail(name, fields, progress) -> dict:
        raise {"memory": MemoryError, "exit": SystemExit}.get(fields["how"], ZeroDivisionError)("it failed")


@pytest.fixture
def piped():
    made = Piped()
    yield made
    if not made.asked.closed:
        made.asked.close()


def test_requests_are_answered_in_turn_with_their_ids(piped):
    for name, word in (("a", "first"), (2, "second")):
        piped.ask(id=name, do="echo", word=word)
    assert [piped.answer(), piped.answer()] == [
        {"id": "a", "result": {"told": "first"}},
        {"id": 2, "result": {"told": "second"}},
    ]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", '{"id": 1}', '{"do": "echo"}', '{"id": [1], "do": "echo"}', '{"id": 1, "do": 5}', "[" * 9999],
)
def test_a_damaged_line_gets_an_error_and_ends_nothing(piped, line):
    piped.asked.write(line + "\n")
    told = piped.answer()
    assert told["id"] is None and told["error"]["code"] == "request.malformed"
    piped.ask(id=1, do="echo", word="still here")
    assert piped.answer()["result"] == {"told": "still here"}


@pytest.mark.parametrize(("how", "code"), [("memory", "out_of_memory"), ("exit", "unexpected"), ("else", "unexpected")])
def test_whatever_a_request_raises_is_its_error_alone(piped, how, code):
    piped.ask(id=1, do="fail", how=how)
    assert piped.answer()["error"]["code"] == code
    piped.ask(id=2, do="echo", word="x")
    assert piped.answer() == {"id": 2, "result": {"told": "x"}}


def test_work_and_waiting_requests_can_be_cancelled_and_questions_are_answered_meanwhile(piped):
    piped.ask(id=1, do="sleep")
    piped.ask(id=2, do="echo", word="waits")
    assert piped.answer()["id"] == 1
    piped.ask(id=3, do="now")
    piped.ask(id=4, do="cancel", of=2)
    piped.ask(id=5, do="cancel", of=1)
    piped.ask(id=6, do="cancel", of="nobody")
    last = {}
    while {1, 2, 3, 4, 5, 6} - last.keys():
        told = piped.answer()
        if "stage" not in told:
            last[told["id"]] = told
    assert last[3]["result"] == {"at": "once"}
    assert last[1]["error"]["code"] == last[2]["error"]["code"] == "cancelled"
    assert [last[n]["result"]["cancelled"] for n in (4, 5, 6)] == [True, True, False]


def test_an_unknown_request_and_an_id_at_work_are_refused(piped):
    piped.ask(id=1, do="dance")
    assert piped.answer()["error"]["code"] == "request.unknown"
    piped.ask(id=1, do="sleep")
    piped.ask(id=1, do="echo", word="x")
    while "error" not in (told := piped.answer()):
        pass
    assert told["error"]["code"] == "request.twice"


def test_stop_ends_the_work_in_turn_and_a_closed_stdin_at_once(piped):
    piped.ask(id=1, do="stop")
    assert piped.answer() == {"id": 1, "result": {}}
    piped.thread.join(5)
    assert not piped.thread.is_alive()
    piped.asked.close()
    assert piped.ended.wait(5)


def test_a_reader_that_is_gone_does_not_stop_the_writer():
    closed = io.StringIO()
    closed.close()
    Pipe(io.StringIO(), closed, {}, {}).tell({"id": 1})


@pytest.mark.parametrize("values", [7, [[1, 2]], [[1, 2, float("nan")]], ["abc"], [[1, 2, "x"]]])
def test_points_that_are_none_are_refused(values):
    with pytest.raises(BadInputError, match="points are no list"):
        points_of(values)


def test_points_are_taken_as_numbers():
    assert points_of([[1, 2.5, -3]]) == ((1.0, 2.5, -3.0),) and points_of([]) == ()


@pytest.fixture(scope="module")
def served():
    """A process that serves, and a function that asks it and returns the last line."""
    command = [sys.executable, "-m", "ReShapeITLib.cli.main", "serve"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    json.loads(process.stdout.readline())
    numbers = iter(range(1, 1000))

    def ask(do: str, **fields) -> dict:
        name = next(numbers)
        process.stdin.write(json.dumps({"id": name, "do": do, **fields}) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            told = json.loads(line)
            if told["id"] == name and ("result" in told or "error" in told):
                return told
        raise AssertionError("the process ended")

    ask.process = process
    yield ask
    process.stdin.close()
    assert process.wait(10) == 0


@pytest.fixture(scope="module")
def run(served, tiny_template_file, tmp_path_factory):
    """Folder and id of a refinement of a generated patient, and what it told."""
    folder = tmp_path_factory.mktemp("served")
    mask, geometry = patient(np.random.default_rng(11), (4.0, 4.0, 4.0))
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), folder / "in.nrrd")
    words = [str(folder / "in.nrrd"), "--template", str(tiny_template_file), "--output", str(folder / "out.nrrd")]
    told = served("refine", arguments=[*words, "--preset", "draft", "--device", "cpu"])
    return folder, told["id"], told["result"]


def test_a_refinement_is_kept_and_decided_about(served, run):
    folder, name, told = run
    (organ,) = told["organs"]
    kept = {"run": name, "input": str(folder / "in.nrrd"), "organs": [str(organ["label"])]}
    assert served("memory")["result"]["runs"][-1] == kept
    decided = served("decide", run=name, organ=organ["label"], output=str(folder / "part.nrrd"))["result"]
    whole, part = read_labels(folder / "out.nrrd"), read_labels(folder / "part.nrrd")
    start, size = decided["box"]["start_ijk"], decided["box"]["size_ijk"]
    box = tuple(slice(s, s + n) for s, n in zip(start[::-1], size[::-1], strict=True))
    assert np.array_equal(whole.cropped(box).mask(1), part.mask(1))
    assert decided["volume_ml"] == pytest.approx(organ["volume_after_ml"], rel=1e-3)


def test_a_point_far_inside_can_be_taken_out_and_forgotten_again(served, run):
    folder, name, told = run
    organ, output = told["organs"][0]["label"], str(folder / "part.nrrd")
    given = read_labels(folder / "out.nrrd")
    point = given.geometry.ijk_to_ras_points(np.argwhere(given.mask(1)).mean(axis=0)[None, ::-1])[0].tolist()
    less = served("decide", run=name, organ=organ, exclude=[point], output=output)["result"]
    part = read_labels(output)
    i, j, k = np.rint(part.geometry.ras_to_ijk_points(np.array([point]))[0]).astype(int)
    assert not part.mask(1)[k, j, i]
    assert less["suggestions"][-1]["kind"] == "clicked"
    again = served("decide", run=name, organ=organ, output=output)["result"]
    assert again["volume_ml"] > less["volume_ml"] and again["removed_ml"] < less["removed_ml"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"run": 999}, "kept.gone"),
        ({"organ": "heart"}, "kept.unknown_organ"),
        ({"taken": [77]}, "suggestion.unknown"),
        ({"taken": "all"}, "request.taken"),
        ({"output": ""}, "request.file"),
        ({"include": [[0, 0]]}, "points.malformed"),
        ({"include": [[5000, 0, 0]]}, "points.far"),
    ],
)
def test_wrong_decisions_are_errors_with_a_code(served, run, fields, code):
    folder, name, told = run
    request = {"run": name, "organ": told["organs"][0]["label"], "output": str(folder / "part.nrrd"), **fields}
    answer = served("decide", **request)
    assert answer["error"]["code"] == code


def test_a_second_refinement_starts_at_once_and_what_is_freed_is_gone(served, run):
    folder, name, told = run
    process = served.process
    words = [str(folder / "in.nrrd"), "--template", "spleen", "--output", str(folder / "other.nrrd"), "--force"]
    started = time.monotonic()
    process.stdin.write(json.dumps({"id": "second", "do": "refine", "arguments": [*words, "--preset", "draft"]}) + "\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline()).get("stage") not in ("surface", "align"):
        pass
    spent = time.monotonic() - started
    process.stdin.write(json.dumps({"id": "enough", "do": "cancel", "of": "second"}) + "\n")
    process.stdin.flush()
    while (line := json.loads(process.stdout.readline())).get("id") != "second" or "stage" in line or "notice" in line:
        pass
    assert line["error"]["code"] == "cancelled" and not (folder / "other.nrrd").exists()
    assert spent < 3.0  # 0.1 s on a machine that is free
    assert served("free")["result"]["runs"] == []
    request = {"run": name, "organ": told["organs"][0]["label"], "output": str(folder / "part.nrrd")}
    assert served("decide", **request)["error"]["code"] == "kept.gone"
