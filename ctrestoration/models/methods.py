"""What every method made of a weights file has in common: its name, where it computes, how the registry finds it.

Listing such methods reads the headers of files only; torch and safetensors are needed where one is applied.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError
from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.models.catalog import read_header, shipped_files

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.models.calibration import Calibration, ErrorBars
    from ctrestoration.registry import Method, Task
    from ctrestoration.restoration import Restoration

REQUIRED = ("torch", "safetensors")
"""Packages without which no network is applied."""

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are mirrored for each member of the flip ensemble."""

Self = TypeVar("Self", bound="WeightsMethod")


class WeightsMethod:
    """A method made of a weights file.

    Args:
        path: the weights, with their digest beside them.
        about: the facts in their header.
    """

    task: Task
    gives_uncertainty = True
    requires = REQUIRED

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, about
        network = about.get("network", {})
        self.name = str(about.get("name", path.stem))
        self.title = f"{about.get('title', self.name)} ({network.get('name', 'network')})"
        self.reference = str(about.get("reference", "a network trained with ctrestoration; see its card"))
        self._device = "auto"
        self._uncertain = False
        self._calibration: Calibration | None = None

    def on_device(self: Self, device: str) -> Self:
        """See `registry.Method`: the same method, set to compute there.

        Raises:
            InputError: "cuda" where PyTorch finds no usable GPU.
        """
        if device == "cuda":
            require_torch()
            usable_device(device)
        changed = copy.copy(self)
        changed._device = device
        return changed

    def with_uncertainty(self: Self, calibration: Path | None = None, calibrated: bool = True) -> Self:
        """The same method, set to return its uncertainty, too: it takes several times as long, for the same image.

        It comes from the standard deviation, in HU, of an ensemble: the networks of the training's early epochs where
        these are at hand (in the folder `snapshots` of the run), else the network itself on mirrored copies of the
        slice. The provenance says which. With a calibration it is the half-width of an interval, see `Restoration`.

        Args:
            calibration: a file made for these weights; None: the one beside them, if there is one.
            calibrated: False: the standard deviation, whatever calibration there is.

        Raises:
            InputError: there is no such calibration, or it is that of other weights.
            DataRefusedError: it is damaged.
        """
        from ctrestoration.models.calibration import calibration_of

        changed = copy.copy(self)
        changed._uncertain = True
        changed._calibration = calibration_of(self.path, calibration) if calibrated else None
        return changed

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """See `registry.Method`."""
        raise NotImplementedError

    @property
    def nominal_coverage(self) -> float | None:
        """See `Restoration.coverage`."""
        return self._calibration.half_width.coverage if self._calibration is not None else None

    def error_bars(self, acquisition: Acquisition, ensemble: str) -> ErrorBars:
        """What makes this method's uncertainty of the spread of an ensemble; see there for what it raises."""
        from ctrestoration.models.calibration import ErrorBars

        column, row, _ = acquisition.image.grid.spacing
        source = str(acquisition.provenance.get("source", "unknown"))
        return ErrorBars(self._calibration, ensemble, source, (column, row))


def usable_device(device: str) -> str:
    """Where to compute, "cpu" or "cuda".

    Raises:
        InputError: "cuda" where PyTorch finds no usable GPU.
    """
    import torch

    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise InputError("PyTorch finds no usable NVIDIA GPU here: choose --device cpu or auto.")
    return "cpu"


@contextmanager
def inference() -> Iterator[None]:
    """Networks are applied here: without gradients, and to full single precision.

    By default PyTorch lets convolutions on CUDA round their factors to the 10 bits of TF32, and a training that is not
    deterministic lets matrix products, after which an image on a GPU would not be the one of the CPU.
    """
    import torch

    before, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(products)


def require_torch() -> None:
    """Raise MissingDependencyError where a network cannot be applied."""
    for package in REQUIRED:
        if find_spec(package) is None:
            raise MissingDependencyError(package, "torch", "Restoring with a network")


def snapshots_of(path: Path) -> list[Path]:
    """Weights of the early epochs of the run that made a weights file; none where there are fewer than two."""
    found = (
        sorted((path.parent.parent / "snapshots").glob("warm-*.safetensors")) if path.parent.name == "weights" else []
    )
    return found if len(found) > 1 else []


def register_weights(task: Task, make: Callable[[Path, Mapping[str, Any]], Method], purpose: str) -> None:
    """Make a method of every shipped weights file of a task, and of any other when it is asked for by its path.

    Args:
        task: what the weights are for.
        make: the method of a file and its header.
        purpose: what weights for another task do not do, e.g. "corrects no metal artifacts".
    """
    from ctrestoration.registry import register, register_files

    for path in shipped_files():
        try:
            about = read_header(path)
        except DataRefusedError as error:
            warnings.warn(f"{error} It is left out.", CTRestorationWarning, stacklevel=2)
            continue
        if about.get("task") == task:
            register(make(path, about))

    def open_file(path: Path) -> Method:
        if not path.is_file():
            raise InputError(f"There is no weights file {path}.")
        about = read_header(path)
        if "network" not in about:
            raise DataRefusedError(
                f"{path} was not written by ctrestoration: its header does not say which network it is."
            )
        if about.get("task") != task:
            raise InputError(f"{path} holds weights for the task {about.get('task')!r}, not {task!r}: it {purpose}.")
        return make(path, about)

    register_files(task, open_file)
