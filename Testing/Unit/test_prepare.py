"""From label files to samples: one frame for all shapes, one file for each, and what is wrong with the input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.training.prepare import PrepareOptions, case_name, prepare_shapes
from ReShapeITLib.training.sampling import SamplingOptions, ShapeSamples
from Testing.oracles import ellipsoid_sdf

OPTIONS = PrepareOptions(SamplingOptions(400, 300), alignment_points=500)
RADII_MM = np.array([40.0, 26.0, 15.0])
TILT = Rotation.from_euler("z", 20, degrees=True).as_matrix()


def organ(path, scale=1.0, centre_ras=(0.0, 0.0, 0.0), rotation=None, spacing_mm=3.0, label=1):
    """Writes an ellipsoid with half axes scale * RADII_MM, turned by a rotation, as a label file."""
    half = scale * RADII_MM.max() + 3 * spacing_mm
    size = (int(np.ceil(2 * half / spacing_mm)),) * 3
    origin = np.asarray(centre_ras) - 0.5 * (size[0] - 1) * spacing_mm
    geometry = ImageGeometry.from_parts(size, (spacing_mm,) * 3, origin)
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1)) - centre_ras
    points = points @ (np.eye(3) if rotation is None else rotation)
    mask = (((points / (scale * RADII_MM)) ** 2).sum(axis=1) <= 1).reshape(geometry.shape_kji)
    write_labels(LabelVolume.from_array((mask * label).astype(np.uint16), geometry), path)
    return path


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Samples of three ellipsoids of one shape: as it is, half as large again, and moved and tilted."""
    folder = tmp_path_factory.mktemp("group")
    paths = [
        organ(folder / "plain.nii.gz"),
        organ(folder / "large.nrrd", scale=1.5, centre_ras=(100.0, -30.0, 5.0)),
        organ(folder / "tilted.mha", centre_ras=(-10.0, 40.0, 900.0), rotation=TILT),
    ]
    written = prepare_shapes(paths, folder / "samples", OPTIONS)
    return written, [ShapeSamples.load(path) for path in written]


def test_every_file_becomes_one_samples_file_named_after_it(group):
    written, samples = group
    assert [path.name for path in written] == [f"{n}.samples.safetensors" for n in ("plain", "large", "tilted")]
    assert [s.case for s in samples] == ["plain", "large", "tilted"]
    assert {len(s.surface_points_unit) for s in samples} == {400}
    assert {len(s.free_points_unit) for s in samples} == {300}


def test_volumes_are_those_of_the_organs(group):
    expected_ml = 4 / 3 * np.pi * RADII_MM.prod() / 1000 * np.array([1.0, 1.5**3, 1.0])
    assert [s.volume_ml for s in group[1]] == pytest.approx(expected_ml, rel=0.03)


def test_all_shapes_have_one_size_in_the_common_frame(group):
    scales_mm = np.array([1.0 / s.ras_to_unit.scale for s in group[1]])
    assert scales_mm / scales_mm[0] == pytest.approx([1.0, 1.5, 1.0], rel=0.03)


def test_the_median_shape_reaches_to_nine_tenths(group):
    reach = [np.linalg.norm(s.surface_points_unit, axis=1).max() for s in group[1]]
    assert np.median(reach) == pytest.approx(0.9, rel=0.03)
    assert max(reach) < 1.0


def test_all_shapes_lie_around_the_origin(group):
    for samples in group[1]:
        assert np.linalg.norm(samples.ras_to_unit.inverse().apply(np.zeros((1, 3))) - centre_of(samples)) < 4.0


def centre_of(samples):
    return {"plain": (0, 0, 0), "large": (100, -30, 5), "tilted": (-10, 40, 900)}[samples.case]


def test_a_tilted_shape_is_turned_to_the_others(group):
    turned = {s.case: s.ras_to_unit.rotation for s in group[1]}
    between = turned["plain"].T @ turned["tilted"] @ TILT
    assert np.degrees(Rotation.from_matrix(between).magnitude()) < 6.0


def test_distances_of_free_points_are_those_of_the_ellipsoid(group):
    samples = group[1][0]
    points_mm = samples.ras_to_unit.inverse().apply(samples.free_points_unit)
    found_mm = samples.free_sdf_unit / samples.ras_to_unit.scale
    assert np.abs(found_mm - ellipsoid_sdf(points_mm, RADII_MM)).max() < 1.0


