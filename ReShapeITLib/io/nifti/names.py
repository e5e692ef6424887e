"""Names of labels in a NIfTI extension: the label table of Connectome Workbench, which TotalSegmentator writes.

Format: https://www.nitrc.org/projects/cifti (GIFTI and Caret label tables); TotalSegmentator's
``nifti_ext_header.add_label_map_to_nifti`` writes it under extension code 0, Workbench under 30.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ...core.labels import Segment
from .header import NiftiHeader

_CODES = (0, 30)
_MOST_BYTES = 1 << 22
_CHANNELS = ("Red", "Green", "Blue")


def segments_of(header: NiftiHeader) -> tuple[Segment, ...]:
    """Segments that the first label table of a header names; none where there is no sound one."""
    for code, content in header.extensions:
        if code in _CODES and b"<LabelTable" in content[:_MOST_BYTES]:
            return _segments(content.rstrip(b"\0"))
    return ()


def _segments(content: bytes) -> tuple[Segment, ...]:
    # Entities can grow without end, and no label table declares any.
    if len(content) > _MOST_BYTES or re.search(rb"<!(DOCTYPE|ENTITY)", content):
        return ()
    try:
        root = ElementTree.fromstring(content)
        entries = [_entry(label) for label in root.iter("Label")]
    except (ElementTree.ParseError, ValueError):
        return ()
    named = {segment.label: segment for segment in entries if segment.label != 0 and segment.name}
    return tuple(named[label] for label in sorted(named))


def _entry(label: ElementTree.Element) -> Segment:
    number = int(label.get("Key", "0"))
    red, green, blue = (min(1.0, max(0.0, float(label.get(channel, "0")))) for channel in _CHANNELS)
    return Segment(number, (label.text or "").strip(), f"Segment_{number}", (red, green, blue))
