"""A case with all that the page shows of it."""

from __future__ import annotations

from dataclasses import dataclass

from .cases import ReviewCase
from .measures import Measures


@dataclass(frozen=True)
class Reviewed:
    """A case with all that the page shows of it.

    Args:
        case, measures: the organ and its numbers.
        trouble: why there are no pictures, or no result; "" where all went well.
        thumbnail, surfaces, slices: data URIs; "" where there is no such picture.
        detailed: the case has a section of its own.
    """

    case: ReviewCase
    measures: Measures
    trouble: str = ""
    thumbnail: str = ""
    surfaces: str = ""
    slices: str = ""
    detailed: bool = True

    @property
    def status(self) -> str:
        """failed: there is no result, or it cannot be shown; check: the input may not be the organ; done."""
        if self.trouble:
            return "failed"
        return "check" if self.measures.problems else "done"
