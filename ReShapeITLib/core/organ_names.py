"""Which organ a segment is, from its terminology code, its name or a list of the user's.

Codes count before names, because people rename segments. A name is taken only where every word of it is understood: a
"liver tumor" is not a liver, and naming a template by hand costs less than overlooking a wrong one.

Only the standard library is imported here: Slicer's panel asks before ReShapeITLib's requirements are installed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .organs import ORGANS

_GENERIC_TYPES = {"85756007", "113343008", "91723000", "123037004"}  # tissue, organ, anatomical structure (both codes)
_ALTERED_STRUCTURE = "49755003"
_SIDES_BY_CODE = {"24028007": "right", "7771000": "left", "G-A100": "right", "G-A101": "left"}

# SNOMED CT, as TotalSegmentator, MONAI and Slicer's terminologies write them: with the side in the modifier, or
# with codes that hold the side themselves.
_ORGANS_BY_CODE = {organ.snomed_code: organ.name for organ in ORGANS.values()}
_PAIRS_BY_CODE = {"64033007": "kidney_{}", "45653009": "lung_upper_lobe_{}", "90572001": "lung_lower_lobe_{}"}

_WORDS = {
    "liver": "liver",
    "pancreas": "pancreas",
    "spleen": "spleen",
    "kidney": "kidney",
    "kid": "kidney",
    "left": "left",
    "l": "left",
    "lt": "left",
    "right": "right",
    "r": "right",
    "rt": "right",
    "upper": "upper",
    "superior": "upper",
    "middle": "middle",
    "lower": "lower",
    "inferior": "lower",
    "lobe": "lobe",
    "lung": "lung",
}
_ABBREVIATIONS = {
    "rul": "right upper lobe",
    "rml": "right middle lobe",
    "rll": "right lower lobe",
    "lul": "left upper lobe",
    "lll": "left lower lobe",
    "lkid": "left kidney",
    "rkid": "right kidney",
    "lkidney": "left kidney",
    "rkidney": "right kidney",
}
# Not "segment": a liver segment is a part of the liver.
_FILLERS = {
    "of",
    "the",
    "organ",
    "structure",
    "entire",
    "whole",
    "segmentation",
    "seg",
    "label",
    "mask",
    "auto",
    "ai",
    "predicted",
    "prediction",
    "pred",
    "manual",
    "final",
    "copy",
    "refined",
    "corrected",
    "draft",
}


# Number and name of the organs in TotalSegmentator's task "total"; all other classes up to the highest number are none.
CLASS_MAPS: Mapping[str, Mapping[str, str]] = {
    "totalsegmentator-v1": {
        "1": "spleen",
        "2": "kidney_right",
        "3": "kidney_left",
        "5": "liver",
        "10": "pancreas",
        "13": "lung_upper_lobe_left",
        "14": "lung_lower_lobe_left",
        "15": "lung_upper_lobe_right",
        "16": "lung_middle_lobe_right",
        "17": "lung_lower_lobe_right",
    },
    "totalsegmentator-v2": {
        "1": "spleen",
        "2": "kidney_right",
        "3": "kidney_left",
        "5": "liver",
        "7": "pancreas",
        "10": "lung_upper_lobe_left",
        "11": "lung_lower_lobe_left",
        "12": "lung_upper_lobe_right",
        "13": "lung_middle_lobe_right",
        "14": "lung_lower_lobe_right",
    },
}
HIGHEST_CLASS = {"totalsegmentator-v1": 104, "totalsegmentator-v2": 117}


def recognised_organ(
    name: str,
    terminology_tag: str = "",
    user_names: Mapping[str, str] | None = None,
    *,
    label: int | None = None,
    known: Collection[str] = (),
) -> str | None:
    """TotalSegmentator's name of the organ, or None where it cannot be told for sure.

    Args:
        name: what the user reads as the segment's name.
        terminology_tag: the segment's tag ``TerminologyEntry`` as Slicer serialises it, may be empty.
        user_names: organ by name or label number, as the user or a model's class map says it; goes before all else.
            What it names without an organ ("") is none.
        label: number of the segment's voxels, looked up in ``user_names``.
        known: names of templates; one that is the segment's name letter for letter is taken too.
    """
    for key in (name.strip(), "" if label is None else str(label)):
        if user_names and key and key in user_names:
            return _by_name(user_names[key], known)
    category, kind, modifier = _codes(terminology_tag)
    if _plain(name) in known:
        return _plain(name)
    if category[0] == _ALTERED_STRUCTURE:
        return None
    if not kind[0] or kind[0] in _GENERIC_TYPES:
        return _organ_of_words(_words(name))
    if kind[0] in _ORGANS_BY_CODE:
        return _ORGANS_BY_CODE[kind[0]]
    if kind[0] in _PAIRS_BY_CODE:
        side = _SIDES_BY_CODE.get(modifier[0]) if modifier[0] else _side_of_words(_words(name))
        return _PAIRS_BY_CODE[kind[0]].format(side) if side else None
    # Another coding scheme: what the code means is written beside it.
    return _organ_of_words(_words(f"{modifier[1]} {kind[1]}"))


def _by_name(name: str, known: Collection[str]) -> str | None:
    return _plain(name) if _plain(name) in known else _organ_of_words(_words(name))


def _codes(terminology_tag: str) -> list[tuple[str, str]]:
    """Code and meaning of category, type and type modifier; empty texts where they are absent."""
    parts = terminology_tag.split("~")[1:4]
    triples = [(part.split("^") + ["", "", ""])[:3] for part in parts + [""] * (3 - len(parts))]
    return [(code, meaning) for _, code, meaning in triples]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _words(name: str) -> list[str]:
    """Lower-case words; CamelCase is taken apart, numbers and abbreviations are resolved."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = [_ABBREVIATIONS.get(word, word) for word in re.split(r"[^a-z]+", apart) if word]
    return " ".join(words).split()


def _side_of_words(words: list[str]) -> str | None:
    sides = {_WORDS.get(word) for word in words} & {"left", "right"}
    return sides.pop() if len(sides) == 1 else None


def _organ_of_words(words: list[str]) -> str | None:
    words = [word for word in words if word not in _FILLERS]
    meanings = {_WORDS.get(word) for word in words}
    if None in meanings:
        return None
    sides, rest = meanings & {"left", "right"}, meanings - {"left", "right"}
    if not sides and len(rest) == 1 and rest <= {"liver", "pancreas", "spleen"}:
        return rest.pop()
    if len(sides) != 1:
        return None
    (side,) = sides
    if rest == {"kidney"}:
        return f"kidney_{side}"
    (level,) = levels if len(levels := rest & {"upper", "middle", "lower"}) == 1 else (None,)
    if "lobe" not in rest or not level or rest - {"lobe", "lung", level} or (level, side) == ("middle", "left"):
        return None
    return f"lung_{level}_lobe_{side}"
