"""The few places where PythonQt, which Slicer uses, and PySide differ."""


def read(widget, name: str):
    """A Qt property by name; PythonQt gives properties as attributes, PySide as methods."""
    return widget.property(name)


def connect(sender, signature: str, function) -> None:
    """Connect a signal given by its C++ signature, which PythonQt needs where a signal is overloaded.

    :param signature: such as "currentIndexChanged(int)".
    """
    signal = getattr(sender, signature.partition("(")[0])
    if callable(getattr(signal, "connect", None)):
        signal.connect(function)
    else:
        sender.connect(signature, function)
