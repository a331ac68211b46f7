"""Two clicks of the user as a line, without leaving a node behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from CTRestorationLib.nodes.observers import Observers


class LinePlacement:
    """Place mode for one line.

    Args:
        scene: where the user clicks.
        name: shown beside the line while it is placed.
        onPlaced: gets both points, LPS mm, once. Called from within the click: `stop` must come later.
        onLeft: called where the user leaves place mode (Escape) before the second point; likewise.
    """

    def __init__(
        self,
        scene: Any,
        name: str,
        onPlaced: Callable[[tuple, tuple], None],
        onLeft: Callable[[], None] = lambda: None,
    ) -> None:
        self._scene = scene
        self._onPlaced = onPlaced
        self._onLeft = onLeft
        self._observers = Observers()
        self.line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
        self.line.SetSaveWithScene(False)
        self.line.CreateDefaultDisplayNodes()
        self._observers.add(self.line, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self._defined)
        selection = self._singleton("vtkMRMLSelectionNode")
        if selection is not None:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
            selection.SetActivePlaceNodeID(self.line.GetID())
        self._setMode("Place")
        interaction = self._singleton("vtkMRMLInteractionNode")
        if interaction is not None:
            self._observers.add(interaction, interaction.InteractionModeChangedEvent, self._modeChanged)

    def stop(self) -> None:
        """Leave place mode; a line half placed is taken away."""
        self._observers.removeAll()
        line, self.line = self.line, None
        if line is not None:
            self._setMode("ViewTransform")
            if self._scene.IsNodePresent(line):
                self._scene.RemoveNode(line)

    def _defined(self) -> None:
        if self.line is None or self.line.GetNumberOfDefinedControlPoints() < 2:
            return
        ends = []
        for number in (0, 1):
            right, anterior, superior = self.line.GetNthControlPointPositionWorld(number)
            ends.append((round(-right, 3), round(-anterior, 3), round(superior, 3)))
        self._observers.removeAll()
        self._onPlaced(*ends)

    def _modeChanged(self) -> None:
        interaction = self._singleton("vtkMRMLInteractionNode")
        if (
            self.line is not None
            and interaction is not None
            and interaction.GetCurrentInteractionMode() != interaction.Place
        ):
            self._onLeft()

    def _singleton(self, className: str) -> Any:
        return self._scene.GetFirstNodeByClass(className)

    def _setMode(self, name: str) -> None:
        interaction = self._singleton("vtkMRMLInteractionNode")
        if interaction is None:
            return
        if name == "Place":
            interaction.SetPlaceModePersistence(0)
            interaction.SetCurrentInteractionMode(interaction.Place)
        else:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
