"""AAPM low-dose CT image pairs, in both layouts: `full_1mm/L067/*.IMA` and `L067/full_1mm/*.IMA`, quarter dose beside.

Folders are named by dose, slice thickness and kernel: `full_1mm` (B30), `full_1mm_sharp` (D45), `quarter_3mm`, ...
Archives of full and quarter dose may have been unpacked into one folder or into two.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ctrestoration.errors import InputError
from ctrestoration.io.images import read_volume
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder

NAME = "aapm-ldct"
TITLE = "AAPM 2016 low-dose CT grand challenge, image pairs"
SOURCE = "McCollough et al., Med. Phys. 44 (2017) e339; data use agreement of the Mayo Clinic."

LAYOUT = "full_1mm/L067/*.IMA beside quarter_1mm/L067/*.IMA, or L067/full_1mm/*.IMA beside L067/quarter_1mm/*.IMA"

_KIND = re.compile(r"^(full|quarter)_(\d+mm)(?:_(\w+))?$", re.IGNORECASE)
_PATIENT = re.compile(r"^[LCN]\d{2,4}$")


@dataclass(frozen=True)
class _Series:
    """Images of one patient at one dose: `place` is what to call it, `images` the folder that holds the files."""

    place: Path
    images: Path
    root: str
    patient: str
    dose: str
    variant: str


def survey(folder: Path) -> Survey:
    """See `Importer.survey`."""
    folder = checked_folder(folder)
    draft = Draft()
    groups: dict[tuple[str, str], list[_Series]] = defaultdict(list)
    for series in _found(folder, draft):
        groups[series.patient, series.variant].append(series)
    for (patient, variant), group in sorted(groups.items()):
        pairs = _pairs(group, draft)
        for full, low in pairs:
            where = "-" + re.sub(r"\W+", "-", full.root).strip("-") if len(pairs) > 1 and full.root else ""
            kernel: tuple[str, ...] = ("sharp kernel (D45).",) if variant.endswith("-sharp") else ()
            load = partial(_load, full.images, low.images)
            draft.cases.append(Case(f"{patient}-{variant}{where}", f"mayo-{patient}", load, kernel))
    notes = (
        "The quarter dose was simulated by the Mayo Clinic from the full-dose raw data.",
        "Papers on it clip to -160..240 HU before they measure: state the window beside every number.",
    )
    return draft.finish(NAME, folder, LAYOUT, notes)


def _found(folder: Path, draft: Draft) -> list[_Series]:
    """Every series of images whose dose and patient its path tells; the rest is skipped with its reason."""
    found: dict[Path, _Series] = {}
    empty: dict[Path, None] = {}
    for name, _, files in sorted(os.walk(folder)):
        images = Path(name)
        holds = any(file.lower().endswith((".ima", ".dcm")) for file in files)
        series = _placed(folder, images)
        if series is None:
            if holds:
                draft.skip(images, _stranger(images))
            elif _KIND.match(images.name):
                empty.setdefault(images)
        elif not holds:
            empty.setdefault(series.place)
        elif series.place in found:
            draft.skip(images, f"is a second series beside {found[series.place].images.name}")
        else:
            found[series.place] = series
    used = {parent for series in found.values() for parent in (series.images, *series.images.parents)}
    for place in empty:
        if place not in used:
            draft.skip(place, "holds no DICOM images")
    return list(found.values())


def _placed(folder: Path, images: Path) -> _Series | None:
    """What a path says about its images, or None where it names no dose or no patient."""
    # The folder itself may be the patient's.
    parts = (folder.resolve().name, *images.relative_to(folder).parts)
    kinds = [(n, match) for n, part in enumerate(parts) if n and (match := _KIND.match(part))]
    if not kinds:
        return None
    kind, match = kinds[0]
    known = [n for n, part in enumerate(parts) if _PATIENT.match(part)]
    if known:
        person = known[-1]
    elif kind + 1 < len(parts) and not _KIND.match(parts[kind + 1]):
        person = kind + 1
    elif kind == len(parts) - 1:
        person = kind - 1
    else:
        return None
    dose, thickness, kernel = match[1].lower(), match[2].lower(), (match[3] or "").lower()
    place = folder.joinpath(*parts[1 : max(kind, person) + 1])
    root = "/".join(parts[1 : min(kind, person)])
    variant = f"{thickness}-{kernel}" if kernel else thickness
    return _Series(place, images, root, parts[person], dose, variant)


def _stranger(images: Path) -> str:
    if "ct-pd" in images.name.lower() or "projection" in images.name.lower():
        return "holds projections, no images: import them as ct-pd"
    return "lies in no folder like full_1mm or quarter_3mm_sharp with a patient's, so its dose is unknown"


def _pairs(group: list[_Series], draft: Draft) -> list[tuple[_Series, _Series]]:
    """Full and quarter dose of one patient and variant: under one root, else where there is just one of each left."""
    full = {series.root: series for series in group if series.dose == "full"}
    low = {series.root: series for series in group if series.dose == "quarter"}
    pairs = [(full.pop(root), low.pop(root)) for root in sorted({*full} & {*low})]
    if len(full) == len(low) == 1:
        pairs.append((full.popitem()[1], low.popitem()[1]))
    for series in (*full.values(), *low.values()):
        other = "quarter" if series.dose == "full" else "full"
        several = len(low if series.dose == "full" else full) > 0
        reason = f"has several {other}-dose series to choose from" if several else f"has no {other}-dose series"
        draft.skip(series.place, f"{reason} of {series.variant}")
    return pairs


def _load(full: Path, low: Path) -> Imported:
    volume, quarter = read_volume(full), read_volume(low)
    difference = volume.grid.mismatch(quarter.grid)
    if difference is not None:
        raise InputError(f"{low} does not cover the slices of {full}: {difference}.")
    return Imported(volume, low_dose=quarter)
