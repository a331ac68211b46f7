"""A stand-in for the Slicer application's Python: runs unmodified scripted modules and `.ui` files in tests.

PySide6 with PythonQt's manners over slicer-core's real MRML, without windows on a screen. It carries only what our
modules use, and raises where Slicer would only print. It is no proof that a module works in Slicer: subject hierarchy
widgets, slice widgets, layouts, DICOM and command line modules are not simulated. Names come from `facts.json`.

    import slicerstandin
    slicerstandin.install()
    module = slicerstandin.load_module("MARInpaint/MARInpaint.py")
    widget = module.widgetRepresentation().self()
"""

from __future__ import annotations

import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from . import dialogs

__all__ = ["dialogs", "install", "load_module", "reset", "unload_module"]


def install() -> None:
    """Make `qt`, `ctk`, `slicer.app` and the rest importable. Does nothing the second time.

    Raises RuntimeError inside a real Slicer.
    """
    import slicer

    if hasattr(slicer, "app"):
        if not hasattr(slicer.app, "_testing"):
            raise RuntimeError("this is a real Slicer: the stand-in stays out")
        return
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.*=false")
    _spare_none()
    # PythonQt's enumerations are integers; PySide6 reads this once, at its first import.
    if "PySide6" in sys.modules:
        raise RuntimeError("PySide6 was imported before the stand-in")
    sys.pyside6_option_python_enum = 0x02  # type: ignore[attr-defined]

    from . import qtmodule

    application = qtmodule.make_application()
    folder = Path(tempfile.mkdtemp(prefix="slicerstandin-"))
    qtmodule.settings_folder(folder / "settings")
    qt: Any = qtmodule.make_qt()
    sys.modules["qt"] = qt

    from .scene import make_scene

    root: Any = slicer
    root.selfTests = {}
    logic = make_scene()

    from . import ctkwidgets, mrmlwidgets, uiloader
    from .application import qSlicerApplication
    from .cxx import classes

    qt.QUiLoader = uiloader.UiLoader
    ctk = types.ModuleType("ctk")
    sys.modules["ctk"] = ctk
    for name, cls in classes.items():
        setattr(ctk if name.startswith("ctk") else root, name, cls)
    (folder / "temporary").mkdir()
    root.app = qSlicerApplication(folder / "temporary", logic)
    root._standin = (application, ctkwidgets, mrmlwidgets)

    from .utilities import install_utilities

    install_utilities()
    from . import parameters, scripted

    sys.modules["slicer.parameterNodeWrapper"] = root.parameterNodeWrapper = parameters
    sys.modules["slicer.ScriptedLoadableModule"] = root.ScriptedLoadableModule = scripted


def _spare_none() -> None:
    """PySide6 6.12 loses a reference to None in every call without a result: give it more than a test run can lose.

    Without this, Python 3.10 and 3.11 abort after some ten thousand calls ("deallocating None"); from 3.12 on None
    lives for ever.
    """
    if sys.version_info < (3, 12):
        import ctypes

        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def load_module(path: str | Path) -> Any:
    """Load a scripted module file as Slicer does at its start. Gives `slicer.modules.<name>`."""
    from .scripted import load_module

    return load_module(Path(path).resolve())


def unload_module(module: Any) -> None:
    """Unload a module: its widget's cleanup() runs."""
    from .scripted import unload_module

    unload_module(module)


def reset() -> None:
    """As after the start of the application: empty scene, no answers, no settings, no main window."""
    import slicer
    from PySide6 import QtCore

    from .pythonqt import buried
    from .scene import fresh_scene

    buried.clear()
    fresh_scene()
    dialogs.reset()
    QtCore.QSettings().clear()
    slicer.app.setLayoutManager(None)
    vars(slicer.modules).update(sampleDataSources={}, sampleDataCategories={})
