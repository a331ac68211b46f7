"""AAPM low-dose CT image pairs: `full_1mm/L067/*.IMA` beside `quarter_1mm/L067/*.IMA` (also 3mm)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ctrestoration.errors import InputError
from ctrestoration.io.images import read_volume
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder

NAME = "aapm-ldct"
TITLE = "AAPM 2016 low-dose CT grand challenge, image pairs"
SOURCE = "McCollough et al., Med. Phys. 44 (2017) e339; data use agreement of the Mayo Clinic."

THICKNESSES = ("1mm", "3mm")


def survey(folder: Path) -> Survey:
    """See `Importer.survey`."""
    folder = checked_folder(folder)
    draft = Draft()
    for thickness in THICKNESSES:
        for place in sorted(path for path in folder.rglob(f"full_{thickness}") if path.is_dir()):
            low_place = place.with_name(f"quarter_{thickness}")
            for full in sorted(path for path in place.iterdir() if path.is_dir()):
                low = _series(low_place / full.name)
                if low is None:
                    draft.skip(full, f"has no quarter-dose series in {low_place.name}")
                    continue
                series = _series(full)
                if series is None:
                    draft.skip(full, "holds no DICOM images")
                    continue
                name = f"{full.name}-{thickness}"
                draft.cases.append(Case(name, f"mayo-{full.name}", partial(_load, series, low)))
    notes = (
        "The quarter dose was simulated by the Mayo Clinic from the full-dose raw data.",
        "Papers on it clip to -160..240 HU before they measure: state the window beside every number.",
    )
    return draft.finish(NAME, folder, "full_1mm/L067/*.IMA beside quarter_1mm/L067/*.IMA", notes)


def _series(folder: Path) -> Path | None:
    """The folder that holds a patient's images: the patient's own, or one further down."""
    if not folder.is_dir():
        return None
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        if any(path.suffix.lower() in (".ima", ".dcm") for path in place.iterdir()):
            return place
    return None


def _load(full: Path, low: Path) -> Imported:
    volume, quarter = read_volume(full), read_volume(low)
    difference = volume.grid.mismatch(quarter.grid)
    if difference is not None:
        raise InputError(f"{low} does not cover the slices of {full}: {difference}.")
    return Imported(volume, low_dose=quarter)
