"""The generated patient in Slicer's Sample Data module: made on this computer once, nothing is downloaded.

Whoever asks for a sample, a button or ``SampleData.downloadSample``, Sample Data first takes its addresses through
rewrite rules (Slicer 5.10 and later). The rule registered here turns the patient's addresses into those of files in
the cache folder and makes these files where they are not there.
"""

import contextlib
import filecmp
import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ReShapeITSlicer.library import addLibraryToPath, processEnvironment, pythonProgram
from ReShapeITSlicer.processTree import killTree, quietProcess
from slicer.i18n import tr as _

from . import samplePatient
from .dependencies import missingPackages

CATEGORY, SAMPLE_NAME, SCHEME = "ReShapeIT", "ReShapeITPatient", "reshapeit"
FILES = (samplePatient.CT_FILE, samplePatient.SEGMENTATION_FILE)
FILE_TYPES = ("VolumeFile", "SegmentationFile")
NODE_NAMES = ("SamplePatientCT", "SamplePatient")
RECORD = "patient.json"
PROGRAM = samplePatient.__file__
POLL_S, LEFTOVER_S = 0.05, 24 * 3600


class SampleDataError(Exception):
    """Why there is no sample patient and what to do."""


class SampleDataCancelled(SampleDataError):
    """The user did not wait for it."""


def registerSampleData(thumbnail: str) -> None:
    """Add the patient to the Sample Data module.

    :param thumbnail: PNG file.
    """
    import SampleData

    SampleData.SampleDataLogic.registerUrlRewriteRule(SAMPLE_NAME, fileAddress)
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=thumbnail,
        uris=[f"{SCHEME}:{name}" for name in FILES],
        fileNames=list(FILES),
        nodeNames=list(NODE_NAMES),
        loadFileTypes=list(FILE_TYPES),
        customDownloader=_loadWithErrorDisplay,
    )


def fileAddress(url: str) -> str:
    """The rewrite rule: for an address of the patient that of a file, any other address as it is.

    :raises SampleDataError: the patient cannot be made, or its making was cancelled.
    """
    import slicer

    scheme, _colon, name = url.partition(":")
    if scheme != SCHEME or name not in FILES:
        return url
    cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    made, copy = keptPatient(cache, _progressDialog) / name, cache / name
    # Sample Data takes a file that is there without a look at it.
    if copy.exists() and not filecmp.cmp(made, copy, shallow=False):
        copy.unlink()
    return made.as_uri()


def loadSamplePatient() -> list:
    """Load CT and damaged segmentation through Sample Data, with the CT as reference volume; returns both nodes.

    :raises SampleDataError: they cannot be made or loaded, or their making was cancelled.
    """
    import SampleData

    nodes = SampleData.downloadSamples(SAMPLE_NAME)
    if len(nodes) != len(FILES):
        raise SampleDataError(_("The sample patient could not be loaded; Slicer's error log says why."))
    ct, segmentation = nodes
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    return nodes


def _loadWithErrorDisplay(source) -> None:
    """What the button of the Sample Data module does: it has nobody above it who would show an error."""
    import slicer

    try:
        loadSamplePatient()
    except SampleDataCancelled as cancelled:
        slicer.util.showStatusMessage(str(cancelled), 3000)
    except SampleDataError as error:
        slicer.util.errorDisplay(str(error))


def keptPatient(cache: Path, progress=None) -> Path:
    """Folder of the patient's files; made where it is absent, damaged, or of another version of the extension.

    :param cache: folder in which it is kept.
    :param progress: function to a context manager that gives ``goOn``, see makeSamplePatient.
    :raises SampleDataError: it cannot be made or written, or its making was cancelled.
    """
    folder, origin = cache / SAMPLE_NAME, _origin()
    if _isWhole(folder, origin):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _removeLeftovers(cache)
        part = Path(tempfile.mkdtemp(prefix=f"{SAMPLE_NAME}-", suffix=".part", dir=cache))
        try:
            with progress() if progress else contextlib.nullcontext() as goOn:
                makeSamplePatient(part, goOn=goOn)
            record = {"made of": origin, "files": {name: _digest(part / name) for name in FILES}}
            (part / RECORD).write_text(json.dumps(record), encoding="utf-8")
            _putInPlace(part, folder, origin)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise SampleDataError(
            _(
                "The sample patient cannot be written to the cache folder {folder} ({reason}): choose another in "
                "Edit > Application Settings > Cache."
            ).format(folder=cache, reason=error.strerror or error)
        ) from error
    return folder


