"""The sample patient as an ordinary source of Sample Data: asked for by name or button, made once, kept, saved."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the application needs slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")
psutil = pytest.importorskip("psutil", reason="processes are counted with psutil")

NAME = "ReShapeITPatient"
COPY_FILES = """
import shutil, sys
shutil.copytree({source!r}, sys.argv[1], dirs_exist_ok=True)
open({runs!r}, "a").write("x")
"""


@pytest.fixture
def sample(application):
    """The module ReShapeITPanel.sampleData."""
    from ReShapeITPanel import sampleData

    return sampleData


@pytest.fixture
def runs(sample, sample_patient, tmp_path, monkeypatch) -> Path:
    """Has a program make the patient that only copies it; this file has a letter for each of its runs."""
    program, runs = tmp_path / "copying.py", tmp_path / "runs"
    runs.write_text("")
    program.write_text(COPY_FILES.format(source=str(sample_patient), runs=str(runs)))
    monkeypatch.setattr(sample, "PROGRAM", str(program))
    return runs


def cache_folder(application) -> Path:
    return Path(application.scene.GetCacheManager().GetRemoteCacheDirectory())


def leftovers(folder: Path) -> list[str]:
    """What a patient that was not finished left behind."""
    return [path.name for path in folder.iterdir() if path.suffix == ".part"]


def press_button() -> None:
    """What the sample's button in the Sample Data module does."""
    import SampleData

    logic = SampleData.SampleDataLogic()
    source = logic.sourceForSampleName(NAME)
    if source.customDownloader:
        source.customDownloader(source)
    else:
        logic.downloadFromSource(source)


def progress_dialog():
    """The dialog that shows that the patient is being made, or None."""
    import qt

    widgets = [widget for widget in qt.QApplication.topLevelWidgets() if widget.className() == "QProgressDialog"]
    return next((widget for widget in widgets if widget.visible), None)


def while_it_is_made(act):
    """A running timer that calls ``act(dialog)`` as long as the progress dialog is there."""
    import qt

    timer = qt.QTimer()
    timer.setInterval(50)
    timer.timeout.connect(lambda: progress_dialog() and act(progress_dialog()))
    timer.start()
    return timer


def children() -> list:
    """Processes that this one started and that still run."""
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def test_the_sample_is_loaded_by_its_name_while_the_application_goes_on(application):
    import SampleData

    ticks = []
    timer = while_it_is_made(ticks.append)
    ct = SampleData.downloadSample(NAME)
    timer.stop()
    assert ct.IsA("vtkMRMLScalarVolumeNode") and ct.GetName().startswith("SamplePatientCT")
    segmentation = application.scene.GetFirstNodeByName("SamplePatient").GetSegmentation()
    names = {segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())}
    assert names == {"liver", "spleen", "kidney left", "kidney right"}
    assert len(ticks) > 10, "the application stood still"
    assert progress_dialog() is None and not leftovers(cache_folder(application))


def test_the_segmentation_has_surfaces_and_the_grid_of_the_ct(application, runs):
    import SampleData
    from ReShapeITSlicer.geometry import referenceGrid

    ct, segmentation = SampleData.downloadSamples(NAME)
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    assert referenceGrid(segmentation, None, []).size == referenceGrid(segmentation, ct, []).size


def test_the_second_call_makes_nothing(application, runs):
    import SampleData

    first, second = SampleData.downloadSamples(NAME), SampleData.downloadSamples(NAME)
    assert runs.read_text() == "x"
    assert len({node.GetID() for node in (*first, *second)}) == 4


def test_a_saved_scene_holds_the_voxels_of_the_sample(application, runs, tmp_path):
    import slicer

    press_button()
    ct = application.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    voxels, storage = slicer.util.arrayFromVolume(ct).copy(), ct.GetStorageNode()
    assert storage is None or Path(storage.GetFileName()).is_file()
    scene = application.save(tmp_path / "saved")
    shutil.rmtree(cache_folder(application))
    application.load(scene)
    ct = application.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(ct), voxels)
    segmentation = application.scene.GetFirstNodeByName("SamplePatient")
    assert segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()) is ct


