"""Labels from probabilities: of one organ, of several classes, and of nnU-Net's .npz files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError, Notice

_KEYS = ("probabilities", "softmax")  # nnU-Net v2 and v1
_SUM_TOLERANCE = 0.02  # of classes that exclude each other, in half precision


def labels_of_probabilities(values: np.ndarray, threshold: float, source: str) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Labels (K, J, I) of probabilities, and what to tell.

    Args:
        values: (K, J, I) of one organ, which becomes label 1; or (class, K, J, I), where each voxel gets its most
            likely class if that reaches the threshold. Classes that sum to 1 start with the background; others with
            label 1.
        threshold: in 0..1.
        source: how messages name the file.

    Raises:
        BadInputError: values or threshold lie outside 0..1, or are NaN.
    """
    if not 0.0 < threshold <= 1.0:
        words, hint = "The threshold {threshold} is not above 0 and at most 1", "give 0.5, for example"
        raise BadInputError(words, hint, "threshold.range", threshold=threshold)
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN neither
        raise BadInputError(
            "{input} holds values from {low} to {high}, no probabilities",
            "leave out --threshold",
            "threshold.no_probabilities",
            input=source,
            low=f"{low:g}",
            high=f"{high:g}",
        )
    if values.ndim == 3:
        return (values >= threshold).astype(np.uint8), ()
    total = values.sum(axis=0, dtype=np.float32)
    first = 0 if np.abs(total - 1.0).max() <= _SUM_TOLERANCE and len(values) > 1 else 1
    best = values.argmax(axis=0)
    labels = np.where(values.max(axis=0) >= threshold, best + first, 0)
    words = "{input} holds {count} classes; " + (
        "they sum to 1, so the first is the background and the next is label 1."
        if first == 0
        else "they do not sum to 1, so the first is label 1."
    )
    told = Notice(words, "threshold.classes", input=source, count=len(values))
    return labels.astype(np.min_scalar_type(len(values))), (told,)


def read_npz(path: Path) -> np.ndarray:
    """Probabilities (class, K, J, I) of a .npz file of nnU-Net.

    Raises:
        BadInputError: the file is damaged or holds no such array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            key = next((key for key in _KEYS if key in arrays.files), None)
            values: np.ndarray | None = None if key is None else arrays[key]
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        words, hint = "{input} is damaged or no .npz file", "export it again"
        raise BadInputError(words, hint, "npz.damaged", input=path) from error
    if values is None or values.ndim != 4 or values.dtype.kind != "f":
        raise BadInputError(
            "{input} holds no probabilities of nnU-Net (an array 'probabilities' or 'softmax', classes first)",
            "run nnU-Net with --save_probabilities",
            "npz.no_probabilities",
            input=path,
        )
    return values


def check_shape(values: np.ndarray, shape_kji: tuple[int, int, int], source: object, reference: object) -> None:
    """Refuse probabilities (..., K, J, I) that do not lie on the grid of their reference image.

    Raises:
        BadInputError: they do not.
    """
    if values.shape[-3:] == shape_kji:
        return
    raise BadInputError(
        "{input} has {found} voxels and {reference} has {wanted}",
        "give the image that the network was run on",
        "reference.other_size",
        input=source,
        reference=reference,
        found=" x ".join(map(str, values.shape[:-4:-1])),
        wanted=" x ".join(map(str, shape_kji[::-1])),
    )
