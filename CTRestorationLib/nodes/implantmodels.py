"""Implants as model nodes: their meshes in RAS, their colors, and the quick tube of a screw that is being dragged."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import vtk

from ctrestoration.errors import InputError
from CTRestorationLib.nodes.geometry import turned

METAL = (0.68, 0.74, 0.82)
GRADE_COLORS = {
    "A": (0.35, 0.80, 0.42),
    "B": (0.80, 0.85, 0.25),
    "C": (0.98, 0.68, 0.15),
    "D": (0.95, 0.42, 0.15),
    "E": (0.86, 0.15, 0.18),
}
"""Gertzbein-Robbins grades."""

UNJUDGED = (0.30, 0.75, 0.98)
"""A screw that nobody judged where it lies: a color that no grade has, and that shows on bone."""

SHORTEST_MM = 1.0
_TUBE_SIDES = 24


def gradeColor(grade: str | None) -> tuple[float, float, float]:
    """The color of a screw of this grade."""
    return GRADE_COLORS.get(grade or "", UNJUDGED)


def tube(start, stop, radiusMm: float) -> vtk.vtkPolyData:
    """A closed cylinder between two points: fast enough for every mouse move."""
    line, pipe = vtk.vtkLineSource(), vtk.vtkTubeFilter()
    line.SetPoint1(*start)
    line.SetPoint2(*stop)
    pipe.SetInputConnection(line.GetOutputPort())
    pipe.SetRadius(radiusMm)
    pipe.SetNumberOfSides(_TUBE_SIDES)
    pipe.CappingOn()
    pipe.Update()
    return pipe.GetOutput()


def screwSurface(screw, rods) -> vtk.vtkPolyData:
    """The threaded screw with its head turned to its rod, RAS mm.

    Args:
        screw: of `ctrestoration.implants`.
        rods: of the same plan.
    """
    from ctrestoration.implants.construct import rod_near
    from ctrestoration.implants.plan import Plan
    from ctrestoration.implants.screw import head

    if screw.length_mm < SHORTEST_MM:
        return vtk.vtkPolyData()
    sizes = (screw.diameter_mm, screw.core_ratio, screw.pitch_mm, screw.cannulated_mm)
    surfaces = [_shaft(screw.entry, screw.target, *sizes)]
    if screw.head:
        entry, target = np.asarray(screw.entry), np.asarray(screw.target)
        direction, diameter = rod_near(Plan(rods=tuple(rods)), screw)
        backward = (entry - target) / screw.length_mm
        surfaces.append(surfaceOf(head(entry, backward, direction, diameter, screw.set_screw)))
    return _joined(surfaces)


def rodSurface(rod) -> vtk.vtkPolyData:
    """The bent rod, RAS mm."""
    from ctrestoration.implants.mesh import sweep
    from ctrestoration.implants.rods import centerline

    return surfaceOf([sweep(centerline(rod), rod.diameter_mm / 2)])


def deviceSurface(device) -> vtk.vtkPolyData:
    """Any other implant, RAS mm.

    Raises:
        InputError: an unknown kind or size.
    """
    from ctrestoration.implants.devices import device_parts

    return surfaceOf([mesh for _, _, mesh in device_parts(device)])


def surfaceOf(meshes) -> vtk.vtkPolyData:
    """Meshes of `ctrestoration` (LPS mm) as one surface in RAS mm, with normals that keep its edges sharp."""
    from ctrestoration.implants.mesh import to_vtk

    mirrored = [mesh.moved(np.diag([-1.0, -1.0, 1.0]), np.zeros(3)) for mesh in meshes]
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(_joined([to_vtk(mesh) for mesh in mirrored]))
    normals.SetFeatureAngle(45.0)
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def _joined(surfaces) -> vtk.vtkPolyData:
    joined = vtk.vtkAppendPolyData()
    for surface in surfaces:
        joined.AddInputData(surface)
    joined.Update()
    return joined.GetOutput()


def setModel(owner, reference: str, name: str, surface: vtk.vtkPolyData, color):
    """Show a surface as the model of a node, making the model where there is none.

    Args:
        owner: node that keeps a reference to its model, so that both are saved and found again together.
        reference: role of that reference.
        name: of the model.
        surface: RAS mm.
        color: RGB 0..1, in 3D and of the outline in slices.
    """
    model = owner.GetNodeReference(reference)
    if model is None:
        model = owner.GetScene().AddNewNodeByClass("vtkMRMLModelNode", name)
        model.SetSelectable(False)
        model.SetAndObservePolyData(surface)
        model.CreateDefaultDisplayNodes()
        display = model.GetDisplayNode()
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(2)
        display.SetSpecular(0.4)
        display.SetPower(20)
        owner.SetNodeReferenceID(reference, model.GetID())
    else:
        model.SetAndObservePolyData(surface)
        if model.GetName() != name:
            model.SetName(name)
        if model.GetDisplayNode() is None:
            model.CreateDefaultDisplayNodes()
    model.GetDisplayNode().SetColor(*color)
    return model


def lineEnds(line) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Both ends of a markups line, LPS mm.

    Raises:
        InputError: a line that has not both its ends.
    """
    if line is None or line.GetNumberOfDefinedControlPoints() < 2:
        name = line.GetName() if line is not None else "The line"
        raise InputError(f"{name} has not both its ends: place head and tip.")
    ends = []
    for number in range(2):
        point = [0.0, 0.0, 0.0]
        line.GetNthControlPointPositionWorld(number, point)
        ends.append(turned(point))
    return ends[0], ends[1]


def setLineEnds(line, first, second) -> None:
    """Put both ends of a markups line, LPS mm."""
    modifying = line.StartModify()
    fixed = line.GetFixedNumberOfControlPoints()
    line.SetFixedNumberOfControlPoints(False)
    for number, point in enumerate((first, second)):
        if line.GetNumberOfControlPoints() > number:
            line.SetNthControlPointPositionWorld(number, *turned(point))
        else:
            line.AddControlPointWorld(vtk.vtkVector3d(*turned(point)))
    line.SetFixedNumberOfControlPoints(fixed)
    line.EndModify(modifying)


@lru_cache(maxsize=64)
def _shaft(entry, target, diameterMm: float, coreRatio: float, pitchMm: float, boreMm: float) -> vtk.vtkPolyData:
    """Threaded shafts are the costly part, and stay while only a rod moves."""
    from ctrestoration.implants.screw import Thread, shaft

    entry, target = np.asarray(entry, dtype=np.float64), np.asarray(target, dtype=np.float64)
    thread = Thread(diameterMm, coreRatio * diameterMm, float(np.linalg.norm(target - entry)), pitchMm, boreMm)
    return surfaceOf([shaft(entry, target, thread)])
