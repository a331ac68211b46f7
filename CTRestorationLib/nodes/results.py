"""Results of Simulate and Correct in the scene: volumes, maps and masks of one run in one folder, or none of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer

from ctrestoration.errors import InputError
from ctrestoration.volume import Volume, axial_part
from CTRestorationLib.nodes import hierarchy, provenance, segmentations, volumes
from CTRestorationLib.nodes.acquisitions import AcquisitionStore
from CTRestorationLib.nodes.observers import Observers

UNCERTAINTY = "CTRestoration.uncertainty"
SYNTHESIZED = "CTRestoration.synthesized"
_SYNTHESIZED_COLOR = (0.10, 0.75, 0.80)
_SAMPLE = 200_000


class ResultNodes:
    """What Simulate and Correct put into the scene, and what they ask of it; points are LPS mm.

    Args:
        scene: vtkMRMLScene.

    Attributes:
        acquisitions: the sinograms of simulated volumes.
    """

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.acquisitions = AcquisitionStore(scene)

    # Questions

    def segmentCorners(self, segmentation: Any, segmentId: str) -> list[tuple[float, float, float]]:
        """The corners of the box around a segment; none where it is empty."""
        segment = segmentation.GetSegmentation().GetSegment(segmentId)
        bounds = [0.0] * 6
        if segment is None:
            return []
        segment.GetBounds(bounds)
        if bounds[0] > bounds[1] or bounds[2] > bounds[3] or bounds[4] > bounds[5]:
            return []
        from CTRestorationLib.nodes.geometry import fromWorldMatrix

        toWorld = np.linalg.inv(fromWorldMatrix(segmentation))
        corners = []
        for corner in itertools.product(bounds[:2], bounds[2:4], bounds[4:]):
            x, y, z, _ = toWorld @ (*corner, 1.0)
            corners.append((-x, -y, z))
        return corners

    def isVolume(self, node: Any) -> bool:
        """Whether a node is a volume that is still in the scene."""
        return node is not None and bool(self.scene.IsNodePresent(node))

    def watch(self, changed: Callable[[], None]) -> Observers:
        """Call `changed()` after nodes came or went; `removeAll()` of what is given back ends it."""
        observers = Observers()
        for event in (self.scene.NodeAddedEvent, self.scene.NodeRemovedEvent, self.scene.EndImportEvent):
            observers.add(self.scene, event, changed)
        return observers

    # Volumes

    def volumeSteps(self, found: Volume, name: str, like: Any) -> Generator[None, None, Any]:
        """A result on the voxels of its input as a new node."""
        return (yield from volumes.volumeSteps(found, name, like))

    def partSteps(self, found: Volume, name: str, like: Any, first: int, last: int) -> Generator[None, None, Any]:
        """A result on axial slices `first` to `last` of its input; their place is computed, not read."""
        grid = volumes.gridOfNode(like)
        where = axial_part(grid, first, last)
        start = tuple(range(count)[cut].start for cut, count in zip(where, grid.shape, strict=True))
        stop = tuple(range(count)[cut].stop for cut, count in zip(where, grid.shape, strict=True))
        part = grid.crop(start, stop)  # type: ignore[arg-type]
        difference = part.mismatch(found.grid)
        if difference is not None:
            raise InputError(f"{name} is not slices {first} to {last} of {like.GetName()}: {difference}.")
        from CTRestorationLib.nodes.geometry import vtkMatrixOf

        image = yield from volumes.imageSteps(found.array)
        # In world coordinates, so that no transform stands above it.
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(vtkMatrixOf(np.diag([-1.0, -1.0, 1.0, 1.0]) @ part.affine))
        volumes.setVoxels(node, image, like)
        return node

    def uncertaintySteps(self, found: Volume, name: str, like: Any, result: Any) -> Generator[None, None, Any]:
        """The uncertainty of a result in HU as a map with colors; it is found again from the result."""
        node = yield from volumes.volumeSteps(found, name, like)
        sample = found.array.reshape(-1)[:: max(1, found.array.size // _SAMPLE)]
        known = sample[sample > 0]
        high = float(np.percentile(known, 99)) if known.size else 1.0
        volumes.showFloatMap(node, "Uncertainty (HU)", 0.0, max(high, 1.0))
        volumes.legendOf(node).SetVisibility(False)  # shown where the map is: in Compare
        result.SetNodeReferenceID(UNCERTAINTY, node.GetID())
        return node

    def uncertaintyOf(self, result: Any) -> Any:
        """The uncertainty map of a result, None where its method gives none or it was deleted."""
        return result.GetNodeReference(UNCERTAINTY) if result is not None else None

    def showSlices(self, node: Any) -> None:
        """Put a volume into the background of the slice views."""
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self.scene):
            if not composite.GetLayoutName().startswith("CTRestoration"):
                composite.SetBackgroundVolumeID(node.GetID())

    # Masks

    def maskSteps(self, labels: Any, name: str, like: Any) -> Generator[None, None, Any]:
        """A mask in a `LabelMap` as a segmentation with one segment, in the color of metal; also where it is empty."""
        if labels.grid.mismatch(volumes.gridOfNode(like)) is None and not labels.array.any():
            return segmentations.writeMask(labels.array > 0, name, like)[0]
        named = replace(labels, names=dict.fromkeys(labels.names, name))
        node = yield from segmentations.segmentationSteps(named, name, like)
        node.GetSegmentation().GetNthSegment(0).SetColor(*segmentations.METAL_COLOR)
        return node

    def synthesizedSteps(self, labels: Any, name: str, like: Any, result: Any) -> Generator[None, None, Any]:
        """The voxels of a result that were filled in rather than measured: an outline, shown at once."""
        node = yield from self.maskSteps(labels, name, like)
        segments = node.GetSegmentation()
        for number in range(segments.GetNumberOfSegments()):
            segments.GetNthSegment(number).SetColor(*_SYNTHESIZED_COLOR)
        display = node.GetDisplayNode()
        display.SetVisibility(True)
        display.SetVisibility3D(False)
        display.SetOpacity2DFill(0.15)
        display.SetOpacity2DOutline(0.9)
        result.SetNodeReferenceID(SYNTHESIZED, node.GetID())
        return node

    # Runs

    def fileRun(self, inputNode: Any, title: str, nodes: dict[str, Any], facts: dict[str, Any]) -> None:
        """Put the nodes of one run, by what they are, into one folder beside their input, and the facts as a text."""
        facts = {"input": inputNode.GetName(), "inputID": inputNode.GetID(), **facts}
        folder = hierarchy.runFolder(inputNode, title)
        text = provenance.writeRunText(f"{title}: settings", facts)
        for what, node in nodes.items():
            provenance.setProvenance(node, {**facts, "title": what})
            hierarchy.putInFolder(node, folder)
        hierarchy.putInFolder(text, folder)

    def discard(self, nodes: Sequence[Any]) -> None:
        """Take half a result out again."""
        for node in nodes:
            hierarchy.removeNode(node)

    def describe(self, node: Any) -> SimpleNamespace:
        """What a list says of a volume: its name, and what made it."""
        facts = provenance.provenanceOf(node) or {}
        return SimpleNamespace(name=node.GetName(), origin=str(facts.get("title", "")))

    def candidates(self) -> list[Any]:
        """The CT volumes of the scene that can be compared: visible in lists, no labels, no maps."""
        every = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self.scene)
        maps = {self.uncertaintyOf(node) for node in every}
        return [
            node
            for node in every
            if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors() and node not in maps
        ]
