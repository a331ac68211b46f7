"""What slicer-core's own `slicer.util` asks the application for, `slicer.i18n`, `slicer.packaging`, `SampleData`."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util

from . import dialogs, uiloader


def _module(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


# --- dialogs --------------------------------------------------------------------------------------------------


def _told(kind: str) -> Any:
    def tell(text: str, *_: Any, detailedText: str | None = None, **__: Any) -> None:
        dialogs.record(kind, text if not detailedText else f"{text}\n{detailedText}")

    return tell


def _confirm(kind: str) -> Any:
    # In testing mode Slicer answers False, whatever its documentation says; a test may answer otherwise.
    def confirm(text: str, *_: Any, **__: Any) -> bool:
        return dialogs.answer(kind, text, False)

    return confirm


def _patch_util() -> None:
    util: Any = slicer.util
    for name in ("infoDisplay", "warningDisplay", "errorDisplay", "delayDisplay", "messageBox", "showStatusMessage"):
        setattr(util, name, _told(name))
    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
        setattr(util, name, _confirm(name))
    util.loadUI = uiloader.load
    util.mainWindow = lambda: None
    util.modulePath = lambda name: getattr(slicer.modules, name.lower()).path
    util.getModule = lambda name: getattr(slicer.modules, name.lower())
    util.tempDirectory = lambda key="__SlicerTemp__", **_: tempfile.mkdtemp(prefix=key, dir=slicer.app.temporaryPath)
    util.pip_install = lambda *words, **_: dialogs.answer("pip_install", " ".join(map(str, words)))
    util.selectModule = lambda _name: None


# --- slicer.packaging -----------------------------------------------------------------------------------------


def _load_requirements(path: str | Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _pip_check(requirements: Any) -> bool:
    wanted = requirements if isinstance(requirements, (list, tuple)) else [requirements]
    for item in wanted:
        match = re.match(r"[\w.-]+", str(item))
        try:
            importlib.metadata.version(match.group(0) if match else str(item))
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def _pip_ensure(requirements: Any, *, requester: str | None = None, skip_in_testing: bool = True, **_: Any) -> None:
    if not skip_in_testing and not _pip_check(requirements):
        dialogs.answer("pip_ensure", f"{requester}: {requirements}")


# --- SampleData -----------------------------------------------------------------------------------------------


class SampleDataSource:
    """One set of sample data, as registered."""

    def __init__(self, **described: Any) -> None:
        vars(self).update(described)


class SampleDataLogic:
    """Registers sample data in slicer.modules.sampleDataSources, as Slicer's does."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        slicer.modules.sampleDataCategories[category] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileTypes: Any = None,
    ) -> None:
        described = dict(locals())
        many = isinstance(uris, (list, tuple))
        if uris is None or (many and len(uris) != len(fileNames)):
            raise ValueError("All fields of sample data source must have the same length")
        if thumbnailFileName is not None and not Path(thumbnailFileName).is_file():
            raise FileNotFoundError(thumbnailFileName)
        slicer.modules.sampleDataSources.setdefault(category, []).append(SampleDataSource(**described))


def install_utilities() -> None:
    """Put everything in its place."""
    _patch_util()
    vars(slicer.modules).update(sampleDataSources={}, sampleDataCategories={})
    slicer.i18n = _module(  # type: ignore[attr-defined]
        "slicer.i18n", tr=lambda text: text, translate=lambda _context, text: text
    )
    slicer.packaging = _module(  # type: ignore[attr-defined]
        "slicer.packaging",
        load_requirements=_load_requirements,
        pip_check=_pip_check,
        pip_ensure=_pip_ensure,
        pip_install=slicer.util.pip_install,
    )
    _module("SampleData", SampleDataLogic=SampleDataLogic, SampleDataSource=SampleDataSource)
