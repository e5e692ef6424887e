"""The volume beside the segmentation: proposed, chosen, given to the engine in the frame of the scene."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the scene side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

import slicer
import vtk
from ReShapeITSlicer.console import ReShapeITLogic
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.exchange.exchange import Exchange
from ReShapeITSlicer.exchange.image import proposedImage, writeImage
from ReShapeITSlicer.exchange.nrrd import writeVolume

from ReShapeITLib.io.readers import read_voxels
from Testing.Slicer.organs import add_organs
from Testing.Slicer.scene import new_scene
from Testing.tiny_template import ORGAN, label_volume

OBLIQUE = np.array([[0.9, -0.8, 0.1, 12.0], [0.8, 0.9, 0.0, -40.0], [0.0, 0.2, 2.0, 900.0], [0, 0, 0, 1.0]])
TURNED = np.array([[0, -1, 0, 7.0], [1, 0, 0, -3.0], [0, 0, 1, 100.0], [0, 0, 0, 1.0]])


@pytest.fixture
def world(tmp_path):
    around = new_scene(tmp_path)
    around.node, around.grid, around.masks = add_organs(around.scene, (ORGAN,))
    around.volume = around.scene.GetFirstNodeByName("CT")
    return around


def matrix_of(array) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel().tolist())
    return matrix


def volume_of(world, voxels, name="other", matrix=OBLIQUE):
    node = world.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetIJKToRASMatrix(matrix_of(matrix))
    return node


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_type_of_voxel_is_read_back_by_the_engine(kind, tmp_path):
    voxels = np.arange(24).reshape(2, 3, 4).astype(kind)
    writeVolume(tmp_path / "image.nrrd", voxels, OBLIQUE)
    read, geometry = read_voxels(tmp_path / "image.nrrd")
    assert read.dtype == voxels.dtype
    np.testing.assert_array_equal(read, voxels)
    np.testing.assert_allclose(geometry.ijk_to_ras, OBLIQUE, atol=1e-6)


def test_the_image_lies_where_its_own_transform_puts_it(world, tmp_path):
    volume = volume_of(world, np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    transform = world.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetMatrixTransformToParent(matrix_of(TURNED))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    writeImage(tmp_path / "image.nrrd", volume)
    np.testing.assert_allclose(read_voxels(tmp_path / "image.nrrd")[1].ijk_to_ras, TURNED @ OBLIQUE, atol=1e-6)


def test_the_reference_image_of_a_segmentation_is_proposed(world):
    assert proposedImage(world.scene, world.node) is world.volume
    assert proposedImage(world.scene, None) is None


def test_without_a_reference_the_only_volume_on_the_same_grid_is_proposed(world):
    world.node.SetNodeReferenceID(world.node.GetReferenceImageGeometryReferenceRole(), None)
    volume_of(world, np.zeros((2, 3, 4), dtype=np.int16))
    assert proposedImage(world.scene, world.node) is world.volume
    volume_of(world, slicer.util.arrayFromVolume(world.volume), "copy", world.grid.ijkToLocal)
    assert proposedImage(world.scene, world.node) is None, "two are on the grid"


def test_a_label_map_is_never_proposed(world):
    labels = world.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(labels, np.zeros((2, 3, 4), dtype=np.int16))
    world.node.SetReferenceImageGeometryParameterFromVolumeNode(labels)
    assert proposedImage(world.scene, world.node) is None
    image = volume_of(world, np.ones((2, 3, 4), dtype=np.int16), "of the labels", np.eye(4))
    assert proposedImage(world.scene, world.node) is image, "it is on the grid of the labels"


def refused(world, image) -> str:
    with pytest.raises(RefinementError) as error:
        Exchange(world.node, {"organ0": "liver"}, imageNode=image)
    return str(error.value)


def test_a_volume_that_cannot_be_asked_is_refused_before_the_engine_starts(world):
    empty = world.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert refused(world, empty) == "The volume empty has no image; choose another."
    colours = world.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    slicer.util.updateVolumeFromArray(colours, np.zeros((2, 3, 4, 3), dtype=np.uint8))
    assert refused(world, colours) == "The volume colours has 3 values a voxel; choose one with a single value."
    grid = world.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    world.volume.SetAndObserveTransformNodeID(grid.GetID())
    assert "CT is under a non-linear transform" in refused(world, world.volume)
    world.scene.RemoveNode(world.volume)
    assert "not in the scene" in refused(world, world.volume)


@pytest.mark.computes
def test_the_engine_gets_the_image_and_its_word_is_in_the_summary(world, tiny_template_file):
    told = []
    options = {"preset": "draft", "device": "cpu", "force": True}
    templates = {"organ0": str(tiny_template_file)}
    task = ReShapeITLogic(world.scene).refine(world.node, templates, told.append, image=world.volume, **options)
    assert "--image" in task.log and task.summary()[0].image == "no_model"
    assert any(text.startswith("The image 'CT' has no say on the") for text in told), told


@pytest.mark.computes
def test_an_image_of_another_place_is_told_with_the_name_of_its_volume(world, shared_data, tmp_path):
    far = world.grid.ijkToLocal.copy()
    far[:3, 3] += 5000.0
    elsewhere = volume_of(world, slicer.util.arrayFromVolume(world.volume), "wrong patient", far)
    options = {"preset": "draft", "device": "cpu", "force": True}
    with pytest.raises(RefinementError) as error:
        ReShapeITLogic(world.scene).refine(world.node, {"organ0": "spleen"}, None, image=elsewhere, **options)
    words = "The image 'wrong patient' does not overlap the spleen; choose the volume that was segmented, or none."
    assert str(error.value) == words


def test_the_panel_proposes_once_and_then_keeps_the_choice(application, tmp_path):
    node, _grid, _masks = add_organs(application.scene, (ORGAN,))
    volume = application.scene.GetFirstNodeByName("CT")
    widget = application.open()
    assert widget._parameterNode.volume is volume and widget.ui.volumeSelector.currentNode() is volume
    widget._parameterNode.volume = None
    application.leave()
    application.open()
    assert widget._parameterNode.volume is None
    application.load(application.save(tmp_path / "saved"))
    assert widget._parameterNode.segmentation.GetName() == node.GetName()
    assert widget._parameterNode.volume is None, "none is a choice, also in a saved scene"


def test_the_panel_hands_the_volume_to_the_task(application):
    add_organs(application.scene, ("liver",))
    widget, made = application.open(), []
    widget.logic.createTask = lambda *arguments: made.append(arguments) or (_ for _ in ()).throw(RefinementError("no"))
    widget.panel.segments.check(["organ0"])
    widget.ui.refineButton.click()
    assert made[0][3].GetName() == "CT"


@pytest.mark.computes
def test_the_command_line_module_takes_an_image(world, tiny_template_file, tmp_path):
    from ReShapeITLib.core.geometry import ImageGeometry
    from ReShapeITLib.io.volumes import write_labels
    from Testing.Slicer.test_extension_cli_module import run_script

    geometry = ImageGeometry(world.grid.ijkToLocal, world.grid.size)
    write_labels(label_volume(world.masks["organ0"], geometry), tmp_path / "in.nrrd")
    writeImage(tmp_path / "ct.nrrd", world.volume)
    values = {"inputVolume": str(tmp_path / "in.nrrd"), "outputVolume": str(tmp_path / "out.nrrd")}
    values |= {"report": str(tmp_path / "report.json"), "image": str(tmp_path / "ct.nrrd"), "preset": "draft"}
    values |= {"templates": f"1={tiny_template_file}", "device": "cpu", "force": "true"}
    done = run_script(values)
    assert done.returncode == 0, done.stderr
    (organ,) = json.loads((tmp_path / "report.json").read_text())["organs"]
    assert organ["image"]["status"] == "no_model"
