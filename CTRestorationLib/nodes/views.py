"""Slice views turned to where a surgeon looks."""

from __future__ import annotations

import numpy as np

from ctrestoration.errors import InputError
from CTRestorationLib.nodes.geometry import turned, vtkMatrixOf
from CTRestorationLib.nodes.implantmodels import lineEnds

# In RAS: what the plane contains besides the screw, seen from where radiologists are used to look.
_NORMALS = {"axial": (0.0, 0.0, 1.0), "sagittal": (-1.0, 0.0, 0.0)}


def resliceAlong(line, sliceNode, orientation: str = "axial") -> None:
    """Turn a slice view into the plane of a screw.

    Args:
        line: markups line with both ends.
        sliceNode: vtkMRMLSliceNode, e.g. the red one; its field of view stays.
        orientation: "axial" is the axial plane tilted about the patient's left-right axis until it holds the screw,
            anterior up; "sagittal" the sagittal plane turned about the vertical.

    Raises:
        InputError: the line lacks an end, its ends coincide, or another orientation.
    """
    if orientation not in _NORMALS:
        raise InputError(f"Unknown orientation {orientation!r}: choose axial or sagittal.")
    entry, target = (np.array(turned(point)) for point in lineEnds(line))
    length = float(np.linalg.norm(target - entry))
    if length < 1e-3:
        raise InputError(f"Both ends of {line.GetName()} lie in one point: drag them apart.")
    axis = (target - entry) / length
    normal = np.array(_NORMALS[orientation])
    normal = normal - (normal @ axis) * axis
    if np.linalg.norm(normal) < 0.05:  # the screw stands on the plane: any plane that holds it will do
        normal = np.array([0.0, 1.0, 0.0]) - axis[1] * axis
    normal /= np.linalg.norm(normal)
    # The x axis of an axial view runs to the patient's left (-R), that of a sagittal one to posterior (-A); its y axis
    # to anterior or superior. Slicer's own axial views are left-handed, which SetSliceToRASByNTP cannot make.
    across = np.array([-1.0, 0.0, 0.0]) if orientation == "axial" else np.array([0.0, -1.0, 0.0])
    across = across - (across @ normal) * normal
    if np.linalg.norm(across) < 0.05:
        across = axis
    across /= np.linalg.norm(across)
    up = np.cross(normal, across)
    if (up @ (0.0, 1.0, 0.01) < 0 and orientation == "axial") or (up[2] < 0 and orientation == "sagittal"):
        up = -up
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = across, up, normal, (entry + target) / 2
    sliceNode.GetSliceToRAS().DeepCopy(vtkMatrixOf(matrix))
    sliceNode.UpdateMatrices()
