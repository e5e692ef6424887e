"""What the Python console and scripts use: refine and wait."""

from __future__ import annotations

from dataclasses import replace

from .engine import EngineSettings
from .errors import RefinementError
from .options import RefinementOptions
from .refinement import RefinementTask
from .segmentVoxels import segmentName


class ReShapeITLogic:
    """Blocking refinement.

    :param scene: vtkMRMLScene; None for the application's.
    :param temporaryFolder: where files go where engineSettings do not say it; None for the system's.
    :param resident: ResidentEngine for decisions afterwards; None starts a process for each refinement.
    """

    def __init__(self, scene=None, temporaryFolder=None, resident=None):
        self._scene, self._temporaryFolder, self._resident = scene, temporaryFolder, resident

    def refine(self, segmentationNode, templates, progress=print, referenceVolumeNode=None, image=None, **options):
        """Refine segments and wait for the result.

        :param segmentationNode: vtkMRMLSegmentationNode.
        :param templates: template name or file by segment id or name.
        :param progress: function of a text, called when a stage begins; None for silence.
        :param referenceVolumeNode: volume whose grid the results get.
        :param image: volume that was segmented; None for shape alone.
        :param options: as of RefinementOptions, e.g. preset="draft", nonCommercial=True; also engineSettings.
        :returns: RefinementTask with the results.
        :raises RefinementError: one sentence says what is wrong; the scene is as it was.
        """
        settings = options.pop("engineSettings", None) or EngineSettings()
        settings = replace(settings, temporaryFolder=settings.temporaryFolder or self._temporaryFolder)
        try:
            chosen = RefinementOptions(**options)
        except TypeError as error:
            raise RefinementError(f"There is no such option ({error}); see RefinementOptions.") from error
        task = RefinementTask(
            self._theScene(),
            segmentationNode,
            _bySegmentId(segmentationNode, templates),
            chosen,
            referenceVolumeNode,
            settings,
            imageNode=image,
            resident=self._resident,
        )
        task.start()
        status = task.wait(_teller(progress))
        if status.state != "done":
            raise RefinementError(status.message, status.code)
        for row in task.summary() if progress else ():
            progress(
                f"{row.name}: {row.volumeBeforeMl:.1f} mL -> {row.volumeAfterMl:.1f} mL, moved up to "
                f"{row.largestMoveMm:.1f} mm, Dice to the input {row.dscToInput:.4f}"
            )
        for text in task.notices if progress else ():
            progress(text)
        return task

    def _theScene(self):
        if self._scene is not None:
            return self._scene
        import slicer

        return slicer.mrmlScene


def _bySegmentId(segmentationNode, templates) -> dict[str, str]:
    """Templates by segment id, where ids or names were given.

    :raises RefinementError: there is no such segment, or several of the name.
    """
    if segmentationNode is None:
        raise RefinementError("There is no segmentation; give a segmentation node.")
    segmentation, found = segmentationNode.GetSegmentation(), {}
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    for which, template in templates.items():
        named = [segmentId for segmentId in ids if segmentation.GetSegment(segmentId).GetName() == which]
        matches = [which] if which in ids else named
        if len(matches) != 1:
            count = "several segments" if matches else "no segment"
            names = ", ".join(segmentName(segmentation, segmentId) for segmentId in ids) or "none"
            raise RefinementError(f"There are {count} '{which}'; choose by id or one of the names: {names}.")
        found[matches[0]] = template
    return found


def _teller(progress):
    """Callback that tells each stage once."""
    told = []

    def tell(status) -> None:
        words = f"{status.stage} {status.message}".strip()
        if words and words not in told:
            told.append(words)
            progress(f"{words} ({100 * status.fraction:.0f} %)")

    return tell if progress else None
