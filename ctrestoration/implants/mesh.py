"""Closed triangle meshes of implants: rings joined to tubes, boxes and lathe-turned bodies, and their export.

Every solid is closed, 2-manifold and turned outward by construction: a stack of rings of equal length, closed by a fan
at either end (topologically a sphere), or joined end to end (a torus: cannulated screws, wire loops).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.files import atomic, check_writable, not_taken

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        points: (n, 3) LPS mm.
        triangles: (m, 3) indices, counter-clockwise seen from outside.
    """

    points: Vector
    triangles: NDArray[np.int64]

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume (divergence theorem); positive where the normals point outward."""
        a, b, c = (self.points[self.triangles[:, n]] for n in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

    def moved(self, matrix: Vector, shift: Vector) -> Mesh:
        """Points times a 3x3 matrix (columns: where the axes go) plus a shift; a mirroring matrix turns the faces."""
        triangles = self.triangles if np.linalg.det(matrix) > 0 else self.triangles[:, ::-1]
        return Mesh(self.points @ np.asarray(matrix).T + shift, triangles)

    def bad_edges(self) -> int:
        """Edges that are not shared by exactly two triangles in opposite directions; 0 = closed and manifold."""
        edges = np.concatenate([self.triangles[:, [0, 1]], self.triangles[:, [1, 2]], self.triangles[:, [2, 0]]])
        size = len(self.points)
        forward = edges[:, 0] * size + edges[:, 1]
        backward = edges[:, 1] * size + edges[:, 0]
        unique, counts = np.unique(forward, return_counts=True)
        lonely = ~np.isin(unique, backward, assume_unique=False)
        return int(lonely.sum() + (counts > 1).sum())


def require_closed(mesh: Mesh, name: str) -> None:
    """Refuse a mesh that has no inside.

    Raises:
        InputError: open or non-manifold edges, or nothing in it.
    """
    if not len(mesh.triangles):
        raise InputError(f"{name} holds no triangles.")
    bad = mesh.bad_edges()
    if bad:
        raise InputError(
            f"{name} is not closed: {bad} of its edges do not join two faces; close its holes before placing it."
        )


def rings(stack: Vector, loop: bool = False) -> Mesh:
    """The solid between consecutive rings.

    Args:
        stack: (rings, points a ring, 3), each ring counter-clockwise seen from beyond the last one.
        loop: join the last ring to the first, instead of closing both ends by fans.
    """
    count, around, _ = stack.shape
    n, k = np.meshgrid(np.arange(count if loop else count - 1), np.arange(around), indexing="ij")
    a, b = n * around + k, n * around + (k + 1) % around
    c, d = ((n + 1) % count) * around + (k + 1) % around, ((n + 1) % count) * around + k
    sides = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    points = stack.reshape(-1, 3)
    if loop:
        return Mesh(points, np.concatenate(sides))
    first, last = count * around, count * around + 1
    points = np.concatenate([points, stack[:1].mean(axis=1), stack[-1:].mean(axis=1)])
    k0 = np.arange(around)
    k1 = (k0 + 1) % around
    start = np.stack([np.full(around, first), k1, k0], -1)
    top = (count - 1) * around
    stop = np.stack([np.full(around, last), top + k0, top + k1], -1)
    return Mesh(points, np.concatenate([*sides, start, stop]))


def round_factor(around: int) -> float:
    """How much larger the radius of a regular polygon must be to enclose the circle's area."""
    angle = 2 * np.pi / around
    return float(np.sqrt(angle / np.sin(angle)))


def lathe(profile: Sequence[tuple[float, float]], around: int = 36) -> Mesh:
    """A body of revolution about z from (z, radius) pairs of ascending z (equal ones make a step)."""
    z, radius = np.array(profile, dtype=np.float64).T
    angle = np.arange(around) * 2 * np.pi / around
    stack = np.empty((len(z), around, 3))
    scaled = np.maximum(radius, 1e-3)[:, None] * round_factor(around)
    stack[..., 0], stack[..., 1], stack[..., 2] = scaled * np.cos(angle), scaled * np.sin(angle), z[:, None]
    return rings(stack)


