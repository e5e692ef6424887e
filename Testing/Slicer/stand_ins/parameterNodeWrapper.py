"""Stand-in for ``slicer.parameterNodeWrapper``: the types and widgets that this extension's parameters have."""

import enum
import typing
import weakref
from collections.abc import MutableMapping, MutableSequence

import ctk
import qt
import slicer
import vtk

__all__ = [
    "parameterNodeWrapper",
    "isParameterNodeWrapper",
    "ObservedDict",
    "ObservedList",
    "WithinRange",
    "Default",
    "createGuiConnector",
    "SlicerParameterNamePropertyName",
]
SlicerParameterNamePropertyName = "SlicerParameterName"


class Default:
    """Annotation: the default value."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        """The value, made anew where there is a generator."""
        return self._generator() if self._generator else self._value


class WithinRange:
    """Annotation: bounds of a number."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value) -> None:
        """:raises ValueError: outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class ObservedList(MutableSequence):
    """A list that writes each change to its node."""

    def __init__(self, parameterNode, listSerializer, name, startingValue):
        self._parameterNode, self._serializer = parameterNode, listSerializer
        self._name, self._list = name, startingValue

    def _saveList(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._list)
        finally:
            self._list = self._serializer.read(self._parameterNode, self._name)._list

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"

    def __eq__(self, other) -> bool:
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    def __len__(self):
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __delitem__(self, index):
        del self._list[index]
        self._saveList()

    def __setitem__(self, index, item):
        self._list[index] = item
        self._saveList()

    def __iadd__(self, other):
        self.extend(other)
        return self

    def __imul__(self, other):
        self._list *= other
        self._saveList()
        return self

    def _refused(self, other):
        raise NotImplementedError("An ObservedList has no + and *; use += or *=.")

    __add__ = __radd__ = __mul__ = __rmul__ = _refused

    def append(self, item) -> None:
        self._list.append(item)
        self._saveList()

    def extend(self, other) -> None:
        self._list.extend(other)
        self._saveList()

    def insert(self, index, item) -> None:
        self._list.insert(index, item)
        self._saveList()

    def remove(self, item) -> None:
        self._list.remove(item)
        self._saveList()

    def pop(self, i=-1):
        value = self._list.pop(i)
        self._saveList()
        return value

    def clear(self) -> None:
        self._list.clear()
        self._saveList()

    def sort(self, *args, **kwargs) -> None:
        self._list.sort(*args, **kwargs)
        self._saveList()

    def reverse(self) -> None:
        self._list.reverse()
        self._saveList()


class ObservedDict(MutableMapping):
    """A dict that writes each change to its node; ``get`` and ``pop`` take one argument, unlike a dict's."""

    def __init__(self, parameterNode, dictSerializer, name, startingValue):
        self._parameterNode, self._serializer = parameterNode, dictSerializer
        self._name, self._dict = name, startingValue

    def _saveDict(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._dict)
        finally:
            self._dict = self._serializer.read(self._parameterNode, self._name)

    def __repr__(self) -> str:
        return f"ObservedDict({self._dict})"

    def __eq__(self, other) -> bool:
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    def __ne__(self, other) -> bool:
        return not self == other

    def __len__(self):
        return len(self._dict)

    def __getitem__(self, key):
        return self._dict[key]

    def __delitem__(self, key):
        del self._dict[key]
        self._saveDict()

    def __setitem__(self, key, value):
        self._dict[key] = value
        self._saveDict()

    def __contains__(self, key):
        return key in self._dict

    def __iter__(self):
        return iter(self._dict)

    def keys(self):
        return self._dict.keys()

    def values(self):
        return self._dict.values()

    def items(self):
        return self._dict.items()

    def get(self, key):
        return self._dict.get(key)

    def pop(self, key):
        value = self._dict.pop(key)
        self._saveDict()
        return value

    def popitem(self):
        pair = self._dict.popitem()
        self._saveDict()
        return pair

    def clear(self):
        self._dict.clear()
        self._saveDict()


class _Plain:
    """Texts, numbers, booleans and enumerations, one parameter each."""

    def __init__(self, kind):
        self.kind = kind

    def default(self):
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def isIn(self, node, name):
        return node.HasParameter(name)

    def validate(self, value):
        allowed = (int, float) if self.kind is float else self.kind
        if value is None and not issubclass(self.kind, enum.Enum):
            raise ValueError("Value must not be None")
        if value is not None and not isinstance(value, allowed):
            raise TypeError(f"Value must be of type '{allowed}', is type '{type(value)}' value '{value}'")

    def write(self, node, name, value):
        self.validate(value)
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node, name):
        text = node.GetParameter(name)
        if issubclass(self.kind, enum.Enum):
            if text not in self.kind.__members__:
                raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def remove(self, node, name):
        node.UnsetParameter(name)


