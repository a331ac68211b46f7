"""Random crops, mirror images and quarter turns of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.training.data.lowdose_classes import other_sides
from ctrestoration.training.sources import DamagedSampleError, Sample

if TYPE_CHECKING:
    from torch import Tensor

BODY_HU = -300.0
"""Above: the patient."""

_TRIES = 64


@dataclass(frozen=True)
class View:
    """A square of a sample, mirrored and turned.

    Attributes:
        row: first row.
        column: first column.
        size: rows and columns; None: the whole.
        mirrored: left becomes right.
        quarters: quarter turns after that.
    """

    row: int = 0
    column: int = 0
    size: int | None = None
    mirrored: bool = False
    quarters: int = 0

    def of_sample(self, sample: Sample) -> Sample:
        """The same of every array [..., row, column]."""
        return {name: np.ascontiguousarray(self._of(array)) for name, array in sample.items()}

    def _of(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        seen = array[self._square]
        seen = seen[..., ::-1] if self.mirrored else seen
        return np.rot90(seen, self.quarters, (-2, -1)) if self.quarters else seen

    def of_images(self, images: Tensor) -> Tensor:
        """The same of images [..., row, column]."""
        seen = images[self._square]
        seen = seen.flip(-1) if self.mirrored else seen
        return seen.rot90(self.quarters, (-2, -1)) if self.quarters else seen

    @property
    def _square(self) -> tuple[Any, ...]:
        if self.size is None:
            return (...,)
        return (..., slice(self.row, self.row + self.size), slice(self.column, self.column + self.size))


def crop(sample: Sample, size: int, draw: np.random.Generator) -> Sample:
    """A random square of `size` pixels out of every array; see `crop_corner`."""
    shape = next(iter(sample.values())).shape[-2:]
    return View(*crop_corner(shape, size, draw), size).of_sample(sample)


def crop_corner(
    shape: tuple[int, ...], size: int, draw: np.random.Generator, body: NDArray[np.bool_] | None = None
) -> tuple[int, int]:
    """First row and column of a random square.

    Args:
        shape: rows and columns of the whole.
        size: rows and columns of the square.
        draw: says where.
        body: where the patient is; the square lies around a point of theirs, as far as the edge allows. None: anywhere.

    Raises:
        DamagedSampleError: it does not fit.
    """
    rows, columns = shape
    if size > min(rows, columns):
        raise DamagedSampleError(f"A crop of {size} pixels does not fit into slices of {rows}x{columns}.")
    if body is None:
        return int(draw.integers(rows - size + 1)), int(draw.integers(columns - size + 1))
    points = np.stack([draw.integers(rows, size=_TRIES), draw.integers(columns, size=_TRIES)])
    # Nearly every slice has a patient at one of the points; else the first argmax, any point, is as good.
    chosen = points[:, int(np.argmax(body[points[0], points[1]]))]
    row, column = (int(x) for x in np.clip(chosen - size // 2, 0, [rows - size, columns - size]))
    return row, column


def mirror(sample: Sample, classes: Sequence[str] = ()) -> Sample:
    """Left becomes right, and so do classes that have a side: a mirrored left kidney is a right one.

    Args:
        sample: arrays; "labels", where there are some, are class numbers.
        classes: names of the numbers 1, 2, ...

    Returns:
        The sample itself where the other side of a class is no class: no labels would be right.
    """
    numbers = other_sides(classes)
    if numbers is None:
        return sample
    mirrored = {name: np.ascontiguousarray(array[..., ::-1]) for name, array in sample.items()}
    if "labels" in mirrored and numbers != tuple(range(len(numbers))):
        labels = mirrored["labels"]
        mirrored["labels"] = np.asarray(numbers, dtype=labels.dtype)[labels.astype(np.intp)]
    return mirrored
