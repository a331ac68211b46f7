"""Volume nodes: HU out of the scene and results into it, with the input's geometry bit for bit."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU, Volume
from CTRestorationLib.nodes.geometry import gridOfNode

__all__ = [
    "arrayOfNode", "arrayToVolumeNode", "findColorNode", "gridOfNode", "hideVolume", "legendOf", "refreshLegends",
    "setVoxels", "showFloatMap", "volumeFromNode", "volumeSteps", "volumeToNode",
]  # fmt: skip

_SLAB = 16
_STEP_BYTES = 2 << 20
_STORABLE = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def arrayOfNode(node) -> np.ndarray:
    """The voxels of a volume node [z, y, x], shared with the scene: read them, never write.

    Raises:
        InputError: no voxels, or several values a voxel.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    grid = gridOfNode(node)
    scalars = node.GetImageData().GetPointData().GetScalars()
    if scalars is None:
        raise InputError(f"{node.GetName()} holds no voxels: load or choose another volume.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(
            f"{node.GetName()} has {scalars.GetNumberOfComponents()} values a voxel (a color or vector image); a CT "
            "has one."
        )
    array = vtk_to_numpy(scalars).reshape(grid.shape)
    array.setflags(write=False)
    return array


def volumeFromNode(node) -> Volume:
    """The volume of a node, in LPS, its linear parent transform folded in; the values are copied.

    Raises:
        InputError: no voxels, several values a voxel, NaN or infinity among them, or a nonlinear transform.
    """
    stored = arrayOfNode(node)
    if stored.dtype.kind == "f":
        # Slab by slab: no mask as large as the volume.
        for start in range(0, len(stored), _SLAB):
            if not np.isfinite(stored[start : start + _SLAB]).all():
                raise InputError(
                    f"{node.GetName()} holds NaN or infinite voxels (slices {start} to "
                    f"{min(start + _SLAB, len(stored)) - 1}): replace them first."
                )
    array = np.array(stored, dtype=np.float32)
    if float(stored.min()) < AIR_HU:
        np.maximum(array, np.float32(AIR_HU), out=array)
    return Volume(array, gridOfNode(node), node.GetName())


def arrayToVolumeNode(array: np.ndarray, name: str, like, node=None, image=None):
    """Show an array as a volume.

    Args:
        array: [z, y, x], of the shape of `like`; copied. Bool becomes 0 and 1.
        name: of a new node; an existing one keeps its own.
        like: node whose geometry, parent transform, window and level the result takes; it is not touched.
        node: an existing result to write into instead.
        image: what `imageSteps` made of the array, where copying it at once would take too long.

    Returns:
        The volume node, with a display node, not yet shown.

    Raises:
        InputError: another shape than `like`, or `node` is the input itself.
    """
    shape = gridOfNode(like).shape
    if tuple(array.shape) != shape:
        raise InputError(f"{name}: the result has shape {tuple(array.shape)}, {like.GetName()} has {shape} (z, y, x).")
    if node is like:
        raise InputError(f"{name} would overwrite its input {like.GetName()}: choose another output volume.")
    image = image or _imageOf(array)
    if node is None:
        node = like.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    modifying = node.StartModify()
    try:
        node.CopyOrientation(like)
        node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
        if node.GetDisplayNode() is None:
            _addDisplay(node, like)
        node.SetAndObserveImageData(image)
    finally:
        node.EndModify(modifying)
    return node


