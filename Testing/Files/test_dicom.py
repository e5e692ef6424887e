"""DICOM segmentations in and out, and structure sets in; the objects are made by pydicom and highdicom."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM files need pydicom")
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import MISSING_PACKAGE, BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.organ_names import recognised_organ
from ReShapeITLib.io.volumes import labels_in, read_labels, write_labels
from Testing.tiny_template import patient

SEG, STRUCTURES = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
# i, j, k to RAS: LPS there, so that rows and columns have their signs turned
GRID = ImageGeometry.from_parts((12, 10, 8), (1.5, 2.0, 3.0), (40.0, -30.0, 100.0), -TURN @ np.diag([1.0, 1.0, -1.0]))


def lps(ijk) -> list[float]:
    """Place of a voxel as DICOM says it."""
    return (GRID.ijk_to_ras_points(np.array([ijk], float))[0] * (-1, -1, 1)).round(6).tolist()


def orientation() -> list[float]:
    return (GRID.direction_ras[:, :2].T * (-1, -1, 1)).round(9).ravel().tolist()


def dataset(kind: str, modality: str) -> Dataset:
    """An object with what every one must have."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kind
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jo", "17", "", ""
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", generate_uid()
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.SeriesNumber, made.InstanceNumber, made.Modality, made.FrameOfReferenceUID = 1, 1, modality, "1.2.4"
    made.PositionReferenceIndicator = made.Manufacturer = ""
    return made


def save(made: Dataset, path: Path) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path) -> Path:
    """Folder of a CT series on GRID."""
    folder = tmp_path / "ct"
    folder.mkdir()
    columns, rows, slices = GRID.size_ijk
    uid = generate_uid()
    for k in range(slices):
        one = dataset(CTImageStorage, "CT")
        one.SeriesInstanceUID, one.InstanceNumber = uid, k + 1
        one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = rows, columns, [2.0, 1.5], 3.0
        one.ImageOrientationPatient, one.ImagePositionPatient = orientation(), lps((0, 0, k))
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
        one.PhotometricInterpretation, one.RescaleSlope, one.RescaleIntercept = "MONOCHROME2", 1, 0
        one.PixelData = np.zeros((rows, columns), np.int16).tobytes()
        save(one, folder / f"{k}.dcm")
    return folder


def masks() -> dict[int, np.ndarray]:
    """Two organs (K, J, I) that overlap in slice 4; the third slice of the first is empty."""
    first, second = np.zeros((2, *GRID.shape_kji), bool)
    first[2:6, 3:7, 2:8], first[3] = True, False
    second[4:6, 6:9, 7:11] = True
    return {1: first, 2: second}


def coded(value) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value.value, value.scheme_designator, value.meaning
    return made


def sequence_item(**values) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def seg_of_pydicom(kind: str = "BINARY") -> Dataset:
    """A SEG with frames where there are voxels only, as most programs write it."""
    made = dataset(SEG, "SEG")
    made.SegmentationType, made.Rows, made.Columns = kind, *GRID.shape_kji[1:]
    names = {1: ("Liver", codes.SCT.Liver), 2: ("Spleen", codes.SCT.Spleen)}
    made.SegmentSequence = [
        sequence_item(
            SegmentNumber=number,
            SegmentLabel=name,
            SegmentAlgorithmType="MANUAL",
            SegmentedPropertyCategoryCodeSequence=[coded(codes.SCT.Organ)],
            SegmentedPropertyTypeCodeSequence=[coded(code)],
        )
        for number, (name, code) in names.items()
    ]
    i, j, k = GRID.spacing_mm.round(6).tolist()
    measures = sequence_item(PixelSpacing=[j, i], SliceThickness=k, SpacingBetweenSlices=k)
    plane = sequence_item(ImageOrientationPatient=orientation())
    made.SharedFunctionalGroupsSequence = [
        sequence_item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[plane])
    ]
    made.DimensionIndexSequence = [
        sequence_item(DimensionIndexPointer=0x0062000B),
        sequence_item(DimensionIndexPointer=0x00200032),
    ]
    frames, items = [], []
    for number, mask in masks().items():
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            frames.append(mask[k])
            items.append(
                sequence_item(
                    FrameContentSequence=[sequence_item(DimensionIndexValues=[number, int(k) + 1])],
                    PlanePositionSequence=[sequence_item(ImagePositionPatient=lps((0, 0, k)))],
                    SegmentIdentificationSequence=[sequence_item(ReferencedSegmentNumber=number)],
                )
            )
    made.PerFrameFunctionalGroupsSequence, made.NumberOfFrames = items, len(items)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    pixels = np.concatenate([frame.ravel() for frame in frames])
    if kind == "FRACTIONAL":
        made.SegmentationFractionalType, made.MaximumFractionalValue = "PROBABILITY", 200
        made.PixelData = (pixels * np.uint8(150)).tobytes()
    else:
        packed = np.packbits(pixels, bitorder="little").tobytes()
        made.PixelData = packed + bytes(len(packed) % 2)
    made["PixelData"].VR = "OB"
    return made


