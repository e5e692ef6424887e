"""Files that the asking program reads once and at once."""

from __future__ import annotations

from pathlib import Path

from ...core.labels import LabelVolume
from ...io.atomic import atomic_path
from ...io.seg_nrrd import write_nrrd
from ...io.volumes import label_file_suffix, write_labels


def write_quickly(volume: LabelVolume, output: Path) -> None:
    """Write a volume, a ``.nrrd`` in a fraction of the time that the best compression takes.

    Raises:
        BadInputError: as ``write_labels``.
    """
    if label_file_suffix(output) != ".nrrd":
        write_labels(volume, output)
        return
    with atomic_path(output) as temporary:
        write_nrrd(volume.in_one_layer(), temporary, write_segments=False, level=1)
