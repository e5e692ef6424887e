"""Which organ the panel proposes for a segment."""

from __future__ import annotations

from ReShapeITSlicer.library import addLibraryToPath


def proposedOrgan(name: str, terminologyEntry: str = "", knownOrgans=()) -> str | None:
    """The library's answer (core/organ_names.py), which needs none of the packages that the panel installs.

    :param name: what the user reads as the segment's name.
    :param terminologyEntry: the segment's terminology tag as Slicer serialises it, may be empty.
    :param knownOrgans: names of templates; one that is the segment's name letter for letter is taken too.
    """
    addLibraryToPath()
    from ReShapeITLib.core.organ_names import recognised_organ

    return recognised_organ(name, terminologyEntry, known=knownOrgans)
