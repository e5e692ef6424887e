"""Which organ a segment is: real names and codes as TotalSegmentator, MONAI and Slicer's terminologies write them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ReShapeITLib.core.organ_names import CLASS_MAPS, HIGHEST_CLASS, recognised_organ
from ReShapeITLib.core.organs import ORGANS
from Testing.Slicer.slicer_python import slicer_source

ROOT = Path(__file__).resolve().parents[2]

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
    "liver_vessels",
    "liver tumor",
    "liver_segment_1",
    "kidney_cyst_left",
    "kidneys",
    "kidney",
    "lung_left",
    "left and right kidney",
    "left middle lobe",
    "lobe",
    "temporal lobe left",
    "Segment_1",
    "",
    "portal vein",
    "lung",
    "upper lobe",
    "gallbladder",
    "right liver",
]


@pytest.mark.parametrize(("kind", "modifier", "organ"), BY_CODE)
def test_a_code_tells_the_organ_whatever_the_name_says(kind, modifier, organ):
    assert recognised_organ("Segment_7", entry(kind, modifier)) == organ
    assert recognised_organ("gallbladder", entry(kind, modifier, TOTAL)) == organ


@pytest.mark.parametrize(("kind", "modifier"), NOT_BY_CODE)
def test_codes_of_other_structures_propose_nothing_even_where_the_name_would(kind, modifier):
    assert recognised_organ("liver", entry(kind, modifier)) is None


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
    assert recognised_organ(name, entry(kind, category=altered, region=region)) is None


@pytest.mark.parametrize(("name", "organ"), BY_NAME)
def test_a_name_tells_the_organ_where_the_code_is_absent_or_general(name, organ):
    assert recognised_organ(name) == organ
    assert recognised_organ(name, f"{GENERAL}~{TISSUE}~Anatomic codes - DICOM master list~^^~^^") == organ


@pytest.mark.parametrize("name", NOT_BY_NAME)
def test_names_that_are_not_understood_word_for_word_propose_nothing(name):
    assert recognised_organ(name) is None


def test_the_side_comes_from_the_name_where_the_code_has_none():
    assert recognised_organ("kidney_left", entry("SCT^64033007^Kidney")) == "kidney_left"
    assert recognised_organ("kidney", entry("SCT^64033007^Kidney")) is None


def test_the_name_of_a_template_of_ones_own_is_taken_letter_for_letter():
    assert recognised_organ("Stomach", known=["stomach"]) == "stomach"
    assert recognised_organ("Stomach", known=["liver"]) is None


def test_each_organs_own_code_is_a_snomed_code_of_one_organ():
    codes = {organ.snomed_code: organ.name for organ in ORGANS.values()}
    assert len(codes) == len(ORGANS)
    for code, name in codes.items():
        assert is_snomed_code(code)
        assert recognised_organ("Segment_1", entry(f"SCT^{code}^{ORGANS[name].meaning}")) == name
    assert not is_snomed_code("10200005") and not is_snomed_code("10020004")


def is_snomed_code(code: str) -> bool:
    """The last digit of a SNOMED CT code checks the others (Verhoeff)."""
    turned, place_in = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], 0
    for place, written in enumerate(map(int, reversed(code))):
        digit = written
        for _ in range(place % 8):
            digit = turned[digit]
        # The group of the turns and reflections of a pentagon: 0 to 4 are turns, 5 to 9 reflections.
        turn = (place_in + digit if place_in < 5 else place_in - digit) % 5
        place_in = turn + 5 * ((place_in < 5) != (digit < 5))
    return place_in == 0


# Where no checkout has Slicer's terminologies: the organs and structures beside them, in the same form.
NEIGHBOURS = {
    "86560005": "Adrenal gland",
    "28231008": "Gallbladder",
    "69695003": "Stomach",
    "39607008": "Lung",
    "44567001": "Trachea",
    "15825003": "Aorta",
    "71341001": "Femur",
}


def terms_of_slicer(context: str) -> list:
    """Categories of one of Slicer's terminologies, of a checkout where it is there."""
    name = f"SegmentationCategoryTypeModifier-{context}.json"
    file = (slicer_source() or Path()) / "Modules" / "Loadable" / "Terminologies" / "Resources" / name
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]
    meanings = {**{organ.snomed_code: organ.meaning for organ in ORGANS.values()}, **NEIGHBOURS}
    kinds = [{"CodingSchemeDesignator": "SCT", "CodeValue": c, "CodeMeaning": m} for c, m in meanings.items()]
    anatomy = {"CodingSchemeDesignator": "SCT", "CodeValue": "123037004", "CodeMeaning": "Anatomical Structure"}
    return [{**anatomy, "Type": kinds}]


@pytest.mark.parametrize("context", ["SlicerGeneralAnatomy", "DICOM-Master"])
def test_of_all_structures_in_slicers_terminologies_just_the_organs_are_proposed(context):
    found = []
    for category in terms_of_slicer(context):
        for kind in category["Type"]:
            for modifier in (*kind.get("Modifier", ()), None):
                tag = entry(code_of(kind), code_of(modifier), category=code_of(category))
                found.append(recognised_organ("Segment_1", tag))
    assert len(found) > len(ORGANS) + 5 and sorted(filter(None, found)) == sorted(ORGANS)


def code_of(term: dict | None) -> str:
    return "^".join(term[key] for key in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")) if term else NONE


def test_the_users_list_goes_before_name_and_code_and_may_say_that_something_is_no_organ():
    names = {"Leber": "liver", "3": "left kidney", "spleen": "", "7": "gallbladder"}
    assert recognised_organ("Leber", user_names=names) == "liver"
    assert recognised_organ("Segment_3", user_names=names, label=3) == "kidney_left"
    assert recognised_organ("spleen", entry("SCT^78961009^Spleen"), names) is None
    assert recognised_organ("pancreas", user_names=names, label=7) is None
    assert recognised_organ("pancreas", user_names=names, label=8) == "pancreas"


@pytest.mark.parametrize("version", CLASS_MAPS)
def test_each_version_of_totalsegmentator_has_every_organ_under_one_number(version):
    assert sorted(CLASS_MAPS[version].values()) == sorted(ORGANS)
    assert max(map(int, CLASS_MAPS[version])) < HIGHEST_CLASS[version]


def test_names_are_recognised_before_any_package_is_installed():
    forbidden = "{'numpy', 'torch', 'vtk', 'SimpleITK', 'yaml'}"
    code = (
        "import sys; from ReShapeITPanel.organProposal import proposedOrgan; "
        f"assert proposedOrgan('Liver') == 'liver'; assert not {forbidden} & set(sys.modules)"
    )
    command = [sys.executable, "-S", "-c", code]  # -S: without site-packages
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT / "ReShapeIT")}, cwd=ROOT / "Testing", check=True)
