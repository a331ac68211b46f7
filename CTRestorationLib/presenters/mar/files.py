"""Volumes and segmentations of the scene as files for the child, written once and in small steps."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import CTRestorationLib.jobs.exchange as exchange


class FileSteps:
    """Part of `Session`: generators to be used with `yield from` inside a job.

    An input that has not changed since is not written again: what identifies its state is `nodes.stamp(node)`.
    """

    nodes: Any

    @property
    def root(self) -> Path:
        """Folder of the session's files."""
        raise NotImplementedError

    def __init__(self) -> None:
        self._files: dict[str, tuple[Any, Path]] = {}
        self._numbers = itertools.count(1)

    def volumeFile(self, volumeNode: Any) -> Generator[Any, Any, Path]:
        """The file of a volume node, in the order and geometry of the node."""
        key, stamp = f"volume {volumeNode.GetID()}", self.nodes.stamp(volumeNode)
        path = self._known(key, stamp)
        if path is None:
            yield f"Handing over {volumeNode.GetName()}"
            path = self._fresh(volumeNode.GetName(), ".nrrd")
            yield from exchange.writeVolumeSteps(self.nodes.volumeSource(volumeNode), path)
            self._files[key] = (stamp, path)
        return path

    def labelFile(self, segmentationNode: Any, like: Any) -> Generator[Any, Any, Path]:
        """The file of a segmentation on the voxels of a volume node, with the names of its segments."""
        key = f"labels {segmentationNode.GetID()} {like.GetID()}"
        stamp = (self.nodes.stamp(segmentationNode), self.nodes.stamp(like))
        path = self._known(key, stamp)
        if path is None:
            yield f"Handing over {segmentationNode.GetName()}"
            labels = yield from self.nodes.labelMapSteps(segmentationNode, like)
            path = self._fresh(segmentationNode.GetName(), ".seg.nrrd")
            yield from _steps(exchange.writeLabels(labels, path))
            self._files[key] = (stamp, path)
        return path

    def maskFile(self, segmentationNode: Any, segmentId: str, like: Any) -> Generator[Any, Any, Path]:
        """The file of one segment on the voxels of a volume node."""
        key = f"mask {segmentationNode.GetID()} {segmentId} {like.GetID()}"
        stamp = (self.nodes.stamp(segmentationNode), self.nodes.stamp(like))
        path = self._known(key, stamp)
        if path is None:
            yield f"Handing over {segmentationNode.GetName()}"
            labels = yield from self.nodes.labelMapSteps(segmentationNode, like, [segmentId])
            path = self._fresh(segmentationNode.GetName(), ".seg.nrrd")
            yield from _steps(exchange.writeLabels(labels, path))
            self._files[key] = (stamp, path)
        return path

    def readVolume(self, path: Path) -> Generator[Any, Any, Any]:
        """The `Volume` of a file that the child wrote."""
        yield "Reading the result"
        return (yield from _steps(exchange.readVolumeSteps(path)))

    def readLabels(self, path: Path) -> Generator[Any, Any, Any]:
        """The `LabelMap` of a file that the child wrote."""
        yield "Reading the result"
        return (yield from _steps(exchange.readLabels(path)))

    def forgetFiles(self) -> None:
        """The scene is gone: so are its files."""
        for _, path in self._files.values():
            _remove(path)
        self._files.clear()

    def _known(self, key: str, stamp: Any) -> Path | None:
        known = self._files.get(key)
        if known is None:
            return None
        if known[0] == stamp and known[1].is_file():
            return known[1]
        _remove(known[1])
        del self._files[key]
        return None

    def _fresh(self, name: str, suffix: str) -> Path:
        """A file in a folder of its own, named after the node: the child calls its input by the file's name."""
        folder = self.root / "inputs" / str(next(self._numbers))
        folder.mkdir(parents=True, exist_ok=True)
        readable = re.sub(r"[^A-Za-z0-9 _-]+", "-", name)[:80].strip(" -") or "input"
        return folder / f"{readable}{suffix}"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _steps(work: Any) -> Generator[Any, Any, Any]:
    """What a stepping function gives back; a plain value is taken as it is."""
    if hasattr(work, "__next__"):
        return (yield from work)
    return work
    yield
