"""The panel's parameters as they are saved with the scene."""

from typing import Annotated

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .choices import Device, OverlapPolicy, Preset, ResultMode


@parameterNodeWrapper
class ReShapeITParameterNode:
    """What the user chose.

    segmentation - holds the organs.
    volume - the image that was segmented, or none.
    volumeProposedFor - the segmentation that a volume was proposed for; afterwards the choice is the user's.
    selected - ids of the segments to refine.
    templates - name of the template by segment id, where the user chose one or accepted the proposal.
    preset, device, resultMode, overlapPolicy, keepUnion, sparse, force - see ReShapeITSlicer's RefinementOptions.
    belongs, belongsNot - points that say what is organ and what is not.
    showChangeMap, opacityBefore, opacityAfter - how the review is shown.
    """

    segmentation: vtkMRMLSegmentationNode
    volume: vtkMRMLScalarVolumeNode
    volumeProposedFor: vtkMRMLSegmentationNode
    selected: list[str]
    templates: dict[str, str]
    preset: Preset = Preset.STANDARD
    device: Device = Device.AUTO
    resultMode: ResultMode = ResultMode.NEW_SEGMENTS
    overlapPolicy: OverlapPolicy = OverlapPolicy.KEEP_NEIGHBOURS
    keepUnion: bool = False
    sparse: bool = False
    force: bool = False
    belongs: vtkMRMLMarkupsFiducialNode
    belongsNot: vtkMRMLMarkupsFiducialNode
    showChangeMap: bool = True
    opacityBefore: Annotated[float, WithinRange(0, 1)] = 0.3
    opacityAfter: Annotated[float, WithinRange(0, 1)] = 1.0
