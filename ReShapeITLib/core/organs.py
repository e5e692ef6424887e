"""The organs there can be templates for: TotalSegmentator's name and the SNOMED CT code of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Organ:
    """One organ.

    Args:
        name: as TotalSegmentator names it.
        snomed_code: the SNOMED CT concept that holds the side as well; Slicer's and TotalSegmentator's terminologies
            write kidneys and lobes as a concept without side (upper lobe of lung: 45653009) and a modifier.
        meaning: the concept's name, for people.
        part_of: what it fills together with other organs, without gaps between them; "" where there is no such.
    """

    name: str
    snomed_code: str
    meaning: str
    part_of: str = ""


ORGANS = {
    organ.name: organ
    for organ in (
        Organ("liver", "10200004", "Liver"),
        Organ("pancreas", "15776009", "Pancreas"),
        Organ("spleen", "78961009", "Spleen"),
        Organ("kidney_left", "18639004", "Left kidney"),
        Organ("kidney_right", "9846003", "Right kidney"),
        Organ("lung_upper_lobe_right", "42400003", "Upper lobe of right lung", "right lung"),
        Organ("lung_middle_lobe_right", "72481006", "Middle lobe of right lung", "right lung"),
        Organ("lung_lower_lobe_right", "266005", "Lower lobe of right lung", "right lung"),
        Organ("lung_upper_lobe_left", "44714003", "Upper lobe of left lung", "left lung"),
        Organ("lung_lower_lobe_left", "41224006", "Lower lobe of left lung", "left lung"),
    )
}
