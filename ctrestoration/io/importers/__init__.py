"""Importers of public data sets: one file each, which finds the cases of a folder and says what it left out and why.

A file defines `NAME`, `TITLE`, `SOURCE` (publication and license) and `survey(folder) -> Survey`. Nothing is read
beyond file names and headers until a case is loaded.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.io.importers.projections import Projections
    from ctrestoration.volume import LabelMap, Volume


@dataclass(frozen=True)
class Imported:
    """What a case holds; parts that the data set does not have are None.

    Attributes:
        volume: CT in HU; the full dose where there are two.
        labels: segmentation on the grid of the volume.
        low_dose: the same patient at a lower dose, in HU, on the same grid.
        acquisition: sinograms of the volume.
        projections: raw data of a helical scan.
        facts: what else the data set says about the case, such as boxes of lesions; JSON types.
    """

    volume: Volume | None = None
    labels: LabelMap | None = None
    low_dose: Volume | None = None
    acquisition: Acquisition | None = None
    projections: Projections | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        name: unique in its data set; fit for a file name.
        patient: whose scan it is; equal for scans of one person, also across data sets that share them, so that a
            split by patient never puts one person on both sides.
        load: reads it; raises InputError where a file is damaged.
        notes: quirks of this case, one sentence each.
        unusable: why `load` would refuse it, where that is known beforehand; "" for every other case.
        split: where the data set's own split puts it: "train", "validation" or "test"; "" where it has none.
    """

    name: str
    patient: str
    load: Callable[[], Imported]
    notes: tuple[str, ...] = ()
    unusable: str = ""
    split: str = ""


@dataclass(frozen=True)
class Skipped:
    """Something in the folder that was left out."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        dataset: name of the importer.
        cases: in a fixed order.
        skipped: what was left out, each with its reason.
        notes: quirks of the whole data set.
    """

    dataset: str
    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "dataset": self.dataset,
            "cases": [
                {"name": case.name, "patient": case.patient, "split": case.split, "notes": list(case.notes)}
                for case in self.cases
            ],
            "skipped": [{"path": str(one.path), "reason": one.reason} for one in self.skipped],
            "notes": list(self.notes),
        }


@dataclass
class Draft:
    """A survey in the making."""

    cases: list[Case] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, path: Path, reason: str) -> None:
        """Leave something out."""
        self.skipped.append(Skipped(path, reason))

    def finish(self, dataset: str, folder: Path, layout: str, notes: tuple[str, ...] = ()) -> Survey:
        """The survey; of cases of one name, the second and later ones get a number, and say so.

        Raises:
            InputError: no case at all; the message says which layout was expected.
        """
        if not self.cases:
            first = f" {self.skipped[0].path.name}: {self.skipped[0].reason}." if self.skipped else ""
            raise InputError(f"{folder} holds no case of {dataset}: expected {layout}.{first}")
        return Survey(dataset, _told_apart(self.cases), tuple(self.skipped), notes)


def _told_apart(cases: list[Case]) -> tuple[Case, ...]:
    taken = {case.name for case in cases}
    seen: set[str] = set()
    found = []
    for case in cases:
        if case.name in seen:
            name = next(name for n in range(2, len(cases) + 2) if (name := f"{case.name}-{n}") not in taken)
            taken.add(name)
            case = replace(case, name=name, notes=(*case.notes, f"there is another {case.name} in the folder."))
        seen.add(case.name)
        found.append(case)
    return tuple(found)


class Importer(Protocol):
    """The module of a data set."""

    NAME: str
    TITLE: str
    SOURCE: str

    def survey(self, folder: Path) -> Survey:
        """Find the cases of a folder.

        Raises:
            InputError: the folder does not exist, or holds no case.
        """
        ...


def importers() -> dict[str, Importer]:
    """Every importer by name, in alphabetical order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.NAME: module for module in modules if hasattr(module, "NAME")}  # type: ignore[misc]


def importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        InputError: unknown; the message lists the known ones.
    """
    known = importers()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"Unknown data set {name!r}: known ones are {', '.join(known)}.{hint}")
    return known[name]


def checked_folder(folder: str | Path) -> Path:
    """The folder, or a refusal where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that the data set was unpacked into.")
    return folder