class _Node:
    """A node as a reference."""

    def __init__(self, kind):
        self.kind = kind

    def default(self):
        return None

    def isIn(self, node, name):
        return node.HasParameter(name)

    def validate(self, value):
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def write(self, node, name, value):
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)


class _List:
    """NAME.len and NAME.0, NAME.1, ..."""

    def __init__(self, element):
        self._element, self._length = element, _Plain(int)

    def default(self):
        return []

    def isIn(self, node, name):
        return self._length.isIn(node, f"{name}.len")

    def write(self, node, name, values):
        with slicer.util.NodeModify(node):
            old = self._size(node, name)
            for index, value in enumerate(values):
                self._element.write(node, f"{name}.{index}", value)
            self._length.write(node, f"{name}.len", len(values))
            for index in range(len(values), old):
                self._element.remove(node, f"{name}.{index}")

    def read(self, node, name):
        values = [self._element.read(node, f"{name}.{index}") for index in range(self._size(node, name))]
        return ObservedList(node, self, name, values)

    def _size(self, node, name):
        return self._length.read(node, f"{name}.len") if self.isIn(node, name) else 0


class _Pair:
    """NAME.0 and NAME.1."""

    def __init__(self, parts):
        self._parts = parts

    def write(self, node, name, values):
        for index, (part, value) in enumerate(zip(self._parts, values, strict=True)):
            part.write(node, f"{name}.{index}", value)

    def read(self, node, name):
        return tuple(part.read(node, f"{name}.{index}") for index, part in enumerate(self._parts))

    def remove(self, node, name):
        for index, part in enumerate(self._parts):
            part.remove(node, f"{name}.{index}")


class _Dict:
    """A list of pairs."""

    def __init__(self, parts):
        self._pairs = _List(_Pair(parts))

    def default(self):
        return {}

    def isIn(self, node, name):
        return self._pairs.isIn(node, name)

    def write(self, node, name, values):
        self._pairs.write(node, name, values.items())

    def read(self, node, name):
        return ObservedDict(node, self, name, dict(self._pairs.read(node, name)))


class _Validated:
    """A serializer with the validators of an annotation."""

    def __init__(self, inner, validators):
        self._inner, self._validators = inner, validators
        self.default, self.isIn, self.read = inner.default, inner.isIn, inner.read

    def write(self, node, name, value):
        for validator in self._validators:
            validator.validate(value)
        self._inner.write(node, name, value)


def _serializer(kind):
    if typing.get_origin(kind) is list:
        return _List(_serializer(typing.get_args(kind)[0]))
    if typing.get_origin(kind) is dict:
        return _Dict([_serializer(part) for part in typing.get_args(kind)])
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _Node(kind)
    if isinstance(kind, type) and issubclass(kind, str | int | float | bool | enum.Enum):
        return _Plain(kind)
    raise Exception(f"Unable to create serializer for type: {kind}")


class _Value:
    """One cached parameter of one node."""

    def __init__(self, name, serializer, default, node):
        self._name, self._serializer, self._node, self._writing = name, serializer, node, False
        self.default = default
        if not serializer.isIn(node, name):
            serializer.write(node, name, default.value)
        self._value = serializer.read(node, name)
        # Weakly, so that a wrapper that nobody has any more is gone with its observer.
        me = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: me()._onModified())

    def __del__(self):
        self._node.RemoveObserver(self._tag)

    def read(self):
        return self._value

    def write(self, value):
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._serializer.write(self._node, self._name, value)
                self._value = self._serializer.read(self._node, self._name)
        finally:
            self._writing = False

    def _onModified(self):
        if not self._writing:
            if not self._serializer.isIn(self._node, self._name):
                self._serializer.write(self._node, self._name, self.default.value)
            self._value = self._serializer.read(self._node, self._name)


class GuiConnector:
    """A widget and a type."""

    SIGNAL = ""

    def __init__(self, widget, datatype):
        self._widget, self._callback = widget, None

    def onChanged(self, callback):
        """Call this when the user changes the widget; None for no longer."""
        self._callback = callback
        signal = getattr(self._widget, self.SIGNAL)
        if callback is None:
            signal.disconnect(self.changed)
        else:
            signal.connect(self.changed)

    def changed(self):
        """The user changed the widget."""
        if self._callback:
            self._callback()

    def widget(self):
        """The widget."""
        return self._widget


class _CheckBox(GuiConnector):
    SIGNAL = "stateChanged"

    def read(self):
        return self._widget.checked

    def write(self, value):
        self._widget.checked = value


