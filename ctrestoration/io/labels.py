"""Segmentations and metal masks in files, brought onto the grid of their CT without interpolation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.io._itk import StoredImage, image_suffix, read_image, write_image
from ctrestoration.volume import Grid, LabelMap

_HIGHEST_LABEL = 65535
_WHOLE = 0.01
_SAME_VOXEL = 0.01
"""Grids agree where no corner lies further apart than this share of the smallest voxel side."""

_SEGMENT = re.compile(r"^Segment(\d+)_(Name|LabelValue|Layer)$")


def read_labels(path: str | Path, grid: Grid | None = None) -> LabelMap:
    """Read a segmentation.

    Numbers stored as floating point are rounded. A 3D Slicer segmentation (.seg.nrrd) brings its segments' names;
    where its segments overlap, they are numbered anew and the later one wins.

    Args:
        path: any image file; a 3D Slicer segmentation may be cropped to its segments.
        grid: the CT's grid. The same voxels stored in another order of axes are turned, exactly.

    Returns:
        The labels, on `grid` where one is given.

    Raises:
        InputError: not an image, not labels, or on another grid; the message names what differs.
    """
    path = _existing(path)
    stored = read_image(path)
    array, names = _merged(stored, path)
    labels = _whole_numbers(array, path)
    if grid is None:
        return LabelMap(labels, stored.grid, names, _stem(path))
    cropped = any(key.startswith("Segmentation_") for key in stored.metadata)
    return LabelMap(on_grid(labels, stored.grid, grid, str(path), cropped=cropped), grid, names, _stem(path))


def write_labels(labels: LabelMap, path: str | Path) -> None:
    """Write a segmentation; a name ending in .seg.nrrd makes it one that 3D Slicer opens with its names.

    Raises:
        InputError: suffix that cannot be written.
        OutputError: where the file cannot be written.
    """
    path = Path(path)
    array = labels.array
    if int(array.max()) < 256:
        array = array.astype(np.uint8)
    metadata = _slicer_metadata(labels) if path.name.lower().endswith(".seg.nrrd") else {}
    write_image(array, labels.grid, path, metadata)


def read_fraction(path: str | Path, grid: Grid) -> NDArray[np.float32]:
    """Read a metal mask, or an image of the share of metal in every voxel.

    Args:
        path: labels (every non-zero voxel is metal) or fractions from 0 to 1.
        grid: the CT's grid; turned onto it exactly as in `read_labels`.

    Returns:
        Share of metal 0..1, float32, [z, y, x].

    Raises:
        InputError: not an image, values that are neither labels nor fractions, or another grid.
    """
    path = _existing(path)
    stored = read_image(path)
    array, _ = _merged(stored, path)
    _require_finite(array, path)
    low, high = float(array.min()), float(array.max())
    if low < 0.0:
        raise InputError(
            f"{path} is no metal mask: it holds negative values (lowest {low:g}); expected 0 to 1, or labels."
        )
    if high > 1.0:
        array = _whole_numbers(array, path) > 0
    cropped = any(key.startswith("Segmentation_") for key in stored.metadata)
    return on_grid(np.asarray(array, dtype=np.float32), stored.grid, grid, str(path), cropped=cropped)


def on_grid(array: NDArray[Any], source: Grid, target: Grid, name: str, *, cropped: bool = False) -> NDArray[Any]:
    """Bring an array from one grid onto another that covers the same voxels, by turning axes only.

    Args:
        array: [z, y, x] on `source`.
        source: where the array's voxels lie.
        target: where they are wanted.
        name: what to call the array in the message.
        cropped: True where the array may cover a part of the target only; the rest becomes 0.

    Raises:
        InputError: the grids differ by more than an order of axes; the message names what differs.
    """
    turn = np.linalg.inv(target.affine) @ source.affine
    whole = np.rint(turn)
    reach = np.array([*source.shape[::-1], 1.0])
    apart = float((np.abs(turn[:3] - whole[:3]) * reach).sum(axis=1).max())
    permutes = np.array_equal(np.abs(whole[:3, :3]).sum(axis=0), np.ones(3)) and np.array_equal(
        np.abs(whole[:3, :3]).sum(axis=1), np.ones(3)
    )
    if apart > _SAME_VOXEL or not permutes:
        raise InputError(f"{name} lies on another grid than the CT: {_difference(source, target)}.")
    axes = [2 - int(np.argmax(np.abs(whole[row, :3]))) for row in (2, 1, 0)]
    flips = [bool(whole[row, :3].sum() < 0) for row in (2, 1, 0)]
    turned = np.transpose(array, axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    start = _first_index(whole, source)[::-1]
    if tuple(turned.shape) == target.shape and not start.any():
        return np.ascontiguousarray(turned)
    if not cropped:
        raise InputError(f"{name} lies on another grid than the CT: {_difference(source, target)}.")
    return _placed(turned, start, target.shape)


def _first_index(whole: NDArray[np.float64], source: Grid) -> NDArray[np.int_]:
    """Target index (i, j, k) of the turned array's first voxel."""
    last = np.array([n - 1 for n in source.shape[::-1]])
    corners = np.stack([whole[:3, 3], whole[:3, :3] @ last + whole[:3, 3]])
    return np.asarray(np.rint(corners.min(axis=0)), dtype=int)


