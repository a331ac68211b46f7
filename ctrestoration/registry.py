"""One registry of every restoration method, classical or learned.

A method is one object in one file of `ctrestoration/correct/methods/` (metal artifact reduction) or
`ctrestoration/reconstruct/methods/` (low dose). The file registers it; nothing else has to be touched: the command
line, the Slicer modules, the benchmarks and the training recipes find it here by its name.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.restoration import Restoration

Task = Literal["mar", "reconstruction"]
_PACKAGES: dict[Task, str] = {
    "mar": "ctrestoration.correct.methods",
    "reconstruction": "ctrestoration.reconstruct.methods",
}


class Method(Protocol):
    """What every restoration method offers.

    Attributes:
        name: the word that the command line and configurations use, e.g. "nmar".
        title: how a person calls it, e.g. "Normalized metal artifact reduction".
        task: "mar" or "reconstruction".
        reference: the publication, with its equation numbers where they matter.

    A method that can compute on a GPU also offers `on_device(device) -> Method`, device "auto", "cpu" or "cuda": the
    same method set to compute there; it raises InputError where that device is not usable. One that returns an
    uncertainty has `gives_uncertainty = True`, so that a front end can ask for it; where that costs time, it offers
    `with_uncertainty() -> Method`, the same method set to return it. `requires` names packages that
    it needs beyond the package's own, see `usable`.
    """

    name: str
    title: str
    task: Task
    reference: str

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Restore the acquisition's image; see the method's own docstring for what it raises."""
        ...


_METHODS: dict[str, Method] = {}
_OPENERS: dict[str, Callable[[Path], Method]] = {}
_LOADED: set[Task] = set()
AnyMethod = TypeVar("AnyMethod", bound=Method)


def register(method: AnyMethod) -> AnyMethod:
    """Add a method under its name. A second one of the same name is a defect and raises ValueError."""
    if method.name in _METHODS:
        raise ValueError(f"two methods are called {method.name!r}")
    _METHODS[method.name] = method
    return method


def register_files(task: Task, opener: Callable[[Path], Method]) -> None:
    """Let `get` make methods of weights files (.safetensors) by `opener`, which raises InputError where it cannot."""
    _OPENERS[task] = opener


def methods(task: Task) -> dict[str, Method]:
    """Every method of a task by name, in alphabetical order."""
    if task not in _LOADED:
        package = importlib.import_module(_PACKAGES[task])
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _LOADED.add(task)
    return {name: method for name, method in sorted(_METHODS.items()) if method.task == task}


def usable(method: Method) -> bool:
    """Whether the packages that a method names in its `requires` are installed; most need none."""
    return all(find_spec(package) is not None for package in getattr(method, "requires", ()))


def get(task: Task, name: str) -> Method:
    """The method of that name, or of that weights file.

    Args:
        task: what it is for.
        name: of a registered method, or the path of a .safetensors file.

    Raises:
        InputError: unknown name; the message lists the known ones and the nearest. Or weights that cannot be used.
    """
    known = methods(task)
    if name not in known and name.endswith(".safetensors") and task in _OPENERS:
        return _OPENERS[task](Path(name))
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"Unknown method {name!r}: known ones are {', '.join(known)}.{hint}")
    return known[name]