class _ComboBox(GuiConnector):
    SIGNAL = "currentIndexChanged"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        self._choices = list(datatype)
        kept = self.read()
        widget.clear()
        for choice in self._choices:
            widget.addItem(choice.label() if hasattr(choice, "label") else choice.name)
        self.write(kept)

    def read(self):
        return self._choices[self._widget.currentIndex]

    def write(self, value):
        self._widget.currentIndex = self._choices.index(value)


class _Slider(GuiConnector):
    SIGNAL = "valueChanged"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        bounds = [one for one in typing.get_args(datatype)[1:] if isinstance(one, WithinRange)]
        if not bounds:
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        widget.minimum, widget.maximum = bounds[0].minimum, bounds[0].maximum

    def read(self):
        return self._widget.value

    def write(self, value):
        self._widget.value = value


class _NodeSelector(GuiConnector):
    SIGNAL = "currentNodeChanged"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.nodeTypes = (_plain(datatype)().GetClassName(),)

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


def _plain(datatype):
    return typing.get_args(datatype)[0] if hasattr(datatype, "__metadata__") else datatype


def createGuiConnector(widget, datatype):
    """The connector of a widget and a type.

    :raises RuntimeError: there is none.
    """
    kind = _plain(datatype)
    isType = isinstance(kind, type)
    if kind is bool and type(widget) in (qt.QCheckBox, ctk.ctkCheckBox):
        return _CheckBox(widget, datatype)
    if isType and issubclass(kind, enum.Enum) and type(widget) in (qt.QComboBox, ctk.ctkComboBox):
        return _ComboBox(widget, datatype)
    if kind is float and type(widget) is ctk.ctkSliderWidget:
        return _Slider(widget, datatype)
    if isType and issubclass(kind, slicer.vtkMRMLNode) and type(widget) is slicer.qMRMLNodeComboBox:
        return _NodeSelector(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'.")


class _Wrapper:
    """What the decorator gives a class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._nextTag, self._observers, self._updating = {}, 0, {}, False
        for name, (serializer, default, _datatype) in self.allParameters.items():
            setattr(self, f"_{name}_impl", _Value(f"{prefix or ''}{name}", serializer, default, parameterNode))

    def default(self, paramName):
        self._check(paramName)
        return getattr(self, f"_{paramName}_impl").default

    def getValue(self, name):
        self._check(name)
        return getattr(self, f"_{name}_impl").read()

    def setValue(self, name, value):
        self._check(name)
        getattr(self, f"_{name}_impl").write(value)

    @classmethod
    def dataType(cls, membername):
        return cls.allParameters[membername][2]

    def isCached(self, paramName):
        self._check(paramName)
        return True

    def connectGui(self, gui):
        """Connect all widgets that name a parameter."""
        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if isWidget else gui.__dict__.values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._check(name)
        connectors = {name: createGuiConnector(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._callback(name, connector))
        event = vtk.vtkCommand.ModifiedEvent
        self._observers[tag] = self.AddObserver(event, lambda caller, event: self._updateGui())
        return tag

    def disconnectGui(self, guiTag):
        for connector in self._guis.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._observers:
            self.RemoveObserver(self._observers.pop(guiTag))

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()

    def _callback(self, name, connector):
        def changed():
            with slicer.util.NodeModify(self):
                if not self._updating:
                    self.setValue(name, connector.read())

        return changed

    def _updateGui(self):
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def _check(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")


def isParameterNodeWrapper(classOrObj):
    """Whether a class or an object was decorated."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(classtype=None):
    """Class decorator: annotated members become parameters of a node."""
    if classtype is None:
        return parameterNodeWrapper
    parameters = {}
    for name, datatype in typing.get_type_hints(classtype, include_extras=True).items():
        kind, annotations = _plain(datatype), typing.get_args(datatype)[1:] if hasattr(datatype, "__metadata__") else ()
        serializer = _Validated(_serializer(kind), [one for one in annotations if hasattr(one, "validate")])
        marked = [one for one in annotations if isinstance(one, Default)]
        if hasattr(classtype, name):
            default = Default(getattr(classtype, name))
        else:
            default = marked[0] if marked else Default(serializer.default())
        parameters[name] = (serializer, default, datatype)
        setattr(classtype, name, _property(name))
    taken = [name for name in vars(_Wrapper) if not name.startswith("__") and hasattr(classtype, name)]
    if taken:
        raise ValueError(f"Cannot use reserved name '{taken[0]}' in a parameterNodeWrapper")
    for name, member in vars(_Wrapper).items():
        if name == "__init__" or not name.startswith("__"):
            setattr(classtype, name, member)
    classtype.allParameters, classtype._is_parameter_node_wrapper = parameters, True
    return classtype


def _property(name):
    return property(
        lambda self: getattr(self, f"_{name}_impl").read(),
        lambda self, value: getattr(self, f"_{name}_impl").write(value),
    )
