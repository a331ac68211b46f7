"""Slicer's world is RAS, that of `ctrestoration` LPS: points, matrices and meshes are turned here and nowhere else.

Turning is a change of sign, so it is exact in both directions.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ctrestoration.errors import InputError
from ctrestoration.volume import Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse."""


def turned(point) -> tuple[float, float, float]:
    """A point of one world in the other, mm."""
    x, y, z = (float(value) for value in point)
    # Adding zero makes -0.0 a plain zero, which is what people expect to read in a file.
    return -x + 0.0, -y + 0.0, z


def worldMatrix(node) -> np.ndarray:
    """4x4, float64, maps (i, j, k, 1) of a volume node to RAS mm, its linear parent transform folded in.

    Raises:
        InputError: the node is under a transform that is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    transform = node.GetParentTransformNode()
    if transform is None:
        return slicer.util.arrayFromVTKMatrix(matrix)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()} is under the nonlinear transform {transform.GetName()}: harden it or take the volume "
            "out of it first."
        )
    toWorld = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(toWorld)
    return slicer.util.arrayFromVTKMatrix(toWorld) @ slicer.util.arrayFromVTKMatrix(matrix)


def gridOfNode(node) -> Grid:
    """Where the voxels of a volume node lie in the world, LPS mm.

    Raises:
        InputError: no volume, no voxels, or a transform that is not linear.
    """
    if node is None:
        raise InputError("No volume is selected: choose one.")
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() < 1:
        raise InputError(f"{node.GetName()} holds no voxels: load or choose another volume.")
    return Grid(image.GetDimensions()[::-1], LPS_TO_RAS @ worldMatrix(node))


def vtkMatrixOf(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A 4x4 array as vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel().tolist())
    return matrix


def fromWorldMatrix(transformable) -> np.ndarray:
    """4x4 from RAS world into the local coordinates of a transformable node (identity without a parent transform).

    Raises:
        InputError: the node is under a transform that is not linear.
    """
    transform = transformable.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(f"{transformable.GetName()} is under a nonlinear transform: harden it first.")
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformFromWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