@pytest.mark.parametrize("how", ["emptied", "cut", "no record", "another version"])
def test_a_kept_patient_that_is_not_whole_is_made_again(application, sample, runs, how):
    import SampleData

    SampleData.downloadSamples(NAME)
    kept = cache_folder(application) / NAME
    ct, record = kept / sample.FILES[0], kept / sample.RECORD
    if how == "emptied":
        ct.write_bytes(b"")
    elif how == "cut":
        ct.write_bytes(ct.read_bytes()[:-1])
    elif how == "no record":
        record.unlink()
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "made of": "others"}))
    assert len(SampleData.downloadSamples(NAME)) == 2
    assert runs.read_text() == "xx" and not leftovers(kept.parent)


def test_a_stale_copy_of_sample_data_is_replaced(application, sample, runs, sample_patient):
    import SampleData

    stale = cache_folder(application) / sample.FILES[0]
    stale.write_bytes(b"NRRD0004, half")
    SampleData.downloadSamples(NAME)
    assert stale.read_bytes() == (sample_patient / stale.name).read_bytes()


def test_a_forced_download_leaves_the_kept_patient_whole(application, sample, runs):
    import SampleData

    logic = SampleData.SampleDataLogic()
    for _ in range(2):
        assert len(logic.downloadFromSource(logic.sourceForSampleName(NAME), forceDownload=True)) == 2
    assert runs.read_text() == "x"


def test_of_two_slicers_the_one_that_is_later_takes_the_others_patient(application, sample, runs, tmp_path):
    theirs, cache = [], cache_folder(application)

    def other_slicer() -> bool:
        if not theirs:
            theirs.append(None)
            theirs[0] = (sample.keptPatient(cache) / sample.RECORD).stat().st_ino
        return True

    folder = sample.keptPatient(cache, lambda: contextlib.nullcontext(other_slicer))
    assert (folder / sample.RECORD).stat().st_ino == theirs[0]
    assert runs.read_text() == "xx" and not leftovers(cache)


def test_what_a_slicer_that_was_killed_left_behind_goes(application, sample, runs):
    old, new = (cache_folder(application) / f"{NAME}-{age}.part" for age in ("old", "new"))
    old.mkdir()
    new.mkdir()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    sample.keptPatient(cache_folder(application))
    assert leftovers(cache_folder(application)) == [new.name]


def test_cancel_ends_the_program_and_leaves_nothing(application, sample):
    import SampleData

    before, timer = children(), while_it_is_made(lambda dialog: dialog.cancel())
    with pytest.raises(sample.SampleDataError, match="cancelled"):
        SampleData.downloadSample(NAME)
    timer.stop()
    assert children() == before and not leftovers(cache_folder(application))


def test_cancel_after_the_button_shows_no_error(application, sample):
    timer = while_it_is_made(lambda dialog: dialog.cancel())
    press_button()
    timer.stop()
    assert application.dialogs == [] and application.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None


def test_closing_the_main_window_ends_the_program(application, sample):
    import SampleData

    application.main_window.show()
    before, timer = children(), while_it_is_made(lambda dialog: application.main_window.close())
    with pytest.raises(sample.SampleDataError, match="cancelled"):
        SampleData.downloadSample(NAME)
    timer.stop()
    assert children() == before and progress_dialog() is None


def test_an_error_of_the_application_ends_the_program(sample, tmp_path):
    def failing():
        raise RuntimeError("the application is gone")

    before = children()
    with pytest.raises(RuntimeError, match="gone"):
        sample.makeSamplePatient(tmp_path, goOn=failing)
    assert children() == before


def test_missing_packages_are_one_sentence_by_name_and_by_button(application, sample, monkeypatch):
    import SampleData
    from ReShapeITPanel.dependencies import Missing

    monkeypatch.setattr(sample, "missingPackages", lambda: Missing(torch=True))
    with pytest.raises(sample.SampleDataError, match=r"PyTorch.*press Install"):
        SampleData.downloadSample(NAME)
    press_button()
    (told,) = application.dialogs
    assert "press Install" in told and "Traceback" not in told


def test_a_cache_that_takes_no_files_is_one_sentence(application, sample, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(sample.SampleDataError, match="cache folder"):
        sample.keptPatient(blocked / "cache")


def test_the_sample_is_listed_once_however_often_it_is_registered(application, sample):
    import slicer

    for _ in range(2):
        sample.registerSampleData(str(Path(sample.__file__)))
    thumbnails = [source.thumbnailFileName for source in slicer.modules.sampleDataSources["ReShapeIT"]]
    assert len(thumbnails) == len(set(thumbnails))
