"""Observers of VTK objects that keep nobody alive and are removed together."""

from __future__ import annotations

import weakref


class Observers:
    """What one object observes."""

    def __init__(self):
        self._tags = []

    def __bool__(self) -> bool:
        return bool(self._tags)

    def add(self, subject, event, method) -> None:
        """Call a method without arguments when a vtkObject tells an event."""
        self._tags.append((subject, subject.AddObserver(event, _Caller(method))))

    def remove(self) -> None:
        """Observe nothing any more."""
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags = []


class _Caller:
    """A callable that VTK may keep as long as it likes: a scene that is garbage tells its end to garbage."""

    __slots__ = ("_method",)

    def __init__(self, method):
        self._method = weakref.WeakMethod(method)

    def __call__(self, *_arguments) -> None:
        reference = getattr(self, "_method", None)  # absent where the garbage collector was here before
        method = reference() if reference is not None else None
        if method is not None:
            method()