def check_masks(volume, expected=None) -> None:
    """The segments have their voxels where they lie in RAS."""
    for number, mask in (expected or masks()).items():
        ijk = np.argwhere(volume.mask(f"label:{number}"))[:, ::-1]
        found = np.rint(GRID.ras_to_ijk_points(volume.geometry.ijk_to_ras_points(ijk))).astype(int)
        assert sorted(map(tuple, found)) == sorted(map(tuple, np.argwhere(mask)[:, ::-1]))


def test_a_seg_is_read_with_names_codes_and_overlaps(tmp_path):
    volume = read_labels(save(seg_of_pydicom(), tmp_path / "a.dcm"))
    check_masks(volume)
    assert [(s.label, s.name, s.layer) for s in volume.segments] == [(1, "Liver", 0), (2, "Spleen", 1)]
    tags = [s.tags["TerminologyEntry"] for s in volume.segments]
    assert [recognised_organ("", tag) for tag in tags] == ["liver", "spleen"]
    assert len(volume.layers) == 2
    assert not volume.layers[0][[0, -1]].any(), "an organ does not end where its frames end"


def test_with_the_series_as_reference_the_grid_is_that_of_the_images(tmp_path, series):
    volume = read_labels(save(seg_of_pydicom(), tmp_path / "a.dcm"), reference=series)
    assert volume.geometry.same_grid_as(GRID)
    assert np.array_equal(volume.mask(1), masks()[1]) and np.array_equal(volume.mask(2), masks()[2])


def test_a_file_without_extension_and_the_only_one_of_a_folder_are_found(tmp_path, series):
    save(seg_of_pydicom(), tmp_path / "IM0001")
    check_masks(read_labels(tmp_path / "IM0001"))
    save(seg_of_pydicom(), series / "seg.dcm")
    assert labels_in(series) == series / "seg.dcm"
    check_masks(read_labels(series))
    save(seg_of_pydicom(), series / "seg2.dcm")
    with pytest.raises(BadInputError, match=r"several segmentations \(seg.dcm, seg2.dcm\)"):
        read_labels(series)


def test_a_changed_seg_is_written_with_its_metadata(tmp_path):
    source = seg_of_pydicom()
    volume = read_labels(save(source, tmp_path / "a.dcm"))
    grown = masks()
    grown[1][1, 3:7, 2:8] = grown[1][3, 4, 4] = True
    k0 = round(float(volume.geometry.ras_to_ijk_points(GRID.ijk_to_ras_points([[0, 0, 0]]))[0, 2]))
    whole = np.zeros(volume.geometry.shape_kji, bool)
    inside = slice(max(0, k0), k0 + len(grown[1]))
    whole[inside] = grown[1][: len(whole[inside])]
    write_labels(volume.replaced("label:1", whole), tmp_path / "b.dcm")
    check_masks(read_labels(tmp_path / "b.dcm"), grown)
    written = pydicom.dcmread(tmp_path / "b.dcm")
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SegmentSequence"):
        assert written[name].value == source[name].value
    assert written.SOPInstanceUID != source.SOPInstanceUID and written.SeriesInstanceUID != source.SeriesInstanceUID
    assert written.NumberOfFrames == len(written.PerFrameFunctionalGroupsSequence) == written.pixel_array.shape[0]


def test_a_fractional_seg_needs_a_threshold(tmp_path):
    path = save(seg_of_pydicom("FRACTIONAL"), tmp_path / "a.dcm")
    with pytest.raises(BadInputError, match="give --threshold P"):
        read_labels(path)
    check_masks(read_labels(path, 0.7))
    assert not read_labels(path, 0.8).label_values()
    write_labels(read_labels(path, 0.7), tmp_path / "b.dcm")
    assert pydicom.dcmread(tmp_path / "b.dcm").SegmentationType == "BINARY"
    check_masks(read_labels(tmp_path / "b.dcm"))


def test_highdicom_makes_what_is_read_and_reads_what_is_written(tmp_path, series):
    highdicom = pytest.importorskip("highdicom", reason="the second opinion on DICOM SEG needs highdicom")
    images = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    algorithm = highdicom.AlgorithmIdentificationSequence("net", codes.DCM.ArtificialIntelligence, "1")
    descriptions = [
        highdicom.seg.SegmentDescription(
            number, name, codes.SCT.Organ, code, "AUTOMATIC", algorithm, tracking_uid=generate_uid(), tracking_id=name
        )
        for number, name, code in ((1, "Liver", codes.SCT.Liver), (2, "Spleen", codes.SCT.Spleen))
    ]
    stacked = np.stack([masks()[1], masks()[2]], axis=-1).astype(np.uint8)
    made = highdicom.seg.Segmentation(
        images, stacked, "BINARY", descriptions, generate_uid(), 2, generate_uid(), 1, "A", "B", "1", "C"
    )
    made.save_as(tmp_path / "a.dcm")
    volume = read_labels(tmp_path / "a.dcm")
    check_masks(volume)
    write_labels(volume, tmp_path / "b.dcm")
    again = highdicom.seg.segread(tmp_path / "b.dcm")
    assert again.number_of_segments == 2 and list(again.segment_numbers) == [1, 2]
    for number, mask in masks().items():
        found = again.get_volume(segment_numbers=[number], combine_segments=True)
        assert int(found.array.sum()) == number * int(mask.sum())


