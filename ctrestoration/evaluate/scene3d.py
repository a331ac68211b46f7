"""The spine and its implants in 3D, drawn offscreen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import MissingDependencyError
from ctrestoration.volume import Grid

if TYPE_CHECKING:
    from ctrestoration.implants.mesh import Mesh

_BONE, _METAL = (0.90, 0.84, 0.70), (0.62, 0.70, 0.80)
_BACKGROUND = (0.063, 0.071, 0.078)


def render_construct(
    bone: NDArray[np.bool_],
    metal: NDArray[np.float32] | Sequence[Mesh],
    grid: Grid,
    size: tuple[int, int] = (640, 640),
) -> NDArray[np.uint8]:
    """Metal in see-through bone, seen from behind, above and the patient's left.

    Args:
        bone: bool [z, y, x].
        metal: the implants' surfaces in LPS mm, which show threads and heads as they are; or, where only voxels are
            known, their fraction 0..1 [z, y, x].
        grid: where the voxels lie.
        size: (width, height) of the picture in pixels.

    Returns:
        RGB, uint8 [row, column, 3].

    Raises:
        MissingDependencyError: VTK is not installed.
    """
    try:
        import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkLogger
        from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter
    except ImportError as error:
        raise MissingDependencyError("vtk", "imaging", "Drawing in 3D") from error
    from scipy.ndimage import gaussian_filter

    # Without an X server VTK says so and then draws by EGL or in software: the picture is there, the noise need not be.
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
    renderer = vtkRenderer()
    renderer.SetBackground(*_BACKGROUND)
    renderer.AddActor(_surface(gaussian_filter(bone.astype(np.float32), 0.7), grid, _BONE, opacity=0.45))
    if isinstance(metal, np.ndarray):
        renderer.AddActor(_surface(metal, grid, _METAL, opacity=1.0))
    else:
        for mesh in metal:
            renderer.AddActor(_solid(mesh, _METAL))
    renderer.SetUseDepthPeeling(True)
    renderer.SetMaximumNumberOfPeels(6)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0.55, 1.0, 0.35)  # LPS: from the left, from behind, from above
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    camera.Zoom(1.35)
    renderer.ResetCameraClippingRange()
    window = vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetAlphaBitPlanes(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    window.Finalize()
    return np.ascontiguousarray(pixels[::-1, :, :3])


def _surface(values: NDArray[np.float32], grid: Grid, color: tuple[float, float, float], opacity: float) -> Any:
    """An actor of the 0.5 surface, in patient space."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkCommonMath import vtkMatrix4x4
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkPolyDataNormals, vtkWindowedSincPolyDataFilter

    image = vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True))
    contour = vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(contour.GetOutputPort())
    smooth.SetNumberOfIterations(12)
    smooth.SetPassBand(0.1)
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(smooth.GetOutputPort())
    actor = _actor(normals, color, opacity)
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(grid.affine.ravel().tolist())
    actor.SetUserMatrix(matrix)
    return actor


def _solid(mesh: Mesh, color: tuple[float, float, float]) -> Any:
    """An actor of a closed mesh; edges sharper than 40 degrees stay sharp."""
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    from ctrestoration.implants.mesh import to_vtk

    normals = vtkPolyDataNormals()
    normals.SetInputData(to_vtk(mesh))
    normals.SetFeatureAngle(40.0)
    return _actor(normals, color, opacity=1.0)


def _actor(source: Any, color: tuple[float, float, float], opacity: float) -> Any:
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(source.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*color)
    look.SetOpacity(opacity)
    look.SetSpecular(0.3)
    look.SetSpecularPower(20.0)
    return actor
