"""Which organ a segment is, from its terminology code or its name.

Codes count first, because people rename segments. A name is taken only where every word of it is understood: a "liver
tumor" is not a liver, and choosing a template by hand costs less than overlooking a wrong proposal.
"""

import re

_GENERIC_TYPES = {"85756007", "113343008", "91723000", "123037004"}  # tissue, organ, anatomical structure (both codes)
_ALTERED_STRUCTURE = "49755003"
_SIDES_BY_CODE = {"24028007": "right", "7771000": "left", "G-A100": "right", "G-A101": "left"}

# SNOMED CT, as TotalSegmentator, MONAI and Slicer's terminologies write them: with the side in the modifier, or
# with codes that hold the side themselves.
_ORGANS_BY_CODE = {
    "10200004": "liver",
    "15776009": "pancreas",
    "78961009": "spleen",
    "18639004": "kidney_left",
    "9846003": "kidney_right",
    "72481006": "lung_middle_lobe_right",
    "42400003": "lung_upper_lobe_right",
    "44714003": "lung_upper_lobe_left",
    "266005": "lung_lower_lobe_right",
    "41224006": "lung_lower_lobe_left",
}
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


def proposedOrgan(name: str, terminologyEntry: str = "", knownOrgans=()) -> str | None:
    """TotalSegmentator's name of the organ, or None where it cannot be told for sure.

    :param name: what the user reads as the segment's name.
    :param terminologyEntry: the segment's terminology tag as Slicer serialises it, may be empty.
    :param knownOrgans: names of templates; one that is the segment's name letter for letter is taken too.
    """
    text = _plain(name)
    if text in knownOrgans:
        return text
    category, kind, modifier = _codes(terminologyEntry)
    if category[0] == _ALTERED_STRUCTURE:
        return None
    if not kind[0] or kind[0] in _GENERIC_TYPES:
        return _organOfWords(_words(name))
    if kind[0] in _ORGANS_BY_CODE:
        return _ORGANS_BY_CODE[kind[0]]
    if kind[0] in _PAIRS_BY_CODE:
        side = _SIDES_BY_CODE.get(modifier[0]) if modifier[0] else _sideOfWords(_words(name))
        return _PAIRS_BY_CODE[kind[0]].format(side) if side else None
    # Another coding scheme: what the code means is written beside it.
    return _organOfWords(_words(f"{modifier[1]} {kind[1]}"))


def _codes(terminologyEntry: str) -> list[tuple[str, str]]:
    """Code and meaning of category, type and type modifier; empty texts where they are absent."""
    parts = terminologyEntry.split("~")[1:4]
    triples = [(part.split("^") + ["", "", ""])[:3] for part in parts + [""] * (3 - len(parts))]
    return [(code, meaning) for _, code, meaning in triples]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _words(name: str) -> list[str]:
    """Lower-case words; CamelCase is taken apart, numbers and abbreviations are resolved."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = [_ABBREVIATIONS.get(word, word) for word in re.split(r"[^a-z]+", apart) if word]
    return " ".join(words).split()


def _sideOfWords(words: list[str]) -> str | None:
    sides = {_WORDS.get(word) for word in words} & {"left", "right"}
    return sides.pop() if len(sides) == 1 else None


def _organOfWords(words: list[str]) -> str | None:
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
