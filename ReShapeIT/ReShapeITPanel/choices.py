"""The choices of the panel as enumerations: what the combo boxes show and what the options of a refinement want.

``label`` is how Slicer's parameter node wrapper asks for the text of an item.
"""

import enum

from ReShapeITSlicer.options import (
    ALLOW_OVERLAP,
    IN_PLACE,
    KEEP_NEIGHBOURS,
    NEW_SEGMENTATION,
    NEW_SEGMENTS,
    TAKE_FROM_NEIGHBOURS,
)
from slicer.i18n import tr as _


class Preset(enum.Enum):
    """Speed or detail; the values are what the command takes."""

    STANDARD = "standard"
    DRAFT = "draft"
    FINE = "fine"

    def label(self):
        return {
            Preset.STANDARD: _("Standard"),
            Preset.DRAFT: _("Draft: quick, less detail"),
            Preset.FINE: _("Fine: slow, most detail"),
        }[self]


class Device(enum.Enum):
    """Where to compute; the values are what the command takes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("Processor (CPU)"),
            Device.CUDA: _("NVIDIA GPU (CUDA)"),
            Device.MPS: _("Apple GPU (MPS)"),
        }[self]


class ResultMode(enum.Enum):
    """Where the refined organs go."""

    NEW_SEGMENTS = NEW_SEGMENTS
    IN_PLACE = IN_PLACE
    NEW_SEGMENTATION = NEW_SEGMENTATION

    def label(self):
        return {
            ResultMode.NEW_SEGMENTS: _("New segments beside the given ones"),
            ResultMode.IN_PLACE: _("In place of the given segments (can be undone)"),
            ResultMode.NEW_SEGMENTATION: _("A new segmentation"),
        }[self]


class OverlapPolicy(enum.Enum):
    """What happens where a refined organ reaches into a segment that was not refined."""

    KEEP_NEIGHBOURS = KEEP_NEIGHBOURS
    TAKE_FROM_NEIGHBOURS = TAKE_FROM_NEIGHBOURS
    ALLOW_OVERLAP = ALLOW_OVERLAP

    def label(self):
        return {
            OverlapPolicy.KEEP_NEIGHBOURS: _("Keep their voxels"),
            OverlapPolicy.TAKE_FROM_NEIGHBOURS: _("Give voxels to the refined organ"),
            OverlapPolicy.ALLOW_OVERLAP: _("May overlap"),
        }[self]
