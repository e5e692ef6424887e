"""Names of labels in a NIfTI extension: the label table of Connectome Workbench, which TotalSegmentator writes.

Format: https://www.nitrc.org/projects/cifti (GIFTI and Caret label tables); TotalSegmentator's
``nifti_ext_header.add_label_map_to_nifti`` writes it under extension code 0, Workbench under 30.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from ...core.labels import Segment
from .header import EXTENDER_BYTES, NiftiHeader

_CODES = (0, 30)
_WRITTEN_CODE = 30  # registered for such tables; TotalSegmentator reads them whatever the code
_MOST_BYTES = 1 << 22
_CHANNELS = ("Red", "Green", "Blue")
_NO_COLOUR = (0.5, 0.5, 0.5)


def segments_of(header: NiftiHeader) -> tuple[Segment, ...]:
    """Segments that the first label table of a header names; none where there is no sound one."""
    for code, content in header.extensions:
        if code in _CODES and b"<LabelTable" in content[:_MOST_BYTES]:
            return _segments(content.rstrip(b"\0"))
    return ()


def with_names(header: NiftiHeader, segments: Sequence[Segment]) -> NiftiHeader:
    """The header with a label table of the segments that have a name; one that has a table stays as it is."""
    named = [segment for segment in segments if segment.label != 0 and segment.name.strip()]
    if not named or segments_of(header):
        return header
    content = _table(named)
    content += b" " * (-(len(content) + 8) % 16)
    order = header.fields.endianness.replace("=", "<")
    sizes = np.array([len(content) + 8, _WRITTEN_CODE], order + "i4").tobytes()
    begin = header.length + EXTENDER_BYTES
    others = header.prefix[begin:] if header.extensions else b""
    prefix = header.prefix[: header.length] + b"\1\0\0\0" + sizes + content + others
    return dataclasses.replace(header, prefix=prefix).changed(vox_offset=len(prefix))


def _table(segments: Sequence[Segment]) -> bytes:
    root = ElementTree.Element("CaretExtension")
    volume = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(volume, "LabelTable")
    for segment in segments:
        label = ElementTree.SubElement(table, "Label", Key=str(segment.label))
        for channel, value in zip(_CHANNELS, segment.color or _NO_COLOUR, strict=True):
            label.set(channel, f"{value:.4g}")
        label.set("Alpha", "1")
        label.text = "".join(letter if letter.isprintable() else " " for letter in segment.name)
    ElementTree.SubElement(volume, "VolumeType").text = "Label"
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


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