def ring_of_revolution(profile: Sequence[tuple[float, float]], around: int = 48) -> Mesh:
    """A hollow body of revolution about z from a closed outline of (z, radius) points.

    The outline runs outside first, in ascending z, then back along the inside.
    """
    z, radius = np.array(profile, dtype=np.float64).T
    angle = np.arange(around) * 2 * np.pi / around
    scaled = np.broadcast_to(radius[:, None] * round_factor(around), (len(z), around))
    stack = np.stack(
        [scaled * np.cos(angle), scaled * np.sin(angle), np.broadcast_to(z[:, None], scaled.shape)], axis=-1
    )
    return _outward(rings(stack, loop=True))


def sweep(path: Vector, radius: float | Vector, around: int = 24, loop: bool = False) -> Mesh:
    """A round bar along a polyline (n, 3), with flat ends, in the frame carried along without twist."""
    path = np.asarray(path, dtype=np.float64)
    tangent = (np.roll(path, -1, 0) - np.roll(path, 1, 0)) if loop else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.cross(tangent[0], np.eye(3)[int(np.argmin(np.abs(tangent[0])))])
    normals = []
    for direction in tangent:
        normal = normal - (normal @ direction) * direction
        normal = normal / np.linalg.norm(normal)
        normals.append(normal)
    u = np.array(normals)
    v = np.cross(tangent, u)
    angle = np.arange(around) * 2 * np.pi / around
    if loop:  # spread the turn that the frame has made over the whole loop, so that its ends meet
        closing = np.arctan2(u[0] @ v[-1], u[0] @ u[-1])
        angle = angle + (closing * np.arange(len(path)) / len(path))[:, None]
    else:
        angle = np.broadcast_to(angle, (len(path), around))
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))[:, None, None] * round_factor(around)
    stack = path[:, None] + size * (np.cos(angle)[..., None] * u[:, None] + np.sin(angle)[..., None] * v[:, None])
    return rings(stack, loop=loop)


def extrude(outline: Vector, low: float, high: float) -> Mesh:
    """A prism over a counter-clockwise outline (n, 2) that is star-shaped about its mean, z from low to high."""
    flat = np.asarray(outline, dtype=np.float64)
    return rings(np.stack([np.column_stack([flat, np.full(len(flat), z)]) for z in (low, high)]))


def strip(outer: Vector, inner: Vector, low: float, high: float) -> Mesh:
    """A prism over the area between two polylines (n, 2) of equal length; `outer` runs counter-clockwise about it."""
    n = len(outer)
    corners = np.stack([outer, inner], axis=1)  # (n, 2, 2)
    stack = np.empty((n, 4, 3))
    for place, (edge, z) in enumerate(((0, low), (0, high), (1, high), (1, low))):
        stack[:, place, :2] = corners[:, edge]
        stack[:, place, 2] = z
    return _outward(rings(stack))


def box(size: Sequence[float]) -> Mesh:
    """A box about the origin with these lengths along x, y, z."""
    x, y, z = (0.5 * float(value) for value in size)
    return extrude(np.array([[-x, -y], [x, -y], [x, y], [-x, y]]), -z, z)


