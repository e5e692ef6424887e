"""NRRD headers: exact geometry, Slicer's segment fields, and the writer.

SimpleITK decodes the voxels but splits the affine into direction and spacing (losing the last bit), writes layers
with another kind than Slicer, and tells nothing about missing fields; slicerio drops every letter outside ASCII. The
header is plain text, so it is read and written here.
Format: http://teem.sourceforge.net/nrrd/format.html; segment fields as 3D Slicer writes them.
"""

from __future__ import annotations

import gzip
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import LPS_TO_RAS, ImageGeometry
from ..core.labels import LabelVolume, Segment

_TYPE_NAMES = {
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long int",
    "uint64": "unsigned long long int",
}
_SIGNS_TO_RAS = {"LPS": (-1, -1, 1), "RAS": (1, 1, 1), "LAS": (-1, 1, 1)}
_SKIPPING = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}
_CHUNK_BYTES = 1 << 24
# ITK writes over its own memory where it complains about a long field that it does not know, so it never sees one.
_FIELDS = {
    "content",
    "number",
    "type",
    "block size",
    "blocksize",
    "dimension",
    "space",
    "space dimension",
    "sizes",
    "spacings",
    "thicknesses",
    "axis mins",
    "axismins",
    "axis maxs",
    "axismaxs",
    "space directions",
    "centers",
    "centerings",
    "kinds",
    "labels",
    "units",
    "min",
    "max",
    "old min",
    "oldmin",
    "old max",
    "oldmax",
    "endian",
    "encoding",
    "line skip",
    "lineskip",
    "byte skip",
    "byteskip",
    "sample units",
    "sampleunits",
    "space units",
    "space origin",
    "measurement frame",
    "data file",
    "datafile",
}
_LONGEST_FIELD = 1000
_SEGMENT_KEY = re.compile(r"Segment(\d+)_(.+)")


@dataclass(frozen=True)
class NrrdHeader:
    """A parsed header: ``fields`` by lower-case name, free ``key_values`` (both as text), and its length."""

    fields: dict[str, str]
    key_values: dict[str, str]
    header_bytes: int


def read_header(path: Path) -> NrrdHeader:
    """Read the text part of a NRRD file.

    Raises:
        BadInputError: the file is no NRRD file or ends within the header.
    """
    fields: dict[str, str] = {}
    key_values: dict[str, str] = {}
    with open(path, "rb") as stream:
        if not stream.readline(80).startswith(b"NRRD000"):
            raise BadInputError(
                "{input} is not a NRRD file", "export it again or correct its file extension", "nrrd.none", input=path
            )
        for raw in stream:
            # surrogateescape: bytes of another encoding come out again as they came in
            line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if not line:
                break
            if line.startswith("#"):
                continue
            name, colon, value = line.partition(":")
            if value.startswith("="):
                key_values[_unescape(name)] = _unescape(value[1:])
                continue
            if not colon or name.strip().lower() not in _FIELDS or len(line) > _LONGEST_FIELD:
                raise BadInputError(
                    "{input} has an unknown field in its NRRD header, {field!r}",
                    "export it again",
                    "nrrd.field",
                    input=path,
                    field=line[:40],
                )
            fields[name.strip().lower()] = value.strip()
        header_bytes = stream.tell()
    if "sizes" not in fields:
        raise BadInputError("{input} has an incomplete NRRD header", "export it again", "nrrd.incomplete", input=path)
    return NrrdHeader(fields, key_values, header_bytes)


def header_affine_ras(header: NrrdHeader) -> np.ndarray | None:
    """(4, 4) ijk -> RAS mm exactly as the header gives it, or None where it has no 3D space directions.

    Raises:
        ValueError: the vectors are not three finite, independent ones.
    """
    columns = [_vector(text) for text in re.findall(r"\(([^)]*)\)", header.fields.get("space directions", ""))]
    if any(len(column) != 3 for column in columns) or not columns:
        return None
    origin = re.findall(r"\(([^)]*)\)", header.fields.get("space origin", "(0,0,0)"))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T
    matrix[:3, 3] = _vector(origin[0])
    signs = np.array([_axis_signs(header.fields.get("space", ""))]).T
    matrix[:3] = matrix[:3] * signs + 0.0  # + 0.0 turns -0.0 into 0.0
    return ImageGeometry(matrix, (1, 1, 1)).ijk_to_ras  # its checks are the ones wanted here


def check_data(header: NrrdHeader, path: Path) -> None:
    """Decompress gzip voxels once, because ITK ignores their checksum.

    Raises:
        OSError, EOFError, zlib.error: they are damaged.
    """
    if header.fields.get("encoding", "").lower() not in ("gz", "gzip") or _SKIPPING & set(header.fields):
        return
    with open(path, "rb") as stream:
        stream.seek(header.header_bytes)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            while unpacked.read(_CHUNK_BYTES):
                pass


