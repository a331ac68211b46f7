"""Where training samples come from: one file each, which defines `Config` (its settings, `name` as tag).

A `Source`, made by `Config.create()`, is a pure function of a key.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.training.keys import Key

Sample = dict[str, NDArray[np.float32]]
"""Named float32 arrays, usually [channel, row, column]: "input" and "target" in HU, "metal" 0..1 where known, "nmar"
and "li" in HU where there are images corrected by these methods.

A source may add what its recipes need (a sinogram, a trace, labels): the shape of a name is the same in all samples.
"""


class DamagedSampleError(DataRefusedError):
    """One sample cannot be read: the message names the file and the index."""


class Source(Protocol):
    """A set of samples. It is copied into loader processes, so files are opened in `sample`, not before."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def sample(self, key: Key) -> Sample:
        """The sample of a key: the same key gives the same bits in any process.

        Raises:
            DamagedSampleError: the stored data are damaged.
        """
        ...

    def fingerprint(self) -> str:
        """A digest of the data behind it, for the provenance.

        A source whose settings do not say how its data came to be can add `describe() -> dict`, JSON types, which goes
        into the provenance and onto the card of the weights. One that can keep its samples on the device of the
        training adds `resident(device)`, see `_resident.ResidentSamples`; None where its settings do not ask for it.
        """
        ...


def refuse_nonfinite(sample: Sample, index: int) -> None:
    """Refuse NaN and infinity.

    Raises:
        DamagedSampleError: names the sample and the array.
    """
    for name, array in sample.items():
        if not np.isfinite(array).all():
            raise DamagedSampleError(f"Sample {index} holds NaN or infinity in {name!r}.")


def images_of(config: Any) -> set[str] | None:
    """Images that a source's samples hold beside "input" and "target"; None where its settings do not say.

    A settings class says so by a method `images() -> set[str]`.
    """
    known = getattr(config, "images", None)
    return None if known is None else set(known())


def is_fixed(config: Any) -> bool:
    """Whether a sample is the same in every epoch; a settings class says so by a method `fixed() -> bool`."""
    known = getattr(config, "fixed", None)
    return known is not None and bool(known())


@cache
def config_classes() -> tuple[Any, ...]:
    """The settings class of every source in this folder, in alphabetical order of their files.

    Each one has `create()`, which returns the `Source`, or raises InputError where files are missing or empty.
    """
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    return tuple(importlib.import_module(f"{__name__}.{name}").Config for name in names)
