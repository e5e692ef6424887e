"""The command-line module in the test application: nodes to files, the script as Slicer calls it, files to nodes."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .slicer_python import ROOT

FOLDER = ROOT / "ReShapeIT" / "ReShapeITRefine"


class CommandLineModule:
    """``slicer.modules.reshapeitrefine``.

    Args:
        scene: vtkMRMLScene.
        folder: for temporary files.
    """

    def __init__(self, scene, folder: Path):
        self.name, self.title = "ReShapeITRefine", ElementTree.parse(FOLDER / "ReShapeITRefine.xml").findtext("title")
        self.path, self._logic = str(FOLDER / "ReShapeITRefine.py"), CommandLineLogic(scene, folder)

    def logic(self):
        """vtkSlicerCLIModuleLogic."""
        return self._logic


class CommandLineNode:
    """vtkMRMLCommandLineModuleNode: the parameters of one run and how it ended."""

    def __init__(self):
        self.values, self._status, self._error, self._output = {}, "Idle", "", ""

    def SetParameterAsString(self, name, value):
        """A text."""
        self.values[name] = value

    def SetParameterAsBool(self, name, value):
        """Yes or no."""
        self.values[name] = "true" if value else "false"

    def SetParameterAsInt(self, name, value):
        """A whole number."""
        self.values[name] = str(value)

    SetParameterAsDouble = SetParameterAsInt

    def SetParameterAsNode(self, name, value):
        """A node."""
        self.values[name] = value

    def GetStatusString(self):
        """ "Completed", or "Completed with errors"."""
        return self._status

    def GetErrorText(self):
        """What the script wrote to stderr."""
        return self._error

    def GetOutputText(self):
        """What the script wrote to stdout."""
        return self._output


class CommandLineLogic:
    """vtkSlicerCLIModuleLogic, as ``slicer.cli`` uses it.

    Args:
        scene: vtkMRMLScene.
        folder: for temporary files.
    """

    def __init__(self, scene, folder: Path):
        self._scene, self._folder, self._delete = scene, folder, True
        root = ElementTree.parse(FOLDER / "ReShapeITRefine.xml").getroot()
        groups = [element for group in root.findall("parameters") for element in group]
        self._parameters = [element for element in groups if element.find("name") is not None]

    def CreateNodeInScene(self):
        """A node with the defaults."""
        node = CommandLineNode()
        for element in self._parameters:
            node.values[element.findtext("name")] = element.findtext("default") or ""
        return node

    def SetDeleteTemporaryFiles(self, value):
        """Whether files are removed."""
        self._delete = bool(value)

    def SetHideWindow(self, value):
        """Windows only."""

    def ApplyAndWait(self, node, updateDisplay=True):
        """Run the script; outputs go to their nodes."""
        words, indexed, outputs, files = [], {}, [], []
        for element in self._parameters:
            value = node.values.get(element.findtext("name"), "")
            if element.tag in ("image", "geometry") and value:
                path = self._folder / _file_name(value, ".vtp" if element.tag == "geometry" else ".nrrd")
                files.append(path)
                if element.findtext("channel") == "output":
                    outputs.append((value, path))
                else:
                    _written(value, path)
                value = str(path)
            if element.find("index") is not None:
                indexed[int(element.findtext("index"))] = value
            elif element.tag == "boolean":
                words += [f"--{element.findtext('longflag')}"] if value == "true" else []
            elif value:
                words += [f"--{element.findtext('longflag')}", value]
        command = [sys.executable, str(FOLDER / "ReShapeITRefine.py"), *words]
        command += [indexed[index] for index in sorted(indexed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        node._output, node._error = done.stdout, done.stderr
        node._status = "Completed" if done.returncode == 0 else "Completed with errors"
        for target, path in outputs if done.returncode == 0 else ():
            storage = _storage(target, path)
            storage.ReadData(target)
        for path in files if self._delete else ():
            path.unlink(missing_ok=True)

    Apply = ApplyAndWait


def _file_name(node, extension: str) -> str:
    """As Slicer names temporary files: digits of the node's id become letters."""
    letters = "".join(chr(ord("A") + int(sign)) if sign.isdigit() else sign for sign in node.GetID())
    return f"{os.getpid()}_{letters}{extension}"


def _written(node, path: Path) -> None:
    if not _storage(node, path).WriteData(node):
        raise RuntimeError(f"{node.GetName()} cannot be written")


def _storage(node, path: Path):
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    storage.SetFileName(str(path))
    return storage