def structures(names: dict[int, str]) -> Dataset:
    """A structure set: squares in slices 2 to 5, with a hole in the first, and a point."""
    made = dataset(STRUCTURES, "RTSTRUCT")
    made.StructureSetROISequence = [sequence_item(ROINumber=n, ROIName=name) for n, name in names.items()]

    def contour(corners, k, kind="CLOSED_PLANAR"):
        data = [x for i, j in corners for x in lps((i, j, k))]
        return sequence_item(ContourGeometricType=kind, ContourData=data, NumberOfContourPoints=len(corners))

    outer, hole = [(1.5, 2.5), (8.5, 2.5), (8.5, 7.5), (1.5, 7.5)], [(3.5, 3.5), (5.5, 3.5), (5.5, 5.5), (3.5, 5.5)]
    contours = [contour(corners, k) for k in range(2, 6) for corners in (outer, hole)]
    point = contour([(1, 1)], 2, "POINT")
    made.ROIContourSequence = [
        sequence_item(
            ReferencedROINumber=n, ROIDisplayColor=[255, 0, 51], ContourSequence=[point] if n > 4 else contours
        )
        for n in names
    ]
    return made


def test_structures_are_filled_on_the_grid_of_their_images(tmp_path, series):
    path = save(structures({3: "Liver", 5: "Isocentre"}), tmp_path / "rt.dcm")
    volume = read_labels(path, reference=series)
    expected = np.zeros(GRID.shape_kji, bool)
    expected[2:6, 3:8, 2:9] = True
    expected[2:6, 4:6, 4:6] = False
    assert np.array_equal(volume.mask("Liver"), expected)
    assert volume.segments[0].color == (1.0, 0.0, 0.2) and volume.segments[0].label == 3
    assert "Isocentre" in volume.notices[0] and volume.notices[0].code == "rtstruct.skipped"


def test_what_is_wrong_with_a_dicom_file_is_told(tmp_path, series, monkeypatch):
    path = save(structures({3: "Liver"}), tmp_path / "rt.dcm")
    seg = save(seg_of_pydicom(), tmp_path / "seg.dcm")
    (tmp_path / "junk.dcm").write_bytes(bytes(500))
    (tmp_path / "empty").mkdir()
    for file, options, words in (
        (path, {}, "RTSTRUCT, which holds no voxel grid; give its images with --reference FOLDER"),
        (path, {"reference": tmp_path / "empty"}, "holds 0 DICOM series"),
        (series / "0.dcm", {}, "of modality CT, no segmentation"),
        (tmp_path / "junk.dcm", {}, "no DICOM file"),
    ):
        with pytest.raises(BadInputError, match=words):
            read_labels(file, **options)
    with pytest.raises(BadInputError, match=r"b\.dcm cannot hold the result: a DICOM SEG needs the patient and study"):
        write_labels(read_labels(path, reference=series), tmp_path / "b.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BadInputError, match="DICOM files need the Python package pydicom; install it") as told:
        read_labels(seg)
    assert told.value.code == MISSING_PACKAGE


def test_a_seg_is_written_to_other_formats(tmp_path):
    volume = read_labels(save(seg_of_pydicom(), tmp_path / "a.dcm"))
    write_labels(volume, tmp_path / "b.seg.nrrd")
    check_masks(read_labels(tmp_path / "b.seg.nrrd"))
    assert [s.tags for s in read_labels(tmp_path / "b.seg.nrrd").segments] == [s.tags for s in volume.segments]


def test_refine_makes_a_seg_of_a_seg_and_tells_at_once_where_it_cannot(
    tmp_path, tiny_template_file, monkeypatch, capsys
):
    mask, geometry = patient(np.random.default_rng(3))
    monkeypatch.setitem(globals(), "GRID", geometry)
    monkeypatch.setitem(globals(), "masks", lambda: {1: mask})
    save(seg_of_pydicom(), tmp_path / "a.dcm")
    write_labels(LabelVolume.from_array(mask, geometry), tmp_path / "a.nrrd")
    options = ["--label", "1", "--template", str(tiny_template_file), "--preset", "draft", "--device", "cpu"]
    assert main(["refine", str(tmp_path / "a.dcm"), *options, "--output", str(tmp_path / "b.dcm")]) == 0
    assert 0.9 < read_labels(tmp_path / "b.dcm").mask("label:1").sum() / mask.sum() < 1.1
    assert main(["refine", str(tmp_path / "a.nrrd"), *options, "--output", str(tmp_path / "c.dcm")]) == 2
    assert "needs the patient and study" in capsys.readouterr().err