def _placed(array: NDArray[Any], start: NDArray[np.int_], shape: tuple[int, int, int]) -> NDArray[Any]:
    result = np.zeros(shape, dtype=array.dtype)
    into, outof = [], []
    for first, size, total in zip(start, array.shape, shape, strict=True):
        low, high = max(int(first), 0), min(int(first) + size, total)
        into.append(slice(low, max(high, low)))
        outof.append(slice(low - int(first), max(high, low) - int(first)))
    result[tuple(into)] = array[tuple(outof)]
    return result


def _difference(source: Grid, target: Grid) -> str:
    """One clause on what differs: size, spacing, orientation or position."""
    ours = tuple(sorted(source.shape)), tuple(sorted(target.shape))
    sizes = ["x".join(str(n) for n in grid.shape[::-1]) for grid in (source, target)]
    if ours[0] != ours[1]:
        return f"{sizes[0]} voxels (x, y, z), the CT has {sizes[1]}"
    spacings = [", ".join(f"{mm:.4g}" for mm in grid.spacing) for grid in (source, target)]
    if not np.allclose(sorted(source.spacing), sorted(target.spacing), rtol=1e-4):
        return f"spacing ({spacings[0]}) mm, the CT has ({spacings[1]}) mm"
    centers = [grid.to_world([(n - 1) / 2 for n in grid.shape[::-1]]) for grid in (source, target)]
    apart = float(np.linalg.norm(centers[0] - centers[1]))
    if apart > _SAME_VOXEL * min(target.spacing):
        return f"its center lies {apart:.4g} mm from that of the CT"
    return "its axes point in other directions"


def _merged(stored: StoredImage, path: Path) -> tuple[NDArray[Any], dict[int, str]]:
    """One label image of [z, y, x] out of a file that may hold several layers, and the names."""
    segments = _segments(stored.metadata)
    if stored.layers == 1:
        return stored.array, {value: name for name, value, _ in segments}
    if not segments:
        raise InputError(
            f"{path} has {stored.layers} values per voxel, as a color image: give a mask with one value per voxel."
        )
    merged = np.zeros(stored.grid.shape, dtype=np.uint16)
    for number, (_, value, layer) in enumerate(segments, start=1):
        if layer < stored.layers:
            merged[stored.array[..., layer] == value] = number
    return merged, {number: name for number, (name, _, _) in enumerate(segments, start=1)}


def _segments(metadata: dict[str, str]) -> list[tuple[str, int, int]]:
    """(name, label value, layer) of every segment in the metadata of a 3D Slicer segmentation, in their order."""
    found: dict[int, dict[str, str]] = {}
    for key, text in metadata.items():
        match = _SEGMENT.match(key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = text
    return [
        (
            entry.get("Name", f"segment {number + 1}"),
            int(entry.get("LabelValue", number + 1)),
            int(entry.get("Layer", 0)),
        )
        for number, entry in sorted(found.items())
    ]


def _slicer_metadata(labels: LabelMap) -> dict[str, str]:
    present = [int(value) for value in np.unique(labels.array) if value]
    metadata = {"Segmentation_MasterRepresentation": "Binary labelmap", "Segmentation_ContainedRepresentationNames": ""}
    for number, value in enumerate(present):
        prefix = f"Segment{number}_"
        metadata |= {
            f"{prefix}ID": f"Segment_{value}",
            f"{prefix}Name": labels.names.get(value, f"label {value}"),
            f"{prefix}LabelValue": str(value),
            f"{prefix}Layer": "0",
            f"{prefix}Extent": _extent(labels.array == value),
        }
    return metadata


def _extent(mask: NDArray[np.bool_]) -> str:
    """First and last index of a mask along x, y and z, as 3D Slicer writes it."""
    ends = []
    for axis in (2, 1, 0):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ends += [int(inside[0]), int(inside[-1])]
    return " ".join(str(end) for end in ends)


def _whole_numbers(array: NDArray[Any], path: Path) -> NDArray[np.uint16]:
    if np.issubdtype(array.dtype, np.floating):
        _require_finite(array, path)
        rounded = np.rint(array)
        off = np.abs(array - rounded)
        if float(off.max()) > _WHOLE:
            value = float(array.ravel()[int(off.argmax())])
            raise InputError(f"{path} is no segmentation: it holds values between whole numbers, such as {value:g}.")
        array = rounded
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > _HIGHEST_LABEL:
        raise InputError(
            f"{path} is no segmentation: its values run from {low:g} to {high:g}, labels from 0 to {_HIGHEST_LABEL}."
        )
    return array.astype(np.uint16)


def _require_finite(array: NDArray[Any], path: Path) -> None:
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"{path} holds {int((~np.isfinite(array)).sum())} voxels that are NaN or infinite.")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not an image file" if path.is_dir() else "does not exist: check the path of the mask"
        raise InputError(f"{path} {what}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    return path


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(image_suffix(path))].removesuffix(".seg")
