"""From a given mask and an organ template to the refined organ.

Six stages, each a frozen value made of the one before: given, aligned, restored, expected, decided, refined.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.progress import Progress, Stages
from ..distance.combinators import BlendedField
from ..distance.protocol import box_around
from ..image.band import Image
from ..restoration.model import RestorationModel
from ..templates.template import OrganTemplate, TemplateInfo
from .aligned import align
from .decided import decide
from .expected import expect
from .given import given_organ
from .healing import with_taken
from .options import REFINE_PRESETS, RefineOptions
from .refined import RefinedShape, refined_shape
from .restored import restore_organ


def refine(
    mask: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    options: RefineOptions | None = None,
    progress: Stages | None = None,
    force: bool = False,
    restoration: RestorationModel | None = None,
    others: Sequence[TemplateInfo] = (),
    image: Image | None = None,
) -> RefinedShape:
    """Refine one organ.

    Args:
        mask: (K, J, I) bool voxels of the given organ.
        geometry: of the mask.
        template: of that organ, on the device to compute on.
        options: a preset of :data:`options.REFINE_PRESETS` or one's own.
        progress: gets the stages; its cancel check ends the work.
        force: go on although the input does not look like the organ.
        restoration: network that says what of the given organ is to be believed; None leaves that to the fitted field.
        others: templates of organs that the given one might be instead (``template_store.known_templates``).
        image: that was segmented, which then has its say on each suggestion of the network; the surface follows it in
            ``job.with_image`` afterwards.

    Raises:
        BadInputError: the mask is empty or too small.
        ImplausibleError: volume, shape or alignment are far from all training cases, or the organ looks like one of
            the ``others``, and ``force`` is not set.
        CancelledError: the user cancelled.
    """
    options, progress = options or REFINE_PRESETS["standard"], progress or Progress("none")
    progress.stage("surface", 0.0)
    given = given_organ(mask, geometry, options)
    progress.stage("align", 0.1)
    aligned = align(given, template, options, force, others)
    if restoration is not None:
        progress.stage("restore", 0.2)
    restored = restore_organ(aligned, template, restoration, options, image=image)
    expected = expect(restored, template, options, progress)
    return refined_shape(decide(expected, progress))


def with_suggestions(shape: RefinedShape, taken: Collection[int]) -> RefinedShape:
    """The organ with another choice of its suggestions; nothing is aligned, asked or fitted again.

    What an image, other organs or points made of the rest stays.

    Args:
        shape: what :func:`refine` gave.
        taken: numbers of the suggestions to take.

    Raises:
        BadInputError: a number is none of theirs.
    """
    expected = shape.decided.expected
    healed, restored = expected.healed, expected.restored
    known = {entry.number for entry in shape.suggestions.entries} if shape.suggestions else set()
    unknown = sorted(set(taken) - known)
    if unknown:
        raise BadInputError(
            "There is no suggestion {number}",
            "choose from {known}" if known else "there are none for this organ",
            "suggestion.unknown",
            number=unknown[0],
            known=", ".join(map(str, sorted(known))),
        )
    if healed is None or healed.suggestions is None:
        return shape
    chosen = frozenset(taken)
    if chosen == shape.taken and shape.distance is not shape.field:
        return shape
    healed = with_taken(restored.given.grid, healed.restoration, healed.suggestions, chosen, restored.truncation)
    other = refined_shape(decide(replace(expected, healed=healed), Progress("none")))
    other = replace(other, clicked=shape.clicked, included=shape.included, excluded=shape.excluded)
    if shape.distance is shape.field:
        return other
    distance = BlendedField(shape.distance, other.distance, healed.suggestions.weight(chosen ^ shape.taken))
    return replace(other, distance=distance, bounds_ras=box_around(shape.bounds_ras, other.bounds_ras))
