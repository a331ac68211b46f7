"""Slice and 3D views without a window: Slicer's slice logics and displayable managers, drawn offscreen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import core_scene
import numpy as np
import slicer
import vtk

_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_3D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class _View:
    def __init__(self, factory: Any, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        factory.SetMRMLApplicationLogic(core_scene.application_logic())
        for name in managers:
            if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)  # multi-sampling takes half a second an image without a GPU
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.group = factory.InstantiateDisplayableManagers(self.renderer)

    def picture(self, path: Path | None = None) -> np.ndarray:
        """The view as RGB, uint8 [row, column, 3], also as a PNG file."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        if path is not None:
            writer = vtk.vtkPNGWriter()
            writer.SetFileName(str(path))
            writer.SetInputData(image)
            writer.Write()
        width, height, _ = image.GetDimensions()
        scalars = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        return np.ascontiguousarray(scalars.reshape(height, width, -1)[::-1, :, :3])

    def close(self) -> None:
        """Let go of scene and window."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.RemoveRenderer(self.renderer)
        self.window.Finalize()


class SliceView(_View):
    """A slice view of its own name; `node` and `composite` are what the application's views have."""

    def __init__(self, scene: Any, name: str, size: tuple[int, int] = (360, 360)) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), _SLICE_MANAGERS, size)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core_scene.application_logic())
        self.logic.SetMRMLScene(scene)
        self.node = scene.GetNodeByID(f"vtkMRMLSliceNode{name}") or self.logic.AddSliceNode(name)
        self.logic.SetSliceNode(self.node)
        self.node.SetDimensions(*size, 1)
        core_scene.application_logic().GetSliceLogics().AddItem(self.logic)
        self.logic.ResizeSliceNode(*size)
        self.composite = self.logic.GetSliceCompositeNode()
        # CTK's light-box actor is not wrapped: the slice's image is put behind everything by hand.
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.group.SetMRMLDisplayableNode(self.node)

    def fit(self) -> None:
        """Show the whole background volume, centered."""
        self.logic.FitSliceToBackground()

    def picture(self, path: Path | None = None) -> np.ndarray:
        """See `_View.picture`; the image's pipeline changes with what is shown."""
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return super().picture(path)

    def pixel(self, lps: Any) -> tuple[float, float]:
        """(row, column) in the picture of a point in LPS mm."""
        x, y, z = lps
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), inverse)
        column, row = inverse.MultiplyPoint((-x, -y, z, 1))[:2]
        return self.window.GetSize()[1] - 1 - row, column

    def close(self) -> None:
        """Let go of scene and window."""
        core_scene.application_logic().GetSliceLogics().RemoveItem(self.logic)
        super().close()
        self.logic.SetMRMLScene(None)


class ThreeDView(_View):
    """The 3D view."""

    def __init__(self, scene: Any, size: tuple[int, int] = (420, 420)) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), _3D_MANAGERS, size)
        self.node = scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
        self.node.SetLayoutName("1")
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetBackgroundColor(0, 0, 0)
        self.node.SetBackgroundColor2(0, 0, 0)
        self.group.SetMRMLDisplayableNode(self.node)

    def look(self, direction: tuple[float, float, float], up: tuple[float, float, float] = (0, 0, 1)) -> None:
        """Look along a direction (RAS) at everything there is."""
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*(-value for value in direction))
        camera.SetViewUp(*up)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()


def colored(picture: np.ndarray, rgb: tuple[float, float, float], tolerance: int = 40) -> np.ndarray:
    """Where a picture has a color (0..1 each), bool [row, column]."""
    return (np.abs(picture.astype(int) - np.rint(255 * np.array(rgb)).astype(int)) <= tolerance).all(axis=2)


def saturated(picture: np.ndarray, least: int = 40) -> np.ndarray:
    """Where a picture is no shade of gray, bool [row, column]."""
    return picture.max(axis=2).astype(int) - picture.min(axis=2) > least


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(first row, last row, first column, last column) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
