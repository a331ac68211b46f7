"""Volume nodes of every geometry that has broken somebody's software."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from ctrestoration.volume import Grid

_TURN = np.array([[0.9, -0.36, 0.24], [0.41, 0.87, -0.27], [-0.11, 0.34, 0.93]])


def _rotation() -> np.ndarray:
    left, _, right = np.linalg.svd(_TURN)
    return left @ right


def _affine(linear: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = linear * np.asarray(spacing)
    affine[:3, 3] = (12.25, -40.5, 101.125)
    return affine


_AXIAL = np.diag([-1.0, -1.0, 1.0])
_SHEAR = np.array([[1.0, 0.15, 0.05], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]])

GEOMETRIES: dict[str, np.ndarray] = {
    "axial": _affine(_AXIAL, (0.8, 0.8, 1.5)),
    "oblique": _affine(_rotation() @ _AXIAL, (0.8, 0.8, 1.5)),
    "flipped": _affine(np.diag([-1.0, -1.0, -1.0]), (0.7, 0.7, 2.0)),
    "anisotropic": _affine(_AXIAL, (0.4, 0.9, 5.0)),
    "coronal": _affine(np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]), (0.6, 1.1, 0.9)),
    "sheared": _affine(_rotation() @ _SHEAR, (0.8, 0.9, 1.5)),
    "transformed": _affine(_AXIAL, (0.8, 0.8, 1.5)),
    "sheared-transformed": _affine(_SHEAR, (0.8, 0.9, 1.5)),
}
"""Name -> IJK to RAS; the transformed ones lie under a rotation with a shift."""


def add_volume(scene: Any, geometry: str, shape: tuple[int, int, int] = (6, 9, 11), seed: int = 3) -> Any:
    """A CT node of random HU, int16, with a display node, not square and of another number of slices."""
    from vtk.util.numpy_support import numpy_to_vtk

    values = np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)
    image = vtk.vtkImageData()
    image.SetDimensions(shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"CT {geometry}")
    node.SetIJKToRASMatrix(to_vtk(GEOMETRIES[geometry]))
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(350, 45)
    if "transformed" in geometry:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
        matrix = np.eye(4)
        matrix[:3, :3] = _rotation()
        matrix[:3, 3] = (3.5, -20.25, 8.0)
        transform.SetMatrixTransformToParent(to_vtk(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def to_vtk(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """A 4x4 array as vtkMatrix4x4."""
    out = vtk.vtkMatrix4x4()
    out.DeepCopy(matrix.ravel().tolist())
    return out


def world_matrix(node: Any) -> np.ndarray:
    """IJK to RAS world of a volume node, by VTK's own transform."""
    corner = np.eye(4)
    matrix, transform = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    node.GetIJKToRASMatrix(matrix)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformToWorld(transform)
    points = []
    for ijk in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        points.append(transform.TransformPoint(matrix.MultiplyPoint((*ijk, 1))[:3]))
    corner[:3, 3] = points[0]
    for axis in range(3):
        corner[:3, axis] = np.subtract(points[axis + 1], points[0])
    return corner


def geometry_difference(a: Any, b: Any) -> str:
    """What Slicer finds different in two volumes' geometry, "" for nothing.

    Under a transform Slicer's comparison reports a mismatch even of a volume with itself: both are then compared
    outside it, after their transforms and worlds.
    """
    if a.GetTransformNodeID() != b.GetTransformNodeID():
        return f"under {a.GetTransformNodeID()} and {b.GetTransformNodeID()}"
    if not np.allclose(world_matrix(a), world_matrix(b), rtol=0, atol=1e-6):
        return "the worlds differ"
    kept = a.GetTransformNodeID()
    try:
        for node in (a, b):
            node.SetAndObserveTransformNodeID(None)
        return slicer.modules.volumes.logic().CompareVolumeGeometry(a, b)
    finally:
        for node in (a, b):
            node.SetAndObserveTransformNodeID(kept)


def as_loaded(before: Grid, after: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """How Slicer turned an array when it loaded its volume: left-handed ones come back with an axis reversed.

    The world stays as it was; only the order of the voxels in memory changes.
    """
    steps = np.linalg.inv(before.affine) @ after.affine
    signs = np.rint(np.diag(steps)[:3]).astype(int)
    np.testing.assert_allclose(steps[:3, :3], np.diag(signs), atol=1e-6)
    turned = tuple(slice(None, None, int(sign)) for sign in signs[::-1])
    first = [n - 1 if sign < 0 else 0 for n, sign in zip(before.shape[::-1], signs, strict=True)]
    np.testing.assert_allclose(after.origin, before.to_world(first), atol=1e-6)
    return lambda array: array[turned]