def ellipsoid(radii: Sequence[float], around: int = 32) -> Mesh:
    """An ellipsoid about the origin."""
    polar = np.linspace(0, np.pi, around // 2 + 1)
    mesh = lathe([(-float(np.cos(t)), float(np.sin(t))) for t in polar], around)
    grown = (4 / 3 * np.pi / mesh.volume_mm3) ** (1 / 3)
    return mesh.moved(np.diag(np.asarray(radii, dtype=np.float64)) * grown, np.zeros(3))


def _outward(mesh: Mesh) -> Mesh:
    return mesh if mesh.volume_mm3 > 0 else Mesh(mesh.points, mesh.triangles[:, ::-1])


def frame_along(axis: Vector, facing: Vector | None = None) -> Vector:
    """3x3: columns x = as close to `facing` as can be, y, z = `axis`, orthonormal."""
    z = np.asarray(axis, dtype=np.float64)
    z = z / np.linalg.norm(z)
    if facing is None or np.linalg.norm(np.cross(facing, z)) < 1e-6:
        facing = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.asarray(facing, dtype=np.float64) - (np.asarray(facing) @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def check_mesh_output(path: str | Path) -> Path:
    """Refuse the path of a mesh before long work rather than after it.

    Raises:
        InputError: where the suffix is none that can be written.
        OutputError: where its folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".stl", ".vtp"):
        raise InputError(f"{path}: meshes are written as .stl or .vtp.")
    check_writable(path)
    return path


def write_mesh(meshes: Sequence[Mesh], path: str | Path) -> None:
    """Write meshes as one STL or VTP file, in LPS mm.

    Raises:
        InputError: another suffix.
        MissingDependencyError: VTK is not installed.
        OutputError: where the file cannot be written.
    """
    path = check_mesh_output(path)
    try:
        from vtkmodules.vtkFiltersCore import vtkAppendPolyData
        from vtkmodules.vtkIOGeometry import vtkSTLWriter
        from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter
    except ImportError as error:
        raise MissingDependencyError("vtk", "imaging", "Writing meshes") from error
    joined = vtkAppendPolyData()
    for mesh in meshes:
        joined.AddInputData(to_vtk(mesh))
    writer: Any = vtkSTLWriter() if path.suffix.lower() == ".stl" else vtkXMLPolyDataWriter()
    if path.suffix.lower() == ".stl":
        writer.SetFileTypeToBinary()
        writer.SetHeader("CTRestoration implants, SPACE=LPS")
    writer.SetInputConnection(joined.GetOutputPort())
    # Observers keep VTK from printing the error, which is said below in a sentence of ours.
    for source in (writer, writer.GetExecutive()):
        source.AddObserver("ErrorEvent", lambda *_: None)
    with atomic(path) as part:
        writer.SetFileName(str(part))
        writer.Write()
        if writer.GetErrorCode():
            raise not_taken(path)


def read_mesh(path: str | Path) -> Mesh:
    """Read an STL or VTP file; coincident points are joined.

    Raises:
        InputError: not there, another format, or without triangles.
        MissingDependencyError: VTK is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if path.suffix.lower() not in (".stl", ".vtp"):
        raise InputError(f"{path}: meshes are read from .stl or .vtp.")
    try:
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkTriangleFilter
        from vtkmodules.vtkIOGeometry import vtkSTLReader
        from vtkmodules.vtkIOXML import vtkXMLPolyDataReader
    except ImportError as error:
        raise MissingDependencyError("vtk", "imaging", "Reading meshes") from error
    reader = vtkSTLReader() if path.suffix.lower() == ".stl" else vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    triangles, clean = vtkTriangleFilter(), vtkCleanPolyData()
    triangles.SetInputConnection(reader.GetOutputPort())
    clean.SetInputConnection(triangles.GetOutputPort())
    clean.Update()
    data = clean.GetOutput()
    if not data.GetNumberOfPolys():
        raise InputError(f"{path} holds no triangles.")
    faces = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return Mesh(vtk_to_numpy(data.GetPoints().GetData()).astype(np.float64), faces.astype(np.int64))


def to_vtk(mesh: Mesh) -> Any:
    """The mesh as vtkPolyData."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    points, cells, data = vtkPoints(), vtkCellArray(), vtkPolyData()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(mesh.points), deep=True))
    offsets = np.arange(0, 3 * len(mesh.triangles) + 1, 3)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets.astype(np.int64), deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(mesh.triangles.ravel(), dtype=np.int64), deep=True),
    )
    data.SetPoints(points)
    data.SetPolys(cells)
    return data
