"""Folders laid out as the public SynDeepLesion benchmark is: `<patient>/<slice>/gt.h5` beside `<k>.h5`.

Images are stored as attenuation in 1/cm, [row, column]; sinograms [view, bin] belong to the image turned by 90 degrees
(`numpy.rot90`), which is how the published geometry sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError, MissingDependencyError

MU_WATER_PER_CM = 0.192


@dataclass(frozen=True)
class BenchmarkSlice:
    """One clean slice and the simulated metals stored beside it.

    Attributes:
        folder: where its files are.
        name: `<patient>/<slice>`.
        metals: the k of every `<k>.h5`, ascending.
    """

    folder: Path
    name: str
    metals: tuple[int, ...]

    def clean(self, *keys: str) -> list[NDArray[np.float32]]:
        """Arrays of gt.h5: "image", "poly_CT", "poly_sinogram"."""
        return _arrays(self.folder / "gt.h5", keys)

    def metal(self, k: int, *keys: str) -> list[NDArray[np.float32]]:
        """Arrays of `<k>.h5`: "ma_CT", "LI_CT", "ma_sinogram", "LI_sinogram", "metal_trace"."""
        return _arrays(self.folder / f"{k}.h5", keys)


def find_slices(folder: str | Path) -> list[BenchmarkSlice]:
    """Every slice below a folder, in alphabetical order.

    Raises:
        InputError: the folder is missing, or holds no `gt.h5` with metals beside it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one laid out as <patient>/<slice>/gt.h5 beside <k>.h5.")
    found = []
    for truth in sorted(folder.rglob("gt.h5")):
        metals = sorted(int(path.stem) for path in truth.parent.glob("*.h5") if path.stem.isdigit())
        if metals:
            name = truth.parent.relative_to(folder).as_posix()
            found.append(BenchmarkSlice(truth.parent, name, tuple(metals)))
    if not found:
        raise InputError(f"{folder} holds no slice: expected <patient>/<slice>/gt.h5 with <k>.h5 beside it.")
    return found


def read_masks(path: str | Path, size: int = 416) -> NDArray[np.uint8]:
    """Metal masks [size, size, n] of 0 and 1, the last axis being k.

    Masks of another size (the official files are 512x512) are resized as the published protocol does: bilinear with
    the half-pixel convention and a widened kernel, on whole numbers, so that they stay 0 or 1.

    Args:
        path: .npy file, uint8 [h, w, n].
        size: wanted height and width.

    Raises:
        InputError: not there, or no such array.
    """
    path = Path(path)
    try:
        masks = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no metal masks: expected a .npy file, uint8 [height, width, n].") from error
    if masks.ndim != 3:
        raise InputError(f"{path} has shape {masks.shape}: metal masks must be [height, width, n].")
    masks = (masks > 0).astype(np.uint8)
    if masks.shape[:2] == (size, size):
        return masks
    rows, columns = (_resampling(length, size) for length in masks.shape[:2])
    # Whole numbers in between, as the imaging library of the protocol keeps them: horizontally first, then vertically.
    across = np.floor(np.einsum("yxn,ax->yan", masks.astype(np.float64), columns) + 0.5)
    down = np.floor(np.einsum("yan,by->ban", across, rows) + 0.5)
    return down.astype(np.uint8)


def _resampling(source: int, target: int) -> NDArray[np.float64]:
    """Weights [target, source] of a triangle filter, widened when shrinking."""
    scale = source / target
    support = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centers[:, None]) / support
    weights = np.maximum(1.0 - distance, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _arrays(path: Path, keys: tuple[str, ...]) -> list[NDArray[np.float32]]:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "fast", "Reading benchmark slices") from error
    try:
        with h5py.File(path) as file:
            missing = [key for key in keys if key not in file]
            if missing:
                raise InputError(f"{path} has no array {missing[0]!r}; it holds {', '.join(file)}.")
            return [np.asarray(file[key][:], dtype=np.float32) for key in keys]
    except OSError as error:
        raise InputError(f"{path} is no readable HDF5 file.") from error
