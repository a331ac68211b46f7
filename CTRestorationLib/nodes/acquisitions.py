"""Where the sinograms of simulated volumes lie: beside the scene's file, or in a temporary folder until it has one.

They are too large for a scene (100 MB and more) and no node type holds them. The volume's attribute names the file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import slicer
import vtk

from ctrestoration.errors import OutputError

ATTRIBUTE = "CTRestoration.acquisition"
_TEMPORARY = "CTRestoration-acquisitions"
_CHUNK = 4 << 20


class AcquisitionStore:
    """The sinogram files of one scene.

    Args:
        scene: vtkMRMLScene.
        temporary: () -> folder for temporary files; default the application's.
    """

    def __init__(self, scene: Any, temporary: Callable[[], Path] | None = None) -> None:
        self._scene = scene
        self._temporary = temporary or (lambda: Path(slicer.app.temporaryPath))
        self._kept: dict[Path, int] = {}

    def sceneFolder(self) -> Path | None:
        """The folder beside the scene's file, None where the scene has no file yet."""
        url = self._scene.GetURL()
        path = Path(url) if url else None
        if path is None or not path.is_absolute() or not path.parent.is_dir():
            return None
        return path.parent / f"{path.name.split('.')[0]}-ctrestoration"

    def folder(self) -> Path:
        """Where a new file goes."""
        return self.sceneFolder() or self._temporary() / _TEMPORARY

    def keepSteps(self, source: Path, title: str) -> Generator[None, None, Path]:
        """Move a job's file to where it is kept, in short steps, under a new name made from the title.

        Raises:
            OutputError: where it cannot be written.
        """
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.") or "acquisition"
        target = self.folder() / f"{name}-{uuid.uuid4().hex[:8]}.npz"
        yield from _moveSteps(source, target)
        stamp = vtk.vtkTimeStamp()
        stamp.Modified()
        self._kept[target] = stamp.GetMTime()
        return target

    def attach(self, node: Any, path: Path) -> None:
        """Note the file with the volume."""
        node.SetAttribute(ATTRIBUTE, Path(path).as_posix())

    def has(self, node: Any) -> bool:
        """Whether a volume was made with sinograms, wherever they are now."""
        return node is not None and bool(node.GetAttribute(ATTRIBUTE))

    def places(self, node: Any) -> list[Path]:
        """Where the sinograms of a volume may be: where they were put, beside the scene, and next to it."""
        if not self.has(node):
            return []
        kept, beside = Path(node.GetAttribute(ATTRIBUTE)), self.sceneFolder()
        every = [kept] if beside is None else [kept, beside / kept.name, beside.parent / kept.name]
        return list(dict.fromkeys(every))

    def find(self, node: Any) -> Path | None:
        """The sinograms of a volume; None where it has none, or they are gone."""
        return next((path for path in self.places(node) if path.is_file()), None)

    def isTemporary(self, path: Path) -> bool:
        """Whether a file lies in the temporary folder."""
        return path.parent == self._temporary() / _TEMPORARY

    def homeless(self) -> bool:
        """Whether the scene was saved while sinograms of it lie in the temporary folder; no event tells of that."""
        return self.sceneFolder() is not None and any(map(self._waits, self._volumes()))

    def adoptSteps(self) -> Generator[None, None, None]:
        """Bring what lies in the temporary folder beside the scene's file, in short steps."""
        beside = self.sceneFolder()
        for node in self._volumes():
            path = self.find(node)
            if beside is None or path is None or not self._waits(node):
                continue
            target = beside / path.name
            yield from _moveSteps(path, target)
            self._kept.pop(path, None)
            if self._scene.IsNodePresent(node):
                self.attach(node, target)

    def sceneClosed(self) -> None:
        """If the scene is closing: files go that no saved scene can name; those of a saved one go beside it."""
        if not self._scene.IsClosing():
            return
        beside = self.sceneFolder()
        for path, since in self._kept.items():
            with contextlib.suppress(OSError):
                if not self._savedSince(since):
                    path.unlink(missing_ok=True)
                elif beside is not None and path.parent != beside:
                    beside.mkdir(exist_ok=True)
                    path.replace(beside / path.name)
        self._kept.clear()

    def _savedSince(self, time: int) -> bool:
        return bool(self._scene.GetStoredTime() > time)

    def _waits(self, node: Any) -> bool:
        """Whether a volume's sinograms lie in the temporary folder although the scene that names them was saved."""
        path = Path(node.GetAttribute(ATTRIBUTE))
        here = self.isTemporary(path) and path.is_file()
        return here and self._savedSince(self._kept.get(path, 0))

    def _volumes(self) -> list[Any]:
        return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self._scene) if self.has(node)]


def _moveSteps(source: Path, target: Path) -> Generator[None, None, None]:
    """Rename where that is possible, else copy piece by piece; complete, or not there at all."""
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(source, target)  # noqa: PTH105 - shutil.move would copy in one go
            return
        except OSError:
            with source.open("rb") as read, part.open("wb") as write:
                while piece := read.read(_CHUNK):
                    write.write(piece)
                    yield
            part.replace(target)
            shutil.copystat(source, target)
        source.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot keep the sinograms in {target.parent}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
