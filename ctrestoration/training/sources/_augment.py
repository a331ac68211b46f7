"""Random crops, mirror images and quarter turns of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctrestoration.training.lowdose_classes import other_sides
from ctrestoration.training.sources import DamagedSampleError, Sample

BODY_HU = -300.0
"""Above: the patient."""

_TRIES = 64


def crop(sample: Sample, size: int, draw: np.random.Generator, in_body: bool = False) -> Sample:
    """A random square of `size` pixels out of every array.

    Args:
        sample: arrays of one size.
        size: rows and columns.
        draw: says where.
        in_body: around a point of the patient, as far as the edge allows, rather than anywhere.

    Raises:
        DamagedSampleError: it does not fit.
    """
    rows, columns = next(iter(sample.values())).shape[-2:]
    if size > min(rows, columns):
        raise DamagedSampleError(f"A crop of {size} pixels does not fit into slices of {rows}x{columns}.")
    if in_body:
        points = np.stack([draw.integers(rows, size=_TRIES), draw.integers(columns, size=_TRIES)])
        # Nearly every slice has a patient at one of the points; else the first argmax, any point, is as good.
        chosen = points[:, int(np.argmax(sample["target"][0][points[0], points[1]] > BODY_HU))]
        row, column = (int(x) for x in np.clip(chosen - size // 2, 0, [rows - size, columns - size]))
    else:
        row, column = int(draw.integers(rows - size + 1)), int(draw.integers(columns - size + 1))
    return {name: array[..., row : row + size, column : column + size].copy() for name, array in sample.items()}


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


def turn(sample: Sample, quarters: int) -> Sample:
    """Turned by so many quarters."""
    return {name: np.ascontiguousarray(np.rot90(array, quarters, (-2, -1))) for name, array in sample.items()}
