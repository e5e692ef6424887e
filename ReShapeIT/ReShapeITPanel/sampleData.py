"""The generated patient in Slicer's Sample Data module: made on this computer, nothing is downloaded."""

import subprocess
import tempfile
from pathlib import Path

from ReShapeITSlicer.library import processEnvironment, pythonProgram
from slicer.i18n import tr as _

from . import samplePatient
from .dependencies import missingPackages

CATEGORY, SAMPLE_NAME = "ReShapeIT", "ReShapeITPatient"
FILES = (samplePatient.CT_FILE, samplePatient.SEGMENTATION_FILE)
NODE_NAMES = ("SamplePatientCT", "SamplePatient")


class SampleDataError(Exception):
    """Why there is no sample patient and what to do."""


def registerSampleData(thumbnail: str) -> None:
    """Add the patient to the Sample Data module.

    :param thumbnail: PNG file.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=thumbnail,
        # Generated, not downloaded; a source must name an address all the same: that of the program.
        uris=[Path(samplePatient.__file__).as_uri()] * len(FILES),
        fileNames=list(FILES),
        nodeNames=list(NODE_NAMES),
        customDownloader=_loadWithErrorDisplay,
    )


def _loadWithErrorDisplay(source):
    """What the button of the Sample Data module does."""
    import slicer

    with slicer.util.tryWithErrorDisplay(_("There is no sample patient."), waitCursor=True):
        return loadSamplePatient()


def loadSamplePatient() -> list:
    """Generate the patient and load CT and damaged segmentation; returns both nodes.

    :raises SampleDataError: Python packages are missing, or the program failed.
    """
    import slicer

    with tempfile.TemporaryDirectory(prefix="reshapeit-sample-") as folder:
        makeSamplePatient(Path(folder))
        ct = slicer.util.loadVolume(str(Path(folder, FILES[0])), {"name": NODE_NAMES[0]})
        segmentation = slicer.util.loadSegmentation(str(Path(folder, FILES[1])), {"name": NODE_NAMES[1]})
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    segmentation.CreateClosedSurfaceRepresentation()
    return [ct, segmentation]


def makeSamplePatient(folder: Path, python: str | None = None) -> None:
    """Write the patient's files by a program of its own, because it needs torch.

    :param folder: where the files go.
    :param python: the Python to run; PythonSlicer or this very Python by default.
    :raises SampleDataError: Python packages are missing, or the program failed.
    """
    missing = missingPackages()
    if missing:
        raise SampleDataError(
            _("The sample patient needs Python packages that are missing ({packages}): open ReShapeIT, press Install.")
            .format(packages=missing.described())
        )  # fmt: skip
    command = [python or pythonProgram(), samplePatient.__file__, str(folder)]
    done = subprocess.run(command, env=processEnvironment(), capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [_("no message")])[-1]
        raise SampleDataError(_("The sample patient could not be made: {reason}").format(reason=reason))
