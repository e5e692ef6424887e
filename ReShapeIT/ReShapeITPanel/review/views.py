"""The views: moving them to a point or to a segment, and the colours of the change map."""

import qt
import slicer


def jumpTo(scene, positionRas) -> None:
    """Centre the slice views on a point in world RAS mm and let the 3D cameras look at it."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *positionRas, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair:
        crosshair.SetCrosshairRAS(list(positionRas))
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        _lookAt(scene.GetNthNodeByClass(index, "vtkMRMLCameraNode"), positionRas)


def centreOn(scene, segmentationNode, segmentId: str) -> bool:
    """Centre all views on a segment, wherever a transform puts it.

    :returns: False where the segment is empty or not there; the views stay.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    centre = segmentationNode.GetSegmentCenterRAS(segmentId) if segment is not None else None
    if not centre:
        return False
    jumpTo(scene, centre)
    return True


def colourBar(scene, modelNodeIds, width: int, height: int):
    """Picture of the change map's colours with its ends in mm, or None where there is no change map."""
    display = next(filter(None, (_display(scene, modelId) for modelId in modelNodeIds)), None)
    if display is None or display.GetColorNode() is None:
        return None
    low, high = display.GetScalarRange()
    colours, rgb = display.GetColorNode().GetLookupTable(), [0.0, 0.0, 0.0]
    first, last = colours.GetRange()
    picture = qt.QPixmap(width, height)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(picture)
    bar = height - 18
    for x in range(width):
        colours.GetColor(first + (last - first) * x / (width - 1), rgb)
        painter.fillRect(x, 0, 1, bar, qt.QColor(*(round(255 * value) for value in rgb)))
    painter.setPen(qt.QApplication.palette().color(qt.QPalette.WindowText))
    for share, flag in ((0.0, qt.Qt.AlignLeft), (0.5, qt.Qt.AlignHCenter), (1.0, qt.Qt.AlignRight)):
        value = low + share * (high - low)
        text = f"{value:+.1f} mm" if abs(value) > 1e-9 else "0 mm"
        painter.drawText(0, bar, width, 18, int(flag) | int(qt.Qt.AlignBottom), text)
    painter.end()
    return picture


def _display(scene, modelId):
    model = scene.GetNodeByID(modelId) if modelId else None
    return model.GetDisplayNode() if model else None


def _lookAt(camera, positionRas) -> None:
    """Turn nothing: the camera moves along with what it looks at."""
    move = [new - old for new, old in zip(positionRas, camera.GetFocalPoint(), strict=True)]
    camera.SetPosition([old + step for old, step in zip(camera.GetPosition(), move, strict=True)])
    camera.SetFocalPoint(list(positionRas))