def test_the_same_seed_writes_the_same_samples(tmp_path):
    path = organ(tmp_path / "a.nrrd", spacing_mm=5.0)
    first, again = (ShapeSamples.load(prepare_shapes([path], tmp_path / n, OPTIONS)[0]) for n in ("one", "two"))
    assert np.array_equal(first.surface_points_unit, again.surface_points_unit)
    assert np.array_equal(first.free_sdf_unit, again.free_sdf_unit)
    assert first.ras_to_unit.scale == again.ras_to_unit.scale


def test_a_fine_grid_is_thinned_without_moving_the_organ(tmp_path):
    path = organ(tmp_path / "a.nrrd", spacing_mm=2.0, centre_ras=(50.0, 0.0, 0.0))
    thin = PrepareOptions(OPTIONS.sampling, alignment_points=300, least_spacing_mm=4.0)
    samples = ShapeSamples.load(prepare_shapes([path], tmp_path / "samples", thin)[0])
    points_mm = samples.ras_to_unit.inverse().apply(samples.surface_points_unit) - [50.0, 0.0, 0.0]
    assert np.abs(ellipsoid_sdf(points_mm, RADII_MM)).mean() < 0.5


def test_one_label_is_picked_after_the_modulo(tmp_path):
    path = organ(tmp_path / "a.nrrd", spacing_mm=5.0, label=1005)
    written = prepare_shapes([path], tmp_path / "samples", OPTIONS, label=5, label_modulo=1000)
    assert ShapeSamples.load(written[0]).volume_ml == pytest.approx(4 / 3 * np.pi * RADII_MM.prod() / 1000, rel=0.1)


def test_a_label_that_a_file_lacks_is_told_with_the_file(tmp_path):
    path = organ(tmp_path / "a.nrrd", spacing_mm=5.0)
    with pytest.raises(BadInputError, match="a.nrrd"):
        prepare_shapes([path], tmp_path / "samples", OPTIONS, label=7)


def test_two_files_that_would_overwrite_each_other_are_refused(tmp_path):
    for patient in ("s1", "s2"):
        (tmp_path / patient).mkdir()
    paths = [organ(tmp_path / patient / "liver.nii.gz", spacing_mm=8.0) for patient in ("s1", "s2")]
    with pytest.raises(BadInputError, match="s1.*s2.*case 'liver'"):
        prepare_shapes(paths, tmp_path / "samples", OPTIONS)


def test_no_files_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="no label file"):
        prepare_shapes([], tmp_path, OPTIONS)


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "a.nrrd").write_text("not an image")
    with pytest.raises(BadInputError, match="a.nrrd"):
        prepare_shapes([tmp_path / "a.nrrd"], tmp_path / "samples", OPTIONS)


def test_progress_goes_from_surfaces_to_samples(tmp_path):
    told = []

    class Recording(Progress):
        def stage(self, name, fraction, message=""):
            super().stage(name, fraction, message)
            told.append((name, fraction, message))

    prepare_shapes([organ(tmp_path / "a.nrrd", spacing_mm=8.0)], tmp_path / "samples", OPTIONS, progress=Recording())
    assert [name for name, _, _ in told] == ["surfaces", "align", "sample"]
    assert [fraction for _, fraction, _ in told] == sorted(fraction for _, fraction, _ in told)
    assert told[0][2] == "a"


@pytest.mark.parametrize(
    ("name", "case"),
    [("t3_15.nii.gz", "t3_15"), ("a/b/liver.seg.nrrd", "liver"), ("x.mha", "x"), ("two.parts.nrrd", "two.parts")],
)
def test_a_case_is_named_after_its_file_without_image_suffixes(name, case):
    assert case_name(name) == case


def test_shapes_can_be_laid_in_the_frame_of_a_template(tmp_path):
    outward = np.random.default_rng(0).normal(size=(3000, 3))
    reference = 0.02 * RADII_MM * outward / np.linalg.norm(outward, axis=1, keepdims=True) + [0.1, -0.05, 0.02]
    path = organ(tmp_path / "a.nrrd", scale=1.4, centre_ras=(80.0, -20.0, 300.0))
    samples = ShapeSamples.load(prepare_shapes([path], tmp_path / "samples", OPTIONS, reference=reference)[0])
    assert 1 / samples.ras_to_unit.scale == pytest.approx(1.4 / 0.02, rel=0.02)
    distances = cKDTree(reference).query(samples.surface_points_unit)[0]
    assert distances.mean() < 0.03
    centre = samples.ras_to_unit.apply(np.array([[80.0, -20.0, 300.0]]))
    np.testing.assert_allclose(centre, [[0.1, -0.05, 0.02]], atol=0.01)
