"""Nothing as large as an organ changes without a word: what is asked of a volume's labels before and after they are
refined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import ImplausibleError, Notice
from ...core.geometry import box_of_boxes
from ...core.labels import LabelVolume
from ...core.organs import ORGANS
from ...templates.store import known_templates
from .likeness import KnownOrgans
from .parts import Label, MisplacedPiece, misplaced_pieces, with_piece_moved
from .removed import organ_sized_change
from .sides import OF_BOTH_SIDES, side_problems

if TYPE_CHECKING:
    from ...refinement.refined import RefinedShape
    from ..request import RefineJob


class Guard:
    """Asks of the labels of one volume whether sides and pieces are as the templates say.

    Args:
        volume: as given.
        files: template of each label that is refined.
        job: with the options: ``relabel`` moves stray pieces, ``force`` turns complaints into notices.
        notice: called with sentences for the user.
        parts: (K, J, I) bool voxels that belong to a label's organ whatever its shape, by label.

    Attributes:
        volume: with stray pieces moved; what is to be refined.
    """

    def __init__(
        self,
        volume: LabelVolume,
        files: Mapping[Label, Path],
        job: RefineJob,
        notice: Callable[[str], None],
        parts: Mapping[Label, np.ndarray],
    ):
        from ...templates.template import read_info

        self._job, self._notice, self._parts = job, notice, parts
        self._known = KnownOrgans(known_templates())
        self._organs = {label: read_info(file)[0].organ for label, file in files.items()}
        pieces = [] if job.sparse else misplaced_pieces(volume, self._organs, self._known)
        if job.relabel:
            for piece in pieces:
                volume = with_piece_moved(volume, piece)
                notice(piece.moved(volume.source))
        self.volume = volume
        self._problems = {} if job.sparse else side_problems(volume, self._organs, self._known)
        wrong_sides = [label for label, error in self._problems.items() if error.code in OF_BOTH_SIDES]
        if not job.relabel:
            # Of labels on the wrong side no piece can be said to be another's.
            astray = [p for p in pieces if not (p.label in wrong_sides or self._share_a_whole(p))]
            self._problems |= {p.label: p.error(volume.source) for p in astray}

    def before(self, label: Label) -> None:
        """Complain about a label before it is refined.

        Raises:
            ImplausibleError: sides are swapped, or a piece belongs to another organ, and ``job.force`` is not set.
        """
        if label in self._problems:
            self._complain(self._problems[label])

    def after(self, label: Label, shape: RefinedShape) -> RefinedShape:
        """The refined organ with the parts that belong to it.

        Raises:
            ImplausibleError: a piece as large as an organ came or went, and ``job.force`` is not set.
        """
        from ...refinement.several_organs.agreement import agreeing

        geometry, name = self.volume.geometry, self._organs[label]
        boxes = [self.volume.extent(label)[0], geometry.box_around(shape.bounds_ras)]
        k, j, i = box_of_boxes(boxes)
        part = self.volume.cropped((k, j, i))
        given, refined = part.mask(label), shape.mask(part.geometry)
        if label in self._parts:
            whole = refined | self._parts[label][k, j, i]
            shape = agreeing(shape, refined, whole, part.geometry)
            refined = whole
        # What a part of a whole gives up its neighbour takes; a sparse annotation is completed, not changed.
        if not self._job.sparse and not (len(self._organs) > 1 and _whole(name)):
            error = organ_sized_change(given, refined, part.geometry, self._known, name, label, self.volume.source)
            if error is not None:
                self._complain(error)
        return shape

    def _share_a_whole(self, piece: MisplacedPiece) -> bool:
        """Whether both labels are parts of a whole, whose borders the refinement moves anyway."""
        whole = _whole(self._organs[piece.label])
        return bool(whole) and whole == _whole(piece.owner_organ)

    def _complain(self, error: ImplausibleError) -> None:
        if not self._job.force:
            raise error
        self._notice(
            Notice("{problem}; it is refined all the same.", "forced", problem=error.message, error=error.code)
        )


def _whole(organ: str) -> str:
    return ORGANS[organ].part_of if organ in ORGANS else ""
