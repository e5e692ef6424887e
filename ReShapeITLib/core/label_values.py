"""Which voxel values are labels: what is rounded to integers, and what probabilities and images are told."""

from __future__ import annotations

import numpy as np

from .errors import BadInputError
from .label_scan import nonzero_values

NEAR_INTEGER = 1e-3  # what scaling by a 32-bit slope leaves of a label
# An image has many values, and neighbours differ; atlases have some hundred labels in solid parts. Below these numbers
# of values nothing is looked at: labels are hardly ever negative.
_FEW_LABELS, _FEW_WITH_NEGATIVE = 32, 8
_MOST_BETWEEN_LABELS = 0.5  # share of fractional voxels up to which whole ones are labels
_TYPES = (np.uint8, np.int16, np.uint16, np.int32)


def integer_labels(array: np.ndarray, source: str, scale: tuple[float, float] = (1.0, 0.0)) -> np.ndarray:
    """``array * slope + intercept`` as integers: integers stay as they are, others get the smallest fitting type.

    Args:
        array: (K, J, I) or any other shape; booleans, integers or floats.
        source: how messages name the file.
        scale: slope and intercept of stored values.

    Raises:
        BadInputError: there are NaN, infinite or fractional values (more than 0.001 from an integer).
    """
    array = np.asarray(array)
    if scale == (1.0, 0.0):
        if np.issubdtype(array.dtype, np.integer):
            return array
        if array.dtype == bool:
            return array.astype(np.uint8)
    low, high = _checked_range(array, source, scale)
    for dtype in _TYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            labels = np.empty(array.shape, dtype)
            for given, made in zip(_sections(array), _sections(labels), strict=True):
                made[...] = np.rint(_scaled(given, scale))
            return labels
    raise BadInputError(
        "{input} holds values up to {value}, too large for labels",
        "give a label map",
        "labels.too_large",
        input=source,
        value=f"{max(-low, high):g}",
    )


def check_no_image(layer: np.ndarray, source: str) -> None:
    """Refuse (K, J, I) integers that are intensities: more values than labels, and neighbours that differ.

    Raises:
        BadInputError: they are.
    """
    if layer.size < 2:
        return
    low, high = int(layer.min()), int(layer.max())
    few = _FEW_WITH_NEGATIVE if low < 0 else _FEW_LABELS
    if high - low <= few:
        return
    values = nonzero_values(layer)
    if len(values) <= few:
        return
    background = min(0, values[0])  # air of a CT
    pairs = differing = 0
    for section in layer:
        left, right = section[:, :-1], section[:, 1:]
        within = (left != background) & (right != background)
        pairs += int(np.count_nonzero(within))
        differing += int(np.count_nonzero(within & (left != right)))
    if 2 * differing > pairs:
        raise image_error(source, values[0], values[-1], len(values))


def image_error(source: str, low: float, high: float, count: int | None = None) -> BadInputError:
    """What to raise where a file holds intensities."""
    many = f"{count} different values" if count else "fractional values"
    return BadInputError(
        "{input} holds {many} from {low} to {high}: this is an image, not a label map",
        "give the segmentation of the image",
        "labels.image",
        input=source,
        many=many,
        low=f"{low:g}",
        high=f"{high:g}",
    )


def probabilities_error(source: object) -> BadInputError:
    """What to raise where a file holds probabilities and no threshold is given."""
    return BadInputError(
        "{input} holds fractional values from 0 to 1, probabilities and not labels",
        "give --threshold P to make a label map of them (0.5, for example)",
        "labels.probabilities",
        input=source,
    )


def _checked_range(array: np.ndarray, source: str, scale: tuple[float, float]) -> tuple[float, float]:
    """Least and largest value, where all values are close to integers."""
    if not array.size:
        return 0.0, 0.0
    low, high, fractional, not_zero = np.inf, -np.inf, 0, 0
    for section in _sections(array):
        values = _scaled(section, scale)
        if not np.isfinite(values).all():
            raise BadInputError(
                "{input} holds NaN or infinite values",
                "give a label map (integer values)",
                "labels.not_finite",
                input=source,
            )
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        fractional += int(np.count_nonzero(np.abs(values - np.rint(values)) > NEAR_INTEGER))
        not_zero += int(np.count_nonzero(values))
    if fractional and low >= -NEAR_INTEGER and high <= 1 + NEAR_INTEGER:
        raise probabilities_error(source)
    if fractional > _MOST_BETWEEN_LABELS * not_zero or (fractional and low < 0):
        raise image_error(source, low, high)
    if fractional:
        raise BadInputError(
            "{input} holds fractional values between its labels, as after resampling with interpolation",
            "resample the labels again, with nearest neighbour",
            "labels.interpolated",
            input=source,
        )
    return round(low), round(high)


def _sections(array: np.ndarray) -> np.ndarray:
    """The array by its first axis, so that nothing of a scan's size is made in floats."""
    return array if array.ndim > 1 else array[None]


def _scaled(section: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Stored values as the header scales them, in 64-bit floats."""
    values: np.ndarray = section.astype(np.float64)
    return values if scale == (1.0, 0.0) else values * scale[0] + scale[1]
