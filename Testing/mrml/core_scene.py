"""What the application sets up and the wheel slicer-core does not: logics, colors, `slicer.modules`, a scene.

`install()` is called once a process, `fresh_scene()` before each test. Where the real application is running, both
leave it as it is, so that the same tests run there.
"""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

_LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "volumes": "vtkSlicerVolumesLogic",
}
_kept: dict[str, Any] = {}


def in_application() -> bool:
    """Whether this is the real 3D Slicer."""
    return hasattr(slicer, "app")


def install() -> None:
    """Give `slicer` a scene and the module logics, once a process."""
    if in_application() or "scene" in _kept:
        return
    # Missing color files, unit and selection nodes are no news here.
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    cache = tempfile.TemporaryDirectory(prefix="slicer-cache-")
    remote.GetCacheManager().SetRemoteCacheDirectory(cache.name)
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    data.SetMRMLApplicationLogic(application)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    modules = {}
    for name, kind in _LOGICS.items():
        logic = getattr(slicer, kind)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(kind.replace("vtkSlicer", "").replace("ModuleLogic", "").replace("Logic", ""), logic)
        modules[name] = SimpleNamespace(logic=lambda logic=logic: logic)
    application.SetModuleLogic("Colors", modules["colors"].logic())
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**modules)
    _kept.update(cache=cache, scene=scene, application=application, remote=remote, data=data, modules=modules)
    add_defaults(scene)


def fresh_scene() -> Any:
    """The scene, emptied."""
    slicer.mrmlScene.Clear(True)
    if not in_application():
        add_defaults(slicer.mrmlScene)
    return slicer.mrmlScene


def application_logic() -> Any:
    """The application logic."""
    return slicer.app.applicationLogic() if in_application() else _kept["application"]


def add_defaults(scene: Any) -> None:
    """Color tables and slice orientations, as in every scene of the application."""
    _kept["modules"]["colors"].logic().AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
