"""Volumes and segmentations to and from a job's files, in steps short enough for a window that stays alive.

numpy and the standard library only: SimpleITK stays out of Slicer's own process. Every function here is a generator
that yields the fraction done (0..1) every few milliseconds; reading gives its result back as the generator's value:

    volume = yield from exchange.readVolumeSteps(path)
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ctrestoration.errors import InputError, OutputError
from ctrestoration.volume import Grid, LabelMap, Volume
from CTRestorationLib.jobs.imagefiles import Stored, openedImage

STEP_BYTES = 1 << 20
"""What is copied between two steps: a few milliseconds."""

UNPACK_BYTES = 256 << 10
"""What is unpacked between two steps: gzip gives about 30 MB/s."""

SHEAR = 1e-3
_TYPES = {
    "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32", "uint32": "uint32",
    "int64": "int64", "uint64": "uint64", "float32": "float", "float64": "double",
}  # fmt: skip


class ArrayOnGrid(Protocol):
    """What can be written: a `Volume`, or anything with its array of any number type, its grid and its name."""

    @property
    def array(self) -> Any:
        """[z, y, x]."""
        ...

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...


def writeVolumeSteps(volume: ArrayOnGrid, path: Path | str) -> Generator[float, None, None]:
    """Write a volume as NRRD, uncompressed, in the number type of its array; complete, or not there at all.

    Raises:
        InputError: voxel axes that are not at right angles, which image files cannot hold; or an array that is not
            of numbers.
        OutputError: where the file cannot be written.
    """
    yield from _write(volume.array, volume.grid, volume.name, Path(path), {})


def writeLabels(labels: LabelMap, path: Path | str) -> Generator[float, None, None]:
    """Write a segmentation as a .seg.nrrd file that 3D Slicer and `ctrestoration.io` read with its names.

    Raises:
        InputError, OutputError: as `writeVolumeSteps`.
    """
    array = labels.array
    extents: dict[int, list[int]] = {}
    for z in range(array.shape[0]):
        plane = array[z]
        for value in np.flatnonzero(np.bincount(plane.ravel())).tolist():
            if value:
                _grow(extents, value, z, plane == value)
        yield 0.5 * (z + 1) / array.shape[0]
    facts = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, value in enumerate(sorted(extents)):
        prefix = f"Segment{number}_"
        facts |= {
            f"{prefix}ID": f"Segment_{value}",
            f"{prefix}Name": labels.names.get(value, f"label {value}"),
            f"{prefix}LabelValue": str(value),
            f"{prefix}Layer": "0",
            f"{prefix}Extent": " ".join(str(end) for end in extents[value]),
        }
    for fraction in _write(array, labels.grid, labels.name, Path(path), facts):
        yield 0.5 + 0.5 * fraction


def readVolumeSteps(path: Path | str) -> Generator[float, None, Volume]:
    """The volume in a .nrrd, .nii or .nii.gz file, named after the file.

    Raises:
        InputError: not there, of another kind, or cut off.
    """
    path = Path(path)
    with openedImage(path) as stored:
        array = yield from _read(stored, np.float32)
    return Volume(array, stored.grid, path.name.split(".")[0])


def readLabels(path: Path | str) -> Generator[float, None, LabelMap]:
    """The segmentation in a .nrrd, .seg.nrrd, .nii or .nii.gz file, with the names of its segments if it holds any.

    Raises:
        InputError: not there, of another kind, or cut off.
    """
    path = Path(path)
    with openedImage(path) as stored:
        array = yield from _read(stored, np.uint16)
    names, number = {}, 0
    while f"Segment{number}_LabelValue" in stored.facts:
        value = int(stored.facts[f"Segment{number}_LabelValue"])
        names[value] = stored.facts.get(f"Segment{number}_Name", f"label {value}")
        number += 1
    return LabelMap(array, stored.grid, names, path.name.split(".")[0])


def exhaust(steps: Generator[float, None, Any]) -> Any:
    """What a generator of steps gives back, without pausing: for tests and for small files."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _write(array: Any, grid: Grid, name: str, path: Path, facts: dict[str, str]) -> Iterator[float]:
    axes = grid.direction
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise InputError(
            f"The voxel axes of {name} are not at right angles, which image files cannot hold: resample the volume."
        )
    array = np.asarray(array)
    array = array.view(np.uint8) if array.dtype == bool else array
    if array.dtype.name not in _TYPES:
        raise InputError(f"{name} holds values of type {array.dtype}, which are no numbers of an image.")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(_header(array, grid, facts))
            for cut in _slabs(array.shape, array.itemsize):
                slab = np.ascontiguousarray(array[cut])
                file.write(slab.astype(slab.dtype.newbyteorder("<"), copy=False).data)
                yield cut[0].stop / array.shape[0]
        part.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _header(array: Any, grid: Grid, facts: dict[str, str]) -> bytes:
    def vector(values: Any) -> str:
        return "(" + ",".join(repr(float(value)) for value in values) + ")"

    lines = [
        "NRRD0004",
        f"type: {_TYPES[array.dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(count) for count in grid.shape[::-1]),
        "space directions: " + " ".join(vector(grid.affine[:3, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {vector(grid.affine[:3, 3])}",
        *(f"{key}:={_oneLine(text)}" for key, text in facts.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _oneLine(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _slabs(shape: Sequence[int], itemsize: int, size: int = STEP_BYTES) -> Iterator[tuple[slice, ...]]:
    """Runs of whole slices, or of rows where a slice alone is much, of about `size` bytes."""
    row, plane = shape[2] * itemsize, shape[1] * shape[2] * itemsize
    if plane <= size:
        step = max(1, size // plane)
        for start in range(0, shape[0], step):
            yield (slice(start, min(start + step, shape[0])),)
        return
    step = max(1, size // row)
    for z in range(shape[0]):
        for start in range(0, shape[1], step):
            yield (slice(z, z + 1), slice(start, min(start + step, shape[1])))


def _read(stored: Stored, kind: Any) -> Generator[float, None, Any]:
    array = np.empty(stored.grid.shape, dtype=kind)
    size = UNPACK_BYTES if stored.packed else STEP_BYTES
    for cut in _slabs(array.shape, max(array.itemsize, stored.dtype.itemsize), size):
        target = array[cut]
        values = np.frombuffer(stored.take(target.size * stored.dtype.itemsize), dtype=stored.dtype)
        target[...] = stored.scaled(values.reshape(target.shape))
        yield cut[0].stop / array.shape[0]
    return array


def _grow(extents: dict[int, list[int]], value: int, z: int, mask: Any) -> None:
    """Widen the extent (first and last index along x, y and z) of a label by one of its slices."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    here = [int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1]), z, z]
    old = extents.get(value, here)
    extents[value] = [min(a, b) if n % 2 == 0 else max(a, b) for n, (a, b) in enumerate(zip(old, here, strict=True))]
