"""The organ templates there are and their licences, read without torch: only the description in a file is looked at."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

_LARGEST_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class TemplateEntry:
    """One template.

    :param name: of the file, and what the command line calls it.
    :param organ: TotalSegmentator's name.
    :param licence: SPDX name of the licence of the weights.
    :param cases: number of training cases.
    :param source: the data sets the cases come from.
    """

    name: str
    organ: str
    licence: str
    cases: int
    source: str

    @property
    def nonCommercial(self) -> bool:
        """True where the licence forbids commercial use."""
        return "-NC" in self.licence.upper().replace(" ", "-")

    @property
    def title(self) -> str:
        """For people: "lung upper lobe right"."""
        return self.name.replace("_", " ")


def templateEntries(files: dict[str, Path]) -> list[TemplateEntry]:
    """What the template files say about themselves; files that are not templates are left out.

    :param files: template files by name, as ``ReShapeITLib.template_store.available_templates`` lists them.
    """
    entries = []
    for name, path in files.items():
        description = _description(path)
        if description:
            entries.append(
                TemplateEntry(
                    name,
                    str(description.get("organ", name)),
                    str(description.get("licence", "")),
                    len(description.get("cases", ())),
                    str(description.get("source", "")),
                )
            )
    return entries


def _description(path: Path) -> dict | None:
    """The JSON text in the header of a safetensors file: eight bytes of length, then JSON."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LARGEST_HEADER_BYTES:
                return None
            header = json.loads(file.read(length))
        description = json.loads(header["__metadata__"]["template"])
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return description if isinstance(description, dict) else None
