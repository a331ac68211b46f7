"""Segmentation nodes: masks and label maps in and out, on the grid of their CT."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import slicer
import vtk

from ctrestoration.errors import InputError
from ctrestoration.volume import LabelMap
from CTRestorationLib.nodes.geometry import fromWorldMatrix, gridOfNode, vtkMatrixOf, worldMatrix
from CTRestorationLib.nodes.preview import ThresholdPreview, isPreview

__all__ = [
    "METAL_COLOR", "ThresholdPreview", "isPreview", "labelMapFromSegmentation", "labelMapSteps", "maskFromSegment",
    "segmentationFromLabelMap", "segmentationSteps", "writeMask",
]  # fmt: skip

METAL_COLOR = (0.95, 0.77, 0.06)
LABEL_TAG = "CTRestoration.label"
_SAME_VOXEL = 0.01
_FREE_LABELS = 300
_SLAB = 16


def maskFromSegment(segmentation, segmentId: str, like) -> np.ndarray:
    """One segment on the grid of a volume: bool [z, y, x]; nearest voxel where the grids differ.

    Raises:
        InputError: no such segment, no voxels in `like`, or a nonlinear transform above one of them.
    """
    segment = _segmentOf(segmentation, segmentId)
    mask = np.zeros(gridOfNode(like).shape, dtype=bool)
    image = _labelImage(segmentation, segmentId, like)
    value = segment.GetLabelValue()
    _paste(image, segmentation, like, mask, lambda source: source == value)
    return mask


def writeMask(mask, name: str, like, segmentation=None, color=METAL_COLOR, segmentId: str | None = None):
    """Write a mask as a segment.

    Args:
        mask: bool [z, y, x], of the shape of `like`; may be empty.
        name: of the segment, and of a new segmentation node.
        like: the CT; a new node takes its geometry and parent transform.
        segmentation: node to add the segment to instead of a new one.
        color: RGB, 0..1.
        segmentId: an existing segment of `segmentation` whose voxels are replaced; it keeps name and color.

    Returns:
        (segmentation node, segment ID).

    Raises:
        InputError: another shape than `like`, or a segmentation that cannot hold masks.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != gridOfNode(like).shape:
        raise InputError(f"{name}: the mask has shape {mask.shape}, {like.GetName()} has {gridOfNode(like).shape}.")
    if segmentation is None:
        segmentation = _newNode(name, like)
    image = _orientedImage(mask.astype(np.uint8), fromWorldMatrix(segmentation) @ worldMatrix(like))
    if segmentId is not None:
        if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            image, segmentation, segmentId, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
        ):
            raise InputError(f"{segmentation.GetName()} does not take the mask {name} in segment {segmentId}.")
        return segmentation, segmentId
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*color)
    segment.AddRepresentation(_binaryName(), image)
    if not segmentation.GetSegmentation().AddSegment(segment):
        raise InputError(f"{segmentation.GetName()} does not take the mask {name}: choose another segmentation.")
    return segmentation, segmentation.GetSegmentation().GetSegmentIdBySegment(segment)


def labelMapFromSegmentation(segmentation, like, segmentIds=None) -> LabelMap:
    """Segments as one label map on the grid of a volume; where they overlap, the later one wins.

    Numbers are, in this order: those the segments came with from `segmentationFromLabelMap`, TotalSegmentator's for
    names it knows ("vertebrae_L3"), else counted from 300.

    Args:
        segmentation: the node.
        like: volume whose grid the labels take.
        segmentIds: which segments; default all, in their order.

    Raises:
        InputError: no segments, no voxels, or a nonlinear transform.
    """
    return _drained(labelMapSteps(segmentation, like, segmentIds))


def labelMapSteps(segmentation, like, segmentIds=None):
    """`labelMapFromSegmentation` as a generator of short steps, for a window that stays alive; returns the labels."""
    if segmentation is None or not segmentation.GetSegmentation().GetNumberOfSegments():
        raise InputError(
            "No segmentation is selected: choose one."
            if segmentation is None
            else f"{segmentation.GetName()} holds no segments: segment something first."
        )
    identifiers = list(segmentIds if segmentIds is not None else segmentation.GetSegmentation().GetSegmentIDs())
    numbers = _numbers(segmentation, identifiers)
    grid = gridOfNode(like)
    out = np.zeros(grid.shape, dtype=np.uint16)
    # Segments that share an image are pasted in one pass; another image starts a new one, so that later ones win.
    images = [_labelImage(segmentation, identifier, like) for identifier in identifiers]
    pairs = zip(images, identifiers, strict=True)
    for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].GetAddressAsString("")):
        members = list(group)
        values = {_segmentOf(segmentation, one).GetLabelValue(): numbers[one] for _, one in members}
        for slab in _slabs(len(out)):
            _paste(
                members[0][0], segmentation, like, out, lambda source, values=values: _renumbered(source, values), slab
            )
            yield
    names = {numbers[one]: _segmentOf(segmentation, one).GetName() for one in identifiers}
    return LabelMap(out, grid, names, segmentation.GetName())


