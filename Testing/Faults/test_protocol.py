"""What programs read of the command: codes and fields of errors and notices, and the last line of a run."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError, CancelledError, ImplausibleError, Notice, ReShapeITError
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.explanation import explained
from ReShapeITLib.job.job import RefineJob, run_refine_job
from ReShapeITLib.restoration.model import RestorationModel
from Testing.tiny_template import patient, with_licence

ROOT = Path(__file__).resolve().parents[2]
NAME = "Läber"


@pytest.fixture
def case_file(tmp_path) -> Path:
    """A coarse patient whose one segment has a name that is not ASCII."""
    mask, geometry = patient(np.random.default_rng(11), (5.0, 5.0, 5.0))
    segments = (Segment(1, NAME, "id1", (1.0, 0.0, 0.0)),)
    write_labels(LabelVolume((mask.astype(np.uint8),), geometry, segments), tmp_path / "case.seg.nrrd")
    return tmp_path / "case.seg.nrrd"


@pytest.fixture
def words(case_file, tiny_template_file, tmp_path):
    """Arguments of a quick refinement, which further ones may follow."""
    files = ["refine", str(case_file), "--output", str(tmp_path / "out.seg.nrrd")]
    return [*files, "--template", str(tiny_template_file), "--preset", "draft", "--device", "cpu"]


def lines_of(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_error_is_one_sentence_that_comes_apart_into_message_and_hint():
    error = BadInputError("{subject} is empty", "choose another", "label.empty", subject="label '3' of a.nrrd")
    assert str(error) == "Label '3' of a.nrrd is empty; choose another."
    assert (error.message, error.hint) == ("Label '3' of a.nrrd is empty", "choose another")
    assert (error.code, error.fields, error.exit_code) == ("label.empty", {"subject": "label '3' of a.nrrd"}, 2)


def test_every_class_has_a_code_and_a_plain_sentence_stays_as_it_is():
    classes = (ReShapeITError, BadInputError, ImplausibleError, CancelledError)
    assert [kind("x {y}.").code for kind in classes] == ["failed", "bad_input", "implausible", "cancelled"]
    assert [str(kind("x {y}.")) for kind in classes] == ["x {y}."] * 4
    assert str(BadInputError("a{b.nrrd is odd.").about(input="a{b.nrrd")) == "a{b.nrrd is odd."


def test_a_code_of_its_own_is_not_replaced_by_what_is_added_later():
    assert BadInputError("x").about("later", input="a").code == "later"
    told = BadInputError("{input}", code="own", input="a").about("later", input="b")
    assert (told.code, str(told)) == ("own", "b.")


def test_errors_and_notices_survive_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(ImplausibleError("{organ} is odd", "look", organ="liver")))
    assert (str(error), error.code, error.fields) == ("liver is odd; look.", "implausible", {"organ": "liver"})
    notice = pickle.loads(pickle.dumps(Notice("{n} left.", "some.code", n=3)))
    assert (notice, notice.code, notice.fields) == ("3 left.", "some.code", {"n": 3})


def test_fields_reach_json_whatever_they_are(capsys):
    progress = Progress("json")
    progress.failure(BadInputError("{a}", a=Path("x"), b=float("nan"), c=[1, OSError("no")], d=None))
    (line,) = lines_of(capsys)
    assert line["error"]["fields"] == {"a": "x", "b": None, "c": [1, "no"], "d": None}


def test_stages_told_by_two_threads_never_share_a_line():
    class Pieces:
        """A stream that keeps what is written in one go."""

        def __init__(self):
            self.written = []

        def write(self, text):
            self.written.append(text)

        def flush(self):
            pass

    stream = Pieces()
    progress = Progress("json", stream)
    threads = [Thread(target=progress.stage, args=("fit", 0.5, name)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(text)["message"] for text in stream.written) == ["left", "right"]
    assert all(text.endswith("\n") for text in stream.written)


def test_nothing_is_told_after_the_end(capsys):
    progress = Progress("json")
    progress.result({"n": 1})
    progress.stage("late", 1.0)
    progress.failure(BadInputError("late"))
    progress.result({"n": 2})
    assert lines_of(capsys) == [{"result": {"n": 1}}]


def test_a_run_ends_with_its_result(words, tmp_path, capsys):
    assert main([*words, "--progress", "json"]) == 0
    first, *between, last = lines_of(capsys)
    assert list(first["started"]) == ["version", "python"]
    assert all("stage" in line for line in between)
    (organ,) = last["result"]["organs"]
    assert last["result"]["output"] == str(tmp_path / "out.seg.nrrd") and organ["volume_after_ml"] > 0


@pytest.mark.parametrize(
    ("more", "code", "exit_code", "fields"),
    [
        (["--label", "nothing"], "label.unknown", 2, {}),
        (["--output", "/nowhere/out.nrrd"], "cannot_write", 2, {"path": "/nowhere/out.nrrd"}),
        (["--sharpen"], "usage", 2, {}),
        (["--seed", "-3"], "usage", 2, {}),
        (["--template", "liver"], "implausible", 3, {"organ": "liver", "label": 1}),
    ],
)
def test_a_failed_run_ends_with_one_error_line(words, capsys, more, code, exit_code, fields):
    assert main([*words, *more, "--progress", "json"]) == exit_code
    told = capsys.readouterr()
    *before, last = [json.loads(line) for line in told.out.splitlines()]
    assert not any("error" in line or "result" in line for line in before)
    assert (last["error"]["code"], last["error"]["exit_code"]) == (code, exit_code)
    assert fields.items() <= last["error"]["fields"].items()
    hint = last["error"]["hint"]
    assert told.err == f"reshapeit: {last['error']['message']}{f'; {hint}.' if hint else ''}\n"


def test_the_input_is_named_by_a_field_where_it_cannot_be_read(words, case_file, capsys):
    case_file.write_text("no label file")
    assert main([*words, "--progress", "json"]) == 2
    error = lines_of(capsys)[-1]["error"]
    assert error["code"] == "nrrd.none" and error["fields"]["input"] == str(case_file)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA out of memory"), "out_of_memory"),
        (OSError(28, "No space left on device"), "disk_full"),
        (KeyboardInterrupt(), "cancelled"),
        (ModuleNotFoundError("No module", name="torch.nn"), "missing_package"),
        (ZeroDivisionError("x"), "unexpected"),
    ],
)
def test_what_python_and_torch_raise_gets_a_code(error, code):
    assert explained(error).code == code


def test_a_missing_package_is_named_with_what_to_do(words, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run([*words, "--progress", "json"], PYTHONPATH=path)
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert done.returncode == 1 and (error["code"], error["fields"]) == ("missing_package", {"package": "torch"})
    assert "torch is missing; install" in done.stderr.decode()


def run(words, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ReShapeITLib.cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, check=False)


def run_on_a_console(words, encoding: str, monkeypatch) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command where both have that encoding."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    with monkeypatch.context() as patched:
        for name, stream in streams.items():
            patched.setattr(sys, name, stream)
        code = main(words)
        for stream in streams.values():
            stream.flush()
    return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams.values())


@pytest.mark.parametrize("mode", ["none", "bar", "json"])
def test_a_name_that_the_console_cannot_show_comes_out_escaped(words, tmp_path, mode, monkeypatch):
    code, told, errors = run_on_a_console([*words, "--label", NAME, "--progress", mode], "ascii", monkeypatch)
    assert code == 0, errors
    assert "(label L\\xe4ber)" in told or "(label L\\u00e4ber)" in told
    assert (tmp_path / "out.seg.nrrd").is_file()


def test_an_error_about_such_a_name_comes_out_escaped(words, monkeypatch):
    code, _, errors = run_on_a_console([*words, "--label", "Ömür"], "cp1252", monkeypatch)
    assert code == 2 and "Ömür" in errors
    done = run([*words, "--label", "肝"], PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert done.returncode == 2 and "\\u809d" in done.stderr.decode("cp1252")


def test_notices_are_lines_with_codes(words, tiny_template_file, tmp_path, capsys):
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    assert main([*words, "--template", str(template), "--non-commercial", "--progress", "json"]) == 0
    told = capsys.readouterr()
    (notice,) = [line["notice"] for line in map(json.loads, told.out.splitlines()) if "notice" in line]
    assert (notice["code"], notice["fields"]["licence"]) == ("licence.told", "CC BY-NC-SA 4.0")
    assert "non-commercial use only" in notice["message"] and not told.err


def test_without_consent_a_template_is_refused_with_its_licence_and_the_option(
    words, tiny_template_file, tmp_path, capsys
):
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    assert main([*words, "--template", str(template)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and not (tmp_path / "out.seg.nrrd").exists()
    assert all(told in text for told in ("template nc", "CC BY-NC-SA 4.0", "--non-commercial"))


def test_without_consent_a_network_is_refused_as_well(case_file, tiny_template_file, restoration_file, tmp_path):
    model = RestorationModel.load(restoration_file)
    network = tmp_path / "nc_network.safetensors"
    replace(model, info=replace(model.info, licence="CC BY-NC-SA 4.0")).save(network)
    job = RefineJob(
        case_file,
        {None: str(tiny_template_file)},
        tmp_path / "out.seg.nrrd",
        preset="draft",
        device="cpu",
        restoration=str(network),
    )
    with pytest.raises(BadInputError, match="network nc_network") as refused:
        run_refine_job(job)
    assert refused.value.code == "licence.non_commercial"
    assert run_refine_job(replace(job, non_commercial=True)).report.organs[0].restoration == network.name
    assert run_refine_job(replace(job, restoration="none")).report.organs


def test_without_consent_a_batch_is_refused_before_any_case(case_file, tiny_template_file, tmp_path, capsys):
    pytest.importorskip("distributed", reason="needs dask: pip install 'ReShapeITLib[batch]'")
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    (tmp_path / "in").mkdir()
    case_file.rename(tmp_path / "in" / case_file.name)
    arguments = ["batch", str(tmp_path / "in"), "--template", str(template), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "--non-commercial" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_without_consent_a_demo_is_refused(tiny_template_file, tmp_path, capsys):
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    assert main(["demo", "--template", str(template), "--output", str(tmp_path / "demo")]) == 2
    assert "--non-commercial" in capsys.readouterr().err and not (tmp_path / "demo").exists()


def test_without_consent_the_shipped_lobes_are_refused_and_the_other_organs_are_not():
    from ReShapeITLib.job.licences import check_licences
    from ReShapeITLib.templates.store import available_templates

    refused = set()
    for name, file in available_templates().items():
        try:
            check_licences([file])
        except BadInputError:
            refused.add(name)
    assert refused == {name for name in available_templates() if name.startswith("lung_")} != set()


def test_a_torch_for_numpy_1_is_told_with_both_versions():
    import numpy
    import torch

    told = explained(RuntimeError("Numpy is not available"))
    assert told.code == "torch_numpy" and torch.__version__ in str(told) and numpy.__version__ in str(told)
    assert "numpy<2" in told.hint
