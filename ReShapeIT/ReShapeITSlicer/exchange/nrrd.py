"""Segmentations and images as NRRD files, as small as the exchange with the engine needs.

Slicer's own writers want nodes in a scene, which must not change while a refinement runs.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import RefinementError

_TYPES = {
    "unsigned char": "u1",
    "uchar": "u1",
    "uint8": "u1",
    "signed char": "i1",
    "int8": "i1",
    "short": "i2",
    "int16": "i2",
    "unsigned short": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "unsigned int": "u4",
    "uint32": "u4",
}
_NAMES = {
    "u1": "uint8",
    "i1": "int8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}
DAMAGED = "The refined voxels cannot be read ({}); is the disk full?"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def writeSegments(path, layers: list[np.ndarray], ijkToRas: np.ndarray, segments: Mapping[str, tuple[int, int]]):
    """Write masks.

    :param layers: (K, J, I) uint8 arrays.
    :param ijkToRas: (4, 4).
    :param segments: (layer, label value) by segment id.
    :raises OSError: the file cannot be written.
    """
    size, several = layers[0].shape[::-1], len(layers) > 1
    sizes = (len(layers), *size) if several else size
    lines = _header("unsigned char", sizes, ijkToRas)
    for index, (segmentId, (layer, value)) in enumerate(segments.items()):
        fields = {"ID": segmentId, "Name": segmentId, "Layer": layer, "LabelValue": value, "Tags": ""}
        lines += [f"Segment{index}_{name}:={text}" for name, text in fields.items()]
    # Layers are the fastest axis; a slice at a time, since a grid may be large.
    slabs = (np.stack([layer[k] for layer in layers], axis=-1).astype(np.uint8) for k in range(size[2]))
    _write(path, lines, slabs)


def writeVolume(path, voxels: np.ndarray, ijkToRas: np.ndarray) -> None:
    """Write an image.

    :param voxels: (K, J, I) numbers of any type.
    :param ijkToRas: (4, 4).
    :raises OSError: the file cannot be written.
    """
    kind = voxels.dtype.newbyteorder("<")
    lines = [*_header(_NAMES[kind.str[1:]], voxels.shape[::-1], ijkToRas), "endian: little"]
    _write(path, lines, (voxels[k].astype(kind, copy=False) for k in range(len(voxels))))


def _header(kind: str, sizes: tuple[int, ...], ijkToRas: np.ndarray) -> list[str]:
    """First lines of a file; sizes with the layers in front where there are several."""
    ijkToLps = _LPS @ np.asarray(ijkToRas, dtype=float)
    layers, vectors = len(sizes) - 3, [_vector(ijkToLps[:3, axis]) for axis in range(3)]
    return [
        "NRRD0004",
        f"type: {kind}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(['none'] * layers + vectors)}",
        f"kinds: {'list ' * layers}domain domain domain",
        "encoding: raw",
        f"space origin: {_vector(ijkToLps[:3, 3])}",
    ]


def _write(path, lines: list[str], slabs: Iterable[np.ndarray]) -> None:
    with open(path, "wb") as stream:
        stream.write(("\n".join(lines) + "\n\n").encode())
        stream.writelines(np.ascontiguousarray(slab).tobytes() for slab in slabs)
        stream.flush()
        os.fsync(stream.fileno())  # a full disk shows here at the latest


def readSegments(path) -> dict[str, np.ndarray]:
    """(K, J, I) bool mask of each segment id.

    :raises RefinementError: the file is missing or damaged.
    """
    array, values = _read(path)
    array = array if array.ndim == 4 else array[..., None]
    masks, index = {}, 0
    try:
        while f"Segment{index}_ID" in values:
            layer, label = (int(values[f"Segment{index}_{name}"]) for name in ("Layer", "LabelValue"))
            masks[values[f"Segment{index}_ID"]] = array[..., layer] == label
            index += 1
    except (KeyError, ValueError, IndexError) as error:
        raise RefinementError(DAMAGED.format(error)) from error
    return masks


def readVoxels(path) -> np.ndarray:
    """(K, J, I) numbers of a file with one layer.

    :raises RefinementError: the file is missing or damaged.
    """
    array, _values = _read(path)
    return array if array.ndim == 3 else array[..., 0]


def _read(path) -> tuple[np.ndarray, dict[str, str]]:
    """Voxels, layers last where there are several, and the values that are kept beside them."""
    try:
        data = Path(path).read_bytes()
        head, _blank, body = data.partition(b"\n\n")
        lines = head.decode("utf-8", "replace").splitlines()
        values = dict(line.split(":=", 1) for line in lines if ":=" in line)
        fields = dict(line.split(": ", 1) for line in lines if ": " in line and ":=" not in line)
        if fields["encoding"] in ("gzip", "gz"):
            body = gzip.decompress(body)
        order = ">" if fields.get("endian") == "big" else "<"
        sizes = [int(n) for n in fields["sizes"].split()]
        return np.frombuffer(body, np.dtype(order + _TYPES[fields["type"]])).reshape(sizes[::-1]), values
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise RefinementError(DAMAGED.format(error)) from error


def _vector(values) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
