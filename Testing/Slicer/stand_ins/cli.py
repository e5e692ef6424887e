"""Stand-in for ``slicer.cli``: nodes with parameters, run by the module's logic."""


def createNode(cliModule, parameters=None):
    """A node of a module with parameters."""
    node = cliModule.logic().CreateNodeInScene()
    setNodeParameters(node, parameters)
    return node


def setNodeParameters(node, parameters):
    """Set parameters by their Python types."""
    import slicer

    for name, value in (parameters or {}).items():
        if isinstance(value, slicer.vtkMRMLNode):
            node.SetParameterAsNode(name, value)
        elif isinstance(value, bool):
            node.SetParameterAsBool(name, value)
        elif isinstance(value, int):
            node.SetParameterAsInt(name, value)
        elif isinstance(value, float):
            node.SetParameterAsDouble(name, value)
        elif isinstance(value, list | tuple):
            node.SetParameterAsString(name, ", ".join(map(repr, value)))
        elif isinstance(value, str):
            node.SetParameterAsString(name, value)
        else:
            print("parameter ", name, " has unsupported type ", type(value).__name__)


def runSync(module, node=None, parameters=None, delete_temporary_files=True, update_display=True, hide_window=True):
    """Run a module and wait."""
    return run(module, node, parameters, True, delete_temporary_files, update_display, hide_window)


def run(
    module,
    node=None,
    parameters=None,
    wait_for_completion=False,
    delete_temporary_files=True,
    update_display=True,
    hide_window=True,
):
    """Run a module."""
    if node is None:
        node = createNode(module, parameters)
    else:
        setNodeParameters(node, parameters)
    logic = module.logic()
    logic.SetDeleteTemporaryFiles(int(delete_temporary_files))
    logic.SetHideWindow(int(hide_window))
    (logic.ApplyAndWait if wait_for_completion else logic.Apply)(node, update_display)
    return node


def cancel(node):
    """Slicer's own does nothing either."""
    print("Not yet implemented")