def _vector(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _axis_signs(space: str) -> tuple[int, int, int]:
    """Signs that take coordinates of a NRRD space to RAS; like ITK, spaces other than RAS and LAS count as LPS."""
    initials = "".join(word[0] for word in space.split("-") if word).upper() if "-" in space else space.upper()
    return _SIGNS_TO_RAS.get(initials[:3], _SIGNS_TO_RAS["LPS"])


def segments_from_header(key_values: dict[str, str], layer_count: int) -> tuple[list[Segment], dict[str, str]]:
    """The segments a header describes, and the key/value pairs that describe none.

    Files from before Slicer 4.11 give no layer and label: there every segment is a layer of its own with label 1.
    """
    fields: dict[int, dict[str, str]] = {}
    others = {}
    for key, value in key_values.items():
        match = _SEGMENT_KEY.fullmatch(key)
        if match:
            fields.setdefault(int(match[1]), {})[match[2]] = value
        else:
            others[key] = value
    one_each = layer_count == len(fields) and not any("Layer" in f for f in fields.values())
    segments = []
    for index in sorted(fields):
        extra = dict(fields[index])
        segment_id = extra.pop("ID", f"Segment_{index + 1}")
        segments.append(
            Segment(
                label=int(extra.pop("LabelValue", 1)),
                name=extra.pop("Name", segment_id),
                id=segment_id,
                color=tuple(float(c) for c in extra.pop("Color").split()) if "Color" in extra else None,
                layer=int(extra.pop("Layer", index if one_each else 0)),
                tags=_parse_tags(extra.pop("Tags", "")),
                extra=extra,
            )
        )
    return segments, others


def _parse_tags(text: str) -> dict[str, str]:
    pairs = (tag.partition(":") for tag in text.split("|") if tag)
    return {key: value for key, _, value in pairs}


def write_nrrd(volume: LabelVolume, path: Path, write_segments: bool = True, level: int = 6) -> None:
    """Write ``volume`` to ``path``: gzip, geometry to the last bit, several layers as Slicer's list axis.

    ``level`` is gzip's: 1 is several times faster, for files that are read once.
    """
    layers = volume.layers
    voxels = layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)
    lines = ["NRRD0004", "# http://teem.sourceforge.net/nrrd/format.html", *_grid_lines(volume, voxels)]
    if write_segments:
        for index, segment in enumerate(volume.segments):
            lines += [_key_value(f"Segment{index}_{k}", v) for k, v in sorted(_segment_fields(volume, segment).items())]
        defaults = {
            "Segmentation_MasterRepresentation": "Binary labelmap",
            "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
            "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        }
        lines += [_key_value(k, v) for k, v in sorted({**defaults, **volume.header}.items())]
    else:
        lines += [_key_value(k, v) for k, v in volume.header.items()]
    with open(path, "wb") as stream:
        stream.write("\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        with gzip.GzipFile("", "wb", level, stream, mtime=0) as packed:
            packed.write(np.ascontiguousarray(voxels).data)


def _grid_lines(volume: LabelVolume, voxels: np.ndarray) -> list[str]:
    """Header fields that say what the voxels are and where they lie, in LPS mm."""
    lps = LPS_TO_RAS @ volume.geometry.ijk_to_ras + 0.0
    vectors = ["(" + ",".join(repr(float(x)) for x in lps[:3, c]) + ")" for c in range(4)]
    layered = voxels.ndim == 4
    return [
        f"type: {_TYPE_NAMES[voxels.dtype.name]}",
        f"dimension: {voxels.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in voxels.shape[::-1]),
        "space directions: " + "none " * layered + " ".join(vectors[:3]),
        "kinds: " + "list " * layered + "domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]


def _segment_fields(volume: LabelVolume, segment: Segment) -> dict[str, str]:
    """The ``Segment<n>_`` fields of one segment, without the prefix."""
    fields = dict(segment.extra)
    fields["ID"] = segment.id
    fields["Name"] = segment.name
    fields["LabelValue"] = str(segment.label)
    fields["Layer"] = str(segment.layer)
    fields["Tags"] = "".join(f"{key}:{value}|" for key, value in segment.tags.items())
    fields["Extent"] = _extent(volume, segment)
    if segment.color is not None:
        fields["Color"] = " ".join(repr(float(c)) for c in segment.color)
    return fields


def _extent(volume: LabelVolume, segment: Segment) -> str:
    """First and last index along i, j, k; the file's own where it still holds all voxels (Slicer crops to it)."""
    full = [n for size in volume.geometry.size_ijk for n in (0, size - 1)]
    try:
        stored = [int(n) for n in segment.extra["Extent"].split()]
        (i0, i1, j0, j1, k0, k1) = stored
    except (KeyError, ValueError):
        return " ".join(map(str, full))
    outside = volume.layers[segment.layer] == segment.label
    if min(i0, j0, k0) >= 0:
        outside[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = False
    return " ".join(map(str, full if outside.any() else stored))


def _key_value(key: str, value: str) -> str:
    return f"{_escape(key)}:={_escape(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\n])", lambda match: "\n" if match[1] == "n" else "\\", text)
