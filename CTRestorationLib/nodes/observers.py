"""Observers that are all taken off again."""

from __future__ import annotations

import vtk


class Observers:
    """Keeps the tags of VTK observers and removes them; a removed observer is never called, not even late."""

    def __init__(self) -> None:
        self._kept: list[tuple[vtk.vtkWeakReference, int]] = []

    def add(self, target, event, function, node: bool = False) -> None:
        """Call `function()` on an event, or `function(node)` with the node a scene event is about."""
        if node:

            @vtk.calldata_type(vtk.VTK_OBJECT)
            def called(_caller, _event, data) -> None:
                function(data)

        else:

            def called(_caller, _event) -> None:
                function()

        # A weak reference: keeping a removed node alive would be a leak.
        reference = vtk.vtkWeakReference()
        reference.Set(target)
        self._kept.append((reference, target.AddObserver(event, called)))

    def remove(self, target) -> None:
        """Take all observers off one object."""
        rest = []
        for reference, tag in self._kept:
            found = reference.Get()
            if found is target:
                target.RemoveObserver(tag)
            elif found is not None:
                rest.append((reference, tag))
        self._kept = rest

    def removeAll(self) -> None:
        """Take all observers off everything."""
        kept, self._kept = self._kept, []
        for reference, tag in kept:
            found = reference.Get()
            if found is not None:
                found.RemoveObserver(tag)

    def __len__(self) -> int:
        return sum(reference.Get() is not None for reference, _ in self._kept)