def segmentationFromLabelMap(labels: LabelMap, name: str, like, node=None):
    """Show a label map as a segmentation, a segment for each number that occurs.

    Args:
        labels: on the grid of `like`.
        name: of a new node.
        like: the CT; geometry and parent transform are taken from it.
        node: an existing segmentation whose segments are replaced.

    Returns:
        The segmentation node. Each segment's tag "CTRestoration.label" keeps its number.

    Raises:
        InputError: the labels do not cover the voxels of `like`.
    """
    return _drained(segmentationSteps(labels, name, like, node))


def segmentationSteps(labels: LabelMap, name: str, like, node=None):
    """`segmentationFromLabelMap` as a generator of short steps, for a window that stays alive; returns the node."""
    difference = gridOfNode(like).mismatch(labels.grid)
    if difference is not None:
        raise InputError(f"{name} does not cover the voxels of {like.GetName()}: {difference}.")
    present = np.zeros(np.iinfo(np.uint16).max + 1, dtype=bool)
    for slab in _slabs(len(labels.array)):
        present[labels.array[slab]] = True
        yield
    values = [int(value) for value in np.flatnonzero(present) if value]
    array = labels.array.astype(np.uint8) if not values or values[-1] < 256 else labels.array
    yield
    if node is None:
        node = _newNode(name, like)
    else:
        node.GetSegmentation().RemoveAllSegments()
        node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(like)
    image = _orientedImage(array, fromWorldMatrix(node) @ worldMatrix(like))
    modifying = node.StartModify()
    try:
        for count, value in enumerate(values):
            segment = slicer.vtkSegment()
            segment.SetName(labels.names.get(value) or f"label {value}")
            segment.SetColor(*colorsys.hsv_to_rgb((0.09 + 0.618034 * count) % 1.0, 0.5, 0.95))
            segment.SetLabelValue(value)
            segment.SetTag(LABEL_TAG, str(value))
            segment.AddRepresentation(_binaryName(), image)
            node.GetSegmentation().AddSegment(segment, f"label_{value}")
    finally:
        node.EndModify(modifying)
    return node