def imageSteps(array: np.ndarray):
    """A copy of a float32 array [z, y, x] as an image, made in steps of a few milliseconds: a generator; returns it."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)
    count = max(1, _STEP_BYTES // max(target[:1].nbytes, 1))
    for start in range(0, len(array), count):
        target[start : start + count] = array[start : start + count]
        yield
    return image


def volumeSteps(volume: Volume, name: str, like):
    """`volumeToNode` in short steps: a generator that returns the node."""
    difference = gridOfNode(like).mismatch(volume.grid)
    if difference is not None:
        raise InputError(f"{name} does not cover the voxels of {like.GetName()}: {difference}.")
    image = yield from imageSteps(volume.array)
    if like.GetScene() is None:
        raise InputError(f"{like.GetName()} was removed from the scene meanwhile: its result is dropped.")
    return arrayToVolumeNode(volume.array, name, like, image=image)


def volumeToNode(volume: Volume, name: str, like, node=None):
    """Show a result of `ctrestoration` beside the volume it was made from; see `arrayToVolumeNode`.

    Raises:
        InputError: the result does not cover the voxels of `like`.
    """
    difference = gridOfNode(like).mismatch(volume.grid)
    if difference is not None:
        raise InputError(f"{name} does not cover the voxels of {like.GetName()}: {difference}.")
    return arrayToVolumeNode(volume.array, name, like, node)


def setVoxels(node, image: vtk.vtkImageData, like) -> None:
    """Fill a new node, whose geometry stands already, with an image of `imageSteps`; it looks like `like`."""
    _addDisplay(node, like)
    node.SetAndObserveImageData(image)


def hideVolume(node) -> None:
    """Take a volume and its legend out of every slice view; the node stays."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID() == node.GetID():
            composite.SetBackgroundVolumeID(None)
        if composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundVolumeID(None)
        if composite.GetLabelVolumeID() == node.GetID():
            composite.SetLabelVolumeID(None)
    legend = legendOf(node)
    if legend is not None:
        legend.SetVisibility(False)
    refreshLegends()


def showFloatMap(node, title: str, low: float, high: float, sliceNodes=(), colors: str | None = None):
    """Give an uncertainty or difference map colors, range and legend, so that it can lie over a CT.

    Args:
        node: volume of floating-point values.
        title: of the legend, with its unit: "Uncertainty (HU)".
        low: value at the lower end of the color table. Where it is not negative, values below a tenth of the range
            are transparent; a signed map is opaque.
        high: value at the upper end.
        sliceNodes: views that show the legend; none = all. Views whose layers are set later: see `refreshLegends`.
        colors: name of a color table; default Inferno, for signed maps DivergingBlueRed.

    Returns:
        The legend's display node.
    """
    if not high > low:
        raise InputError(f"{title}: the range must rise, not {low:g} to {high:g}.")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    signed = low < 0
    modifying = display.StartModify()
    display.SetAndObserveColorNodeID(findColorNode(colors or ("DivergingBlueRed" if signed else "Inferno")).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    display.SetAutoThreshold(False)
    # SetThreshold alone hides nothing.
    display.SetThreshold(low + 0.1 * (high - low), 1e9)
    display.SetApplyThreshold(not signed)
    display.EndModify(modifying)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat("%.4g")
    legend.SetVisibility(True)
    legend.RemoveAllViewNodeIDs()
    for sliceNode in sliceNodes:
        legend.AddViewNodeID(sliceNode.GetID())
    return legend


def refreshLegends() -> None:
    """Let legends notice what the views show now: Slicer tells them only of changes made by hand in a view's bar."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()


def legendOf(node):
    """The legend of a volume, None where it has none."""
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(node)


def findColorNode(name: str):
    """A color table by its name; where the application does not bring it, one that it always has."""
    tables = {table.GetName(): table for table in slicer.util.getNodesByClass("vtkMRMLColorNode")}
    if name in tables:
        return tables[name]
    for identifier in (f"vtkMRMLColorTableNodeFile{name}.txt", "vtkMRMLColorTableNodeIron"):
        found = slicer.mrmlScene.GetNodeByID(identifier)
        if found is not None:
            return found
    raise InputError("The scene holds no color tables: restart the application.")


def _imageOf(array: np.ndarray) -> vtk.vtkImageData:
    """A copy of an array as an image."""
    from vtk.util.numpy_support import numpy_to_vtk

    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype.name not in _STORABLE:
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image


def _addDisplay(node, like) -> None:
    """A display node with window, level, interpolation and colors of the input: results must look like it.

    It is made by hand, because a default one computes its window from all voxels, which takes longer than copying them.
    """
    given = like.GetDisplayNode()
    display = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAutoWindowLevel(False)
    display.SetDefaultColorMap()
    display.SetWindowLevel(400.0, 40.0)
    if given is not None:
        display.SetWindowLevel(given.GetWindow(), given.GetLevel())
        display.SetInterpolate(given.GetInterpolate())
        if given.GetColorNodeID():
            display.SetAndObserveColorNodeID(given.GetColorNodeID())
    node.SetAndObserveDisplayNodeID(display.GetID())
