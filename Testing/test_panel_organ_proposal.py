"""Which organ a segment is: real names and codes as TotalSegmentator, MONAI and Slicer's terminologies write them."""

import pytest
from ReShapeITPanel.organProposal import proposedOrgan

from ReShapeITLib.organs import ORGANS

GENERAL = "Segmentation category and type - 3D Slicer General Anatomy list"
TOTAL = "Segmentation category and type - Total Segmentator"
STRUCTURE = "SCT^123037004^Anatomical Structure"
TISSUE = "SCT^85756007^Tissue~SCT^85756007^Tissue~^^"
RIGHT, LEFT, NONE = "SCT^24028007^Right", "SCT^7771000^Left", "^^"


def entry(kind: str, modifier=NONE, context=GENERAL, category=STRUCTURE, region=NONE) -> str:
    """A terminology tag as Slicer writes it."""
    return f"{context}~{category}~{kind}~{modifier}~Anatomic codes - DICOM master list~{region}~^^"


BY_CODE = [
    ("SCT^10200004^Liver", NONE, "liver"),
    ("SCT^15776009^Pancreas", NONE, "pancreas"),
    ("SCT^78961009^Spleen", NONE, "spleen"),
    ("SCT^64033007^Kidney", LEFT, "kidney_left"),
    ("SCT^64033007^Kidney", RIGHT, "kidney_right"),
    ("SCT^45653009^Upper lobe of lung", LEFT, "lung_upper_lobe_left"),
    ("SCT^45653009^Upper lobe of lung", RIGHT, "lung_upper_lobe_right"),
    ("SCT^72481006^Middle lobe of right lung", NONE, "lung_middle_lobe_right"),
    ("SCT^90572001^Lower lobe of lung", LEFT, "lung_lower_lobe_left"),
    ("SCT^90572001^Lower lobe of lung", RIGHT, "lung_lower_lobe_right"),
    ("SRT^T-62000^Liver", NONE, "liver"),
    ("SRT^T-71000^Kidney", "SRT^G-A101^Left", "kidney_left"),
]
NOT_BY_CODE = [
    ("SCT^39607008^Lung", RIGHT),
    ("SCT^64033007^Kidney", "SCT^51440002^Right and left"),
    ("SCT^59820001^Blood vessel", NONE),
    ("SCT^71133005^Caudate lobe of liver", NONE),
    ("SCT^277956007^Couinaud hepatic segment II", NONE),
    ("SCT^28231008^Gallbladder", NONE),
    ("SCT^77278001^Temporal lobe", NONE),
]
BY_NAME = [
    # TotalSegmentator
    *((name, name) for name in ORGANS),
    # Slicer's terminologies
    ("superior lobe of right lung", "lung_upper_lobe_right"),
    ("superior lobe of left lung", "lung_upper_lobe_left"),
    ("middle lobe of right lung", "lung_middle_lobe_right"),
    ("inferior lobe of right lung", "lung_lower_lobe_right"),
    ("inferior lobe of left lung", "lung_lower_lobe_left"),
    ("left kidney", "kidney_left"),
    # MONAI Auto3DSeg and VISTA3D
    ("Left Kidney", "kidney_left"),
    ("Right Upper lobe of lung", "lung_upper_lobe_right"),
    ("Left Lower lobe of lung", "lung_lower_lobe_left"),
    ("right lung middle lobe", "lung_middle_lobe_right"),
    # Chest Imaging Platform, data sets, people
    ("RightSuperiorLobe", "lung_upper_lobe_right"),
    ("LeftInferiorLobe", "lung_lower_lobe_left"),
    ("RML", "lung_middle_lobe_right"),
    ("lkidney", "kidney_left"),
    ("Kidney (R)", "kidney_right"),
    ("Liver_1", "liver"),
    ("SPLEEN - prediction", "spleen"),
    ("Pancreas copy", "pancreas"),
]
NOT_BY_NAME = [
    "liver_vessels", "liver tumor", "liver_segment_1", "kidney_cyst_left", "kidneys", "kidney", "lung_left",
    "left and right kidney", "left middle lobe", "lobe", "temporal lobe left", "Segment_1", "", "portal vein", "lung",
    "upper lobe", "gallbladder", "right liver",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "modifier", "organ"), BY_CODE)
def test_a_code_tells_the_organ_whatever_the_name_says(kind, modifier, organ):
    assert proposedOrgan("Segment_7", entry(kind, modifier)) == organ
    assert proposedOrgan("gallbladder", entry(kind, modifier, TOTAL)) == organ


@pytest.mark.parametrize(("kind", "modifier"), NOT_BY_CODE)
def test_codes_of_other_structures_propose_nothing_even_where_the_name_would(kind, modifier):
    assert proposedOrgan("liver", entry(kind, modifier)) is None


@pytest.mark.parametrize(
    ("name", "kind", "region"),
    [
        ("kidney_cyst_left", "SCT^367643001^Cyst", "SCT^64033007^Kidney"),
        ("liver", "SCT^108369006^Neoplasm", "SCT^10200004^Liver"),
        ("liver", "SCT^10200004^Liver", NONE),
    ],
)
def test_what_is_marked_as_altered_is_no_organ(name, kind, region):
    altered = "SCT^49755003^Morphologically Altered Structure"
    assert proposedOrgan(name, entry(kind, category=altered, region=region)) is None


@pytest.mark.parametrize(("name", "organ"), BY_NAME)
def test_a_name_tells_the_organ_where_the_code_is_absent_or_general(name, organ):
    assert proposedOrgan(name) == organ
    assert proposedOrgan(name, f"{GENERAL}~{TISSUE}~Anatomic codes - DICOM master list~^^~^^") == organ


@pytest.mark.parametrize("name", NOT_BY_NAME)
def test_names_that_are_not_understood_word_for_word_propose_nothing(name):
    assert proposedOrgan(name) is None


def test_the_side_comes_from_the_name_where_the_code_has_none():
    assert proposedOrgan("kidney_left", entry("SCT^64033007^Kidney")) == "kidney_left"
    assert proposedOrgan("kidney", entry("SCT^64033007^Kidney")) is None


def test_the_name_of_a_template_of_ones_own_is_taken_letter_for_letter():
    assert proposedOrgan("Stomach", knownOrgans=["stomach"]) == "stomach"
    assert proposedOrgan("Stomach", knownOrgans=["liver"]) is None
