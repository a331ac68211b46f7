"""All that the presenters of MARInpaint need of the scene, as one object that a test can replace by a fake."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer

from ctrestoration.errors import InputError
from CTRestorationLib.nodes import segmentations, volumes
from CTRestorationLib.nodes.comparing import ComparisonNodes
from CTRestorationLib.nodes.placing import LinePlacement
from CTRestorationLib.nodes.results import ResultNodes

_HU_LOW, _HU_HIGH = -300.0, 100.0


class MarNodes:
    """The scene as the steps see it; points that cross this border are LPS mm.

    Attributes:
        volumes, segmentations: the modules of that name.
        results: what Simulate and Correct put into the scene.
        comparison: what Compare shows.
    """

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.results = ResultNodes(scene)
        self.comparison = ComparisonNodes(scene)
        self.volumes = volumes
        self.segmentations = segmentations

    # Inputs

    def problemOf(self, volume: Any) -> str:
        """Why a volume cannot be worked on: "" or one sentence."""
        try:
            volumes.arrayOfNode(volume)
        except InputError as error:
            return str(error)
        return ""

    def summaryOf(self, volume: Any) -> str:
        """Size, voxel size and range of a volume, with a warning where the values do not look like HU."""
        if volume is None:
            return ""
        problem = self.problemOf(volume)
        if problem:
            return problem
        grid = volumes.gridOfNode(volume)
        low, high = volume.GetImageData().GetScalarRange()
        size = " x ".join(str(n) for n in grid.shape[::-1])
        spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing)
        text = f"{size} voxels of {spacing} mm, {low:.0f} to {high:.0f}"
        if low > _HU_LOW or high < _HU_HIGH:
            return f"{text}. These do not look like Hounsfield units: air should be near -1000 and bone above 300."
        return f"{text} HU"

    def stamp(self, node: Any) -> tuple[Any, ...]:
        """Identifies the state of a node's content: equal stamps, equal files."""
        transform = node.GetParentTransformNode()
        moved = () if transform is None else (transform.GetID(), transform.GetTransformToWorldMTime())
        if node.IsA("vtkMRMLSegmentationNode"):
            content = []
            for identifier in node.GetSegmentation().GetSegmentIDs():
                segment = node.GetSegmentation().GetSegment(identifier)
                names: list[str] = []
                segment.GetContainedRepresentationNames(names)
                parts = [segment.GetRepresentation(name) for name in names]
                content.append((identifier, segment.GetName(), tuple(part.GetMTime() for part in parts if part)))
            return (node.GetID(), tuple(content), moved)
        image = node.GetImageData()
        grid = volumes.gridOfNode(node)
        return (node.GetID(), None if image is None else image.GetMTime(), grid.shape, grid.affine.tobytes(), moved)

    def volumeSource(self, volume: Any) -> Any:
        """Array, grid and name of a volume node, for writing it; the array is shared with the scene, not copied."""
        return SimpleNamespace(
            array=volumes.arrayOfNode(volume), grid=volumes.gridOfNode(volume), name=volume.GetName()
        )

    def segmentNames(self, segmentation: Any) -> dict[str, str]:
        """Segment ID -> name."""
        segments = segmentation.GetSegmentation()
        return {identifier: segments.GetSegment(identifier).GetName() for identifier in segments.GetSegmentIDs()}

    def segmentCenter(self, segmentation: Any, segmentId: str) -> tuple[float, float, float]:
        """Center of a segment's extent, LPS mm."""
        right, anterior, superior = segmentation.GetSegmentCenterRAS(segmentId)
        return -right, -anterior, superior

    def labelMapSteps(
        self, segmentation: Any, like: Any, segmentIds: Sequence[str] | None = None
    ) -> Generator[None, None, Any]:
        """A segmentation as `LabelMap`; of a segmentation that names vertebrae only these."""
        from ctrestoration.anatomy.spine.from_labels import level_in_name

        if segmentIds is None:
            names = self.segmentNames(segmentation)
            segmentIds = [
                identifier for identifier, name in names.items() if level_in_name(name) or "sacrum" in name.lower()
            ] or list(names)
        return (yield from segmentations.labelMapSteps(segmentation, like, segmentIds))

    # Results

    def segmentationSteps(self, labels: Any, name: str, like: Any) -> Generator[None, None, Any]:
        """A `LabelMap` as a new segmentation node."""
        return (yield from segmentations.segmentationSteps(labels, name, like))

    def newVolume(self, volume: Any, name: str, window: tuple[float, float]) -> Any:
        """A `Volume` that has no input in the scene as a new node; `window` is (width, level) in HU."""
        from CTRestorationLib.nodes.geometry import vtkMatrixOf

        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(vtkMatrixOf(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine))
        slicer.util.updateVolumeFromArray(node, volume.array)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(*window)
        return node

    def uniqueName(self, name: str) -> str:
        """The name, or the name with a number where a node has it already."""
        return str(self.scene.GenerateUniqueName(name)) if self.scene.GetFirstNodeByName(name) else name

    def filed(self, node: Any, inputNode: Any, facts: dict[str, Any]) -> None:
        """Note where a result came from, and put it into a folder of this run beside its input."""
        from CTRestorationLib.nodes import hierarchy, provenance

        provenance.setProvenance(node, {"input": inputNode.GetName(), **facts})
        folder = hierarchy.runFolder(inputNode, facts.get("command", "result"))
        hierarchy.putInFolder(node, folder)

    def provenanceOf(self, node: Any) -> dict[str, Any] | None:
        """What `filed` noted, None for a node of other origin."""
        from CTRestorationLib.nodes import provenance

        return provenance.provenanceOf(node)

    # Views

    def thresholdPreview(self) -> Any:
        """A preview of what lies above a threshold."""
        return segmentations.ThresholdPreview(self.scene)

    def planNodes(self) -> Any:
        """Screws, rods and devices of the scene."""
        from CTRestorationLib.nodes.plans import PlanNodes

        return PlanNodes(self.scene)

    def placeLine(
        self, name: str, onPlaced: Callable[[tuple, tuple], None], onLeft: Callable[[], None]
    ) -> LinePlacement:
        """Let the user click two points; `onPlaced(first, second)` gets them in LPS mm. `stop()` ends it."""
        return LinePlacement(self.scene, name, onPlaced, onLeft)

    def sliceNode(self, name: str) -> Any:
        """A slice view's node by its layout name, None where there is none."""
        return self.scene.GetNodeByID(f"vtkMRMLSliceNode{name}")

    def resliceAlong(self, plans: Any, line: Any) -> None:
        """Turn the red view along a screw, move the others to its middle, and name it in the views."""
        plans.labelOnly(line)
        red = self.sliceNode("Red")
        if red is not None:
            plans.resliceAlong(line, red)
        ends = np.array([line.GetNthControlPointPositionWorld(number) for number in (0, 1)])
        for name in ("Yellow", "Green"):
            node = self.sliceNode(name)
            if node is not None:
                node.JumpSlice(*(float(value) for value in ends.mean(axis=0)))

    def sliceCrossing(self, volume: Any) -> tuple[float, float, float]:
        """Where the red, yellow and green planes cross, LPS mm; the volume's center where they do not."""
        rows, offsets = [], []
        for name in ("Red", "Yellow", "Green"):
            node = self.sliceNode(name)
            if node is None:
                break
            matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            rows.append(matrix[:3, 2])
            offsets.append(matrix[:3, 2] @ matrix[:3, 3])
        grid = volumes.gridOfNode(volume)
        center = grid.to_world([(n - 1) / 2 for n in grid.shape[::-1]])
        if len(rows) == 3 and abs(np.linalg.det(np.array(rows))) > 1e-3:
            right, anterior, superior = np.linalg.solve(np.array(rows), np.array(offsets))
            point = np.array([-right, -anterior, superior])
            index = grid.to_index(point)
            if (index > -0.5).all() and (index < np.array(grid.shape[::-1]) - 0.5).all():
                center = point
        x, y, z = (round(float(value), 3) for value in center)
        return x, y, z