def _removeLeftovers(cache: Path) -> None:
    """Remove what a Slicer that was killed left unfinished; what is younger may be another Slicer's work."""
    for part in cache.glob(f"{SAMPLE_NAME}-*.part"):
        with contextlib.suppress(OSError):  # another Slicer was faster
            if time.time() - part.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(part)


def _putInPlace(part: Path, folder: Path, origin: str) -> None:
    """Rename a finished patient, unless another Slicer was faster."""
    if _isWhole(folder, origin):
        return
    if folder.exists():
        shutil.rmtree(folder)
    try:
        part.rename(folder)
    except OSError:
        if not _isWhole(folder, origin):
            raise


def _isWhole(folder: Path, origin: str) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        known = {name: _digest(folder / name) for name in FILES}
        return record == {"made of": origin, "files": known}
    except (OSError, ValueError):
        return False


def _origin() -> str:
    """Checksum of what decides how the patient looks: library, program and templates."""
    addLibraryToPath()
    from ReShapeITLib import __version__
    from ReShapeITLib.templates.store import available_templates

    templates = available_templates()
    files = [samplePatient.__file__, *(templates[organ] for organ in samplePatient.ORGANS if organ in templates)]
    return hashlib.sha256("".join([__version__, *map(_digest, files)]).encode()).hexdigest()


def _digest(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def makeSamplePatient(folder: Path, python: str | None = None, goOn=None) -> None:
    """Write the patient's files by a program of its own, because it needs torch.

    :param folder: where the files go.
    :param python: the Python to run; PythonSlicer or this very Python by default.
    :param goOn: function that is called all the while and lets the application work; False or an exception ends the
        program.
    :raises SampleDataError: Python packages are missing, the program failed, or ``goOn`` said False.
    """
    missing = missingPackages()
    if missing:
        raise SampleDataError(
            _(
                "The sample patient needs Python packages that are missing ({packages}): open ReShapeIT, press Install."
            ).format(packages=missing.described())
        )
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        code = _run([python or pythonProgram(), PROGRAM, str(folder)], errors, goOn or (lambda: True))
        errors.seek(0)
        told = errors.read().strip()
    if code:
        logging.error(told)
        reason = (told.splitlines() or [_("no message")])[-1]
        raise SampleDataError(_("The sample patient could not be made: {reason}").format(reason=reason))


def _run(command: list[str], errors, goOn) -> int:
    """Exit code of a program; it ends with all it started when ``goOn`` says False or raises."""
    try:
        process = subprocess.Popen(
            command,
            env=processEnvironment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            **quietProcess(ownGroup=True),
        )
    except OSError as error:
        raise SampleDataError(
            _(
                "The sample patient could not be made: {program} cannot be started ({reason}); install Slicer again."
            ).format(program=command[0], reason=error.strerror)
        ) from error
    try:
        while process.poll() is None:
            if not goOn():
                raise SampleDataCancelled(_("The sample patient was not made: it was cancelled."))
            time.sleep(POLL_S)
    finally:
        if process.poll() is None:
            killTree(process)
    return process.returncode


@contextlib.contextmanager
def _progressDialog():
    """Says that the patient is being made; gives ``goOn``, which is False after Cancel or without a main window."""
    import qt
    import slicer

    message = _("Making the sample patient; this takes some seconds, the first time only.")
    logging.info(message)
    window = slicer.util.mainWindow()
    slicer.util.showStatusMessage(message, 3000)
    dialog = slicer.util.createProgressDialog(
        maximum=0, labelText=message, windowTitle=_("ReShapeIT"), windowModality=qt.Qt.ApplicationModal
    )
    wasShown = window is not None and window.visible

    def goOn() -> bool:
        slicer.app.processEvents()
        return not dialog.wasCanceled and not (wasShown and not window.visible)

    try:
        yield goOn
    finally:
        dialog.close()
        dialog.deleteLater()
