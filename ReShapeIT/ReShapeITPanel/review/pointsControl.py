"""Clicks in the views: *This belongs* and *This does not*, two lists of points that are saved with the scene."""

import qt
import vtk
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.observers import Observers
from ReShapeITSlicer.suggestions.points import (
    BELONGS,
    BELONGS_NOT,
    INTERACTION,
    newList,
    newStroke,
    placedInto,
    pointsOf,
    sayAbout,
    setPoints,
    startPlacing,
    stopPlacing,
    strokePoints,
)

REST_MS = 150
KEYS = {BELONGS: "+", BELONGS_NOT: "-"}


class PointsControl:
    """The row of buttons that place points, and what happens when points come, move and go.

    :param ui: widgets by name, see ReShapeIT.ui.
    :param scene: vtkMRMLScene.
    :param say: shows a sentence to the user.
    :param decided: called without arguments when the points say something new.
    """

    def __init__(self, ui, scene, say, decided):
        self._ui, self._scene, self._say, self._decided = ui, scene, say, decided
        self._deciding, self._parameters, self._stroke = None, None, None
        self._observers, self._modeObservers, self._isWriting = Observers(), Observers(), False
        # While a point is dragged, it moves many times a second.
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST_MS)
        self._timer.connect("timeout()", self.apply)
        self._buttons = {BELONGS: ui.belongsButton, BELONGS_NOT: ui.belongsNotButton}
        self._keys = [self._connect(name) for name in self._buttons]
        ui.clearPointsButton.connect("clicked()", self.clear)
        ui.strokeCheckBox.connect("toggled(bool)", lambda checked: stopPlacing(scene))
        self.setDeciding(None)

    def setParameters(self, parameters) -> None:
        """Take another parameter node, which knows the lists; None while the scene is closed."""
        self._parameters = parameters
        self._observe()

    def setDeciding(self, deciding) -> None:
        """Points are about the organs of this refinement from now on, those that are in the scene, too."""
        self._timer.stop()
        self._deciding = deciding
        if deciding is None:
            self._endStroke(counts=False)
            stopPlacing(self._scene)
        self._observe()
        self.refresh()
        if deciding is not None and deciding.canDecide and any(self._positions()):
            self._timer.start()

    def refresh(self) -> None:
        """Enable what can be done and check the button whose list is being filled."""
        open_ = self._deciding is not None and self._deciding.canDecide and self._deciding.isOpen
        filled = placedInto(self._scene)
        if filled is not None and not open_ and filled in map(self._target, self._buttons):
            stopPlacing(self._scene)
            filled = None
        if self._stroke is not None and filled is not self._stroke[1]:
            self._endStroke(counts=open_)
        for name, button in self._buttons.items():
            button.setEnabled(open_)
            blocked = button.blockSignals(True)
            button.setChecked(filled is not None and filled is self._target(name))
            button.blockSignals(blocked)
        for each in (*self._keys, self._ui.strokeCheckBox):
            each.setEnabled(open_)
        self._ui.clearPointsButton.setEnabled(any(self._positions()))

    def apply(self) -> None:
        """Let the points decide."""
        if self._deciding is None or not self._deciding.canDecide:
            return
        try:
            self._deciding.setAllPoints(*self._about())
        except RefinementError as error:
            self._say(str(error))
        self._decided()

    def show(self) -> None:
        """Let the lists have the points that count after an undo."""
        if self._deciding is None:
            return
        self._isWriting = True
        try:
            others = self._elsewhere()
            for name, points, other in zip(self._buttons, self._deciding.allPoints(), others, strict=True):
                setPoints(self._list(name), [(where, self._prefix + about) for where, about in points] + other)
        finally:
            self._isWriting = False
        self.refresh()

    def clear(self) -> None:
        """Remove all points."""
        stopPlacing(self._scene)
        for name in self._buttons:
            setPoints(self._list(name), [])

    def _connect(self, name: str):
        self._buttons[name].connect("toggled(bool)", lambda checked: self._onToggled(name, checked))
        # The panel is a part of the main window: the key works in the views, too.
        key = qt.QShortcut(qt.QKeySequence(KEYS[name]), self._buttons[name])
        key.connect("activated()", lambda: self._buttons[name].click())
        return key

    def _onToggled(self, name: str, checked: bool) -> None:
        if not checked:
            stopPlacing(self._scene)
        elif self._parameters is not None:
            if self._list(name) is None:
                setattr(self._parameters, _PARAMETERS[name], newList(self._scene, name))
                self._observe()
            self._endStroke()
            if self._ui.strokeCheckBox.checked:
                self._stroke = name, newStroke(self._scene, name)
            startPlacing(self._scene, self._target(name))
        self.refresh()

    def _endStroke(self, counts: bool = True) -> None:
        """A stroke that was drawn becomes points of its list."""
        if self._stroke is None:
            return
        (name, curve), self._stroke = self._stroke, None
        for point in strokePoints(curve) if counts and self._list(name) is not None else ():
            self._list(name).AddControlPointWorld(*point)
        if self._scene.IsNodePresent(curve):
            self._scene.RemoveNode(curve)

    def _target(self, name: str):
        """What a click puts a point into: the stroke that is drawn, else the list."""
        return self._stroke[1] if self._stroke is not None and self._stroke[0] == name else self._list(name)

    def _list(self, name: str):
        return getattr(self._parameters, _PARAMETERS[name]) if self._parameters is not None else None

    def _positions(self) -> tuple[list, list]:
        return tuple(pointsOf(self._list(name)) for name in self._buttons)

    def _about(self) -> tuple[list, list]:
        """(World RAS mm, segment id) of the points that are about this segmentation."""
        self._isWriting = True
        try:
            for name in self._buttons:
                sayAbout(self._list(name), lambda where: self._prefix + self._deciding.nearestOrgan(where))
        finally:
            self._isWriting = False
        prefix = self._prefix
        return tuple(
            [(where, about[len(prefix) :]) for where, about in points if about.startswith(prefix)]
            for points in self._positions()
        )

    def _elsewhere(self) -> tuple[list, list]:
        """Points about another segmentation, or about segments that are not reviewed now."""
        known = {self._prefix + segmentId for segmentId in self._deciding.segmentIds}
        return tuple([point for point in points if point[1] not in known] for points in self._positions())

    @property
    def _prefix(self) -> str:
        return f"{self._deciding.nameOfNode}: "

    def _observe(self) -> None:
        self._observers.remove()
        for node in filter(None, map(self._list, self._buttons)):
            for event in (node.PointPositionDefinedEvent, node.PointRemovedEvent, node.PointModifiedEvent):
                self._observers.add(node, event, self._onPoints)
        self._modeObservers.remove()
        interaction = self._scene.GetNodeByID(INTERACTION)
        if interaction is not None:
            self._modeObservers.add(interaction, vtk.vtkCommand.ModifiedEvent, self.refresh)

    def _onPoints(self) -> None:
        if not self._isWriting:
            self._ui.clearPointsButton.setEnabled(any(self._positions()))
            self._timer.start()


_PARAMETERS = {BELONGS: "belongs", BELONGS_NOT: "belongsNot"}