def _drained(steps):
    """Run a generator to its end and give what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _slabs(count: int):
    return [slice(start, min(start + _SLAB, count)) for start in range(0, count, _SLAB)]


def _binaryName() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _segmentOf(segmentation, segmentId: str):
    if segmentation is None:
        raise InputError("No segmentation is selected: choose one.")
    segment = segmentation.GetSegmentation().GetSegment(segmentId) if segmentId else None
    if segment is None:
        raise InputError(f"{segmentation.GetName()} has no segment {segmentId!r}: choose one of its segments.")
    return segment


def _newNode(name: str, like):
    node = like.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(like)
    return node


def _numbers(segmentation, identifiers: list[str]) -> dict[str, int]:
    from ctrestoration.anatomy.labels import LEVEL_ID, PHANTOM_NAMES
    from ctrestoration.anatomy.spine.from_labels import level_in_name

    known = {name: number for number, name in PHANTOM_NAMES.items()}
    free = itertools.count(_FREE_LABELS)
    numbers: dict[str, int] = {}
    for identifier in identifiers:
        segment = _segmentOf(segmentation, identifier)
        kept = vtk.reference("")
        number = int(str(kept)) if segment.GetTag(LABEL_TAG, kept) and str(kept).isdigit() else 0
        number = number or known.get(segment.GetName(), 0)
        level = level_in_name(segment.GetName())
        number = number or (LEVEL_ID[level] if level else 0)
        while not number or number in numbers.values():
            number = next(free)
        numbers[identifier] = number
    return numbers


def _labelImage(segmentation, segmentId: str, like):
    """The image that holds a segment, as stored or made from its surface on a copy."""
    segment = _segmentOf(segmentation, segmentId)
    image = segment.GetRepresentation(_binaryName())
    if image is not None:
        return image
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(segmentation.GetSegmentation().GetSourceRepresentationName())
    copy.CopySegmentFromSegmentation(segmentation.GetSegmentation(), segmentId)
    shape = gridOfNode(like).shape
    extent = (0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    matrix = vtkMatrixOf(fromWorldMatrix(segmentation) @ worldMatrix(like))
    copy.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(matrix, extent),
    )
    if not copy.CreateRepresentation(_binaryName()):
        raise InputError(f"The segment {segment.GetName()} of {segmentation.GetName()} cannot be turned into a mask.")
    # The segment's own number does not count here: its copy is the only one in the image.
    image = copy.GetNthSegment(0).GetRepresentation(_binaryName())
    if copy.GetNthSegment(0).GetLabelValue() != segment.GetLabelValue():
        array, _, _ = _arrayOf(image)
        array[array > 0] = segment.GetLabelValue()
    return image


def _orientedImage(array: np.ndarray, matrix: np.ndarray):
    """An oriented image of the part of an array [z, y, x] that is not zero."""
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    found = [np.flatnonzero(array.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(found[0]):
        image.SetExtent(0, -1, 0, -1, 0, -1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.SetImageToWorldMatrix(vtkMatrixOf(matrix))
        return image
    (z0, z1), (y0, y1), (x0, x1) = ((int(one[0]), int(one[-1])) for one in found)
    part = np.ascontiguousarray(array[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1])
    image.SetExtent(x0, x1, y0, y1, z0, z1)
    image.GetPointData().SetScalars(numpy_to_vtk(part.ravel(), deep=True))
    image.SetImageToWorldMatrix(vtkMatrixOf(matrix))
    return image


def _arrayOf(image) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Voxels [z, y, x] of an oriented image, its index-to-local matrix, and the index (i, j, k) of the first voxel."""
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    shape = (z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
    scalars = image.GetPointData().GetScalars()
    if min(shape) < 1 or scalars is None:
        return np.zeros((0, 0, 0), np.uint8), slicer.util.arrayFromVTKMatrix(matrix), (x0, y0, z0)
    return vtk_to_numpy(scalars).reshape(shape), slicer.util.arrayFromVTKMatrix(matrix), (x0, y0, z0)


def _paste(image, segmentation, like, out: np.ndarray, pick, slab: slice = slice(None)) -> None:
    """Put `pick(source)` into the slices `slab` of `out` (on the grid of `like`) wherever it is not zero."""
    source, matrix, first = _arrayOf(image)
    if not source.size:
        return
    # Index of the source's array <- index of `like`.
    toSource = np.linalg.inv(fromWorldMatrix(segmentation) @ worldMatrix(like))
    shift = np.eye(4)
    shift[:3, 3] = first
    fromSource = toSource @ matrix @ shift
    corners = np.array([(*corner, 1) for corner in itertools.product(*[(0, n - 1) for n in source.shape[::-1]])])
    box = (fromSource @ corners.T)[:3]
    low = np.maximum(np.floor(box.min(axis=1) - 0.5).astype(int), 0)
    high = np.minimum(np.ceil(box.max(axis=1) + 0.5).astype(int) + 1, out.shape[::-1])
    start, stop, _ = slab.indices(len(out))
    low[2], high[2] = max(low[2], start), min(high[2], stop)
    if (high <= low).any():
        return
    window = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
    values = pick(_resampled(source, np.linalg.inv(fromSource), low, (high - low)[::-1]))
    target = out[window]
    np.copyto(target, values, where=values != 0)


def _resampled(values: np.ndarray, toSource: np.ndarray, low: np.ndarray, shape) -> np.ndarray:
    """The part of the target grid that starts at index `low` (i, j, k): nearest voxel of `values`, 0 outside."""
    offset = toSource[:3, :3] @ low + toSource[:3, 3]
    steps = np.rint(offset)
    reach = np.abs(toSource[:3, :3] - np.eye(3)) @ np.asarray(shape)[::-1] + np.abs(offset - steps)
    if reach.max() < _SAME_VOXEL:
        out = np.zeros(shape, dtype=values.dtype)
        start = steps.astype(int)[::-1]
        inside = [(max(0, -a), min(n, m - a)) for a, n, m in zip(start, shape, values.shape, strict=True)]
        target = tuple(slice(a, max(a, b)) for a, b in inside)
        source = tuple(slice(a + s, max(a, b) + s) for (a, b), s in zip(inside, start, strict=True))
        out[target] = values[source]
        return out
    from scipy.ndimage import affine_transform

    matrix = toSource[:3, :3][::-1, ::-1]
    return affine_transform(values, matrix, offset[::-1], tuple(shape), order=0, mode="grid-constant")


def _renumbered(source: np.ndarray, values: dict[int, int]) -> np.ndarray:
    table = np.zeros(max(int(source.max(initial=0)), *values) + 1, dtype=np.uint16)
    for stored, number in values.items():
        table[stored] = number
    return table[source]
