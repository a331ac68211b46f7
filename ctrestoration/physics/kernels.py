"""Chooses the compiled kernels where numba is installed, else the same in numpy."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, Literal

from ctrestoration.errors import CTRestorationWarning, InputError

Engine = Literal["auto", "numba", "numpy"]


def kernels(engine: str = "auto") -> Any:
    """The module of kernels: `_numba_kernels` or `_numpy_kernels`, which offer the same functions.

    Args:
        engine: "auto" takes numba where it is installed and says once where it is not.

    Raises:
        InputError: unknown engine.
    """
    if engine not in ("auto", "numba", "numpy"):
        raise InputError(f"Unknown projector engine {engine!r}: choose auto, numba or numpy.")
    return _automatic() if engine == "auto" else _named(engine)


@cache
def _automatic() -> Any:
    try:
        return _named("numba")
    except ImportError:
        warnings.warn(
            "numba is not installed: projections run on numpy, with the same numbers but several times slower.",
            CTRestorationWarning,
            stacklevel=4,
        )
        return _named("numpy")


def _named(engine: str) -> Any:
    if engine == "numpy":
        from ctrestoration.physics import _numpy_kernels

        return _numpy_kernels
    from ctrestoration.physics import _numba_kernels

    return _numba_kernels
