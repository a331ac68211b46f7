"""The scene and its logics: real C++ MRML of slicer-core, set up by the helper of the MRML tests."""

from __future__ import annotations

from typing import Any

import slicer
from mrml import core_scene

TITLES = {"subjecthierarchy": "SubjectHierarchy"}


class CoreModule:
    """A loadable module of Slicer: its name and logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = TITLES.get(name, name.capitalize()), logic

    def logic(self) -> Any:
        return self._logic


def make_scene() -> Any:
    """Set `slicer.mrmlScene` and `slicer.modules`; gives the application logic."""
    core_scene.install()
    for name, module in vars(slicer.modules).items():
        setattr(slicer.modules, name, CoreModule(name, module.logic()))
    return core_scene.application_logic()


def fresh_scene() -> Any:
    """The one scene, emptied, with the application's default nodes."""
    slicer.mrmlScene.Clear(True)
    core_scene.add_defaults(slicer.mrmlScene)
    return slicer.mrmlScene
