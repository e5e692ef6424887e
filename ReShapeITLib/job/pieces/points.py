"""Points of files in a job: each is about the organ that it lies deepest in, or nearest to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...image.reading import read_image
from ..inputs.markups import read_points

if TYPE_CHECKING:
    from ...refinement.refined import RefinedShape
    from ..request import RefineJob

Label = int | str


@dataclass(frozen=True, eq=False)
class JobPoints:
    """(N, 3) RAS mm: points of organs, and points that are no organ.

    Args:
        include, exclude: empty where there are none.
    """

    include: np.ndarray
    exclude: np.ndarray

    @classmethod
    def of(cls, job: RefineJob) -> JobPoints:
        """Those of the job's files.

        Raises:
            BadInputError: a file cannot be read.
        """
        none = np.zeros((0, 3))
        return cls(*(read_points(file) if file else none for file in (job.include, job.exclude)))

    def applied(self, shapes: Mapping[Label, RefinedShape], job: RefineJob) -> dict[Label, RefinedShape]:
        """The organs with the points on their sides.

        Raises:
            BadInputError: points contradict each other, or lie far from the organs.
        """
        if not shapes or not len(self.include) + len(self.exclude):
            return dict(shapes)
        from ...refinement.clicks.points import with_points

        image = read_image(job.image) if job.image else None
        about = [_nearest(shapes, points) for points in (self.include, self.exclude)]
        changed = {}
        for number, (label, shape) in enumerate(shapes.items()):
            inside, outside = self.include[about[0] == number], self.exclude[about[1] == number]
            changed[label] = with_points(shape, inside, outside, image)
        return changed


def _nearest(shapes: Mapping[Label, RefinedShape], points: np.ndarray) -> np.ndarray:
    """(N,) number of the organ that each point is about."""
    if not len(points):
        return np.zeros(0, dtype=int)
    distances = np.stack([shape.sdf_mm(points) for shape in shapes.values()])
    return np.asarray(distances.argmin(axis=0))
