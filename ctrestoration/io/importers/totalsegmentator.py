"""TotalSegmentator: `s0000/ct.nii.gz` and one file a class in `s0000/segmentations/`, listed in `meta.csv`."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

from ctrestoration.anatomy.labels import TOTALSEGMENTATOR_NAMES
from ctrestoration.errors import InputError
from ctrestoration.io.images import read_labels, read_volume
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.volume import LabelMap

NAME = "totalsegmentator"
TITLE = "TotalSegmentator data set"
SOURCE = "Wasserthal et al., Radiology: AI 5 (2023) e230024; CC BY 4.0."


def survey(folder: Path) -> Survey:
    """See `Importer.survey`."""
    folder = checked_folder(folder)
    draft = Draft()
    facts = _meta(folder)
    for image in sorted(folder.glob("*/ct.nii.gz")):
        subject = image.parent
        masks = {path.name.removesuffix(".nii.gz"): path for path in (subject / "segmentations").glob("*.nii.gz")}
        if not masks:
            draft.skip(subject, "has no segmentations")
            continue
        known = {name: path for name, path in masks.items() if name in _NUMBERS}
        left = len(masks) - len(known)
        notes: tuple[str, ...] = (
            (f"{left} of {len(masks)} classes have no number here and are left out.",) if left else ()
        )
        pathology = facts.get(subject.name, {}).get("pathology")
        if pathology:
            notes += (f"pathology: {pathology}.",)
        draft.cases.append(Case(subject.name, f"totalsegmentator-{subject.name}", partial(_load, image, known), notes))
    return draft.finish(NAME, folder, "s0000/ct.nii.gz with s0000/segmentations/<class>.nii.gz")


_NUMBERS = {name: number for number, name in TOTALSEGMENTATOR_NAMES.items()}


def _meta(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "meta.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=";"))  # the data set's file has semicolons
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no readable CSV file: {error}.") from error
    return {row["image_id"]: row for row in rows if row.get("image_id")}


def _load(image: Path, masks: dict[str, Path]) -> Imported:
    volume = read_volume(image)
    array = np.zeros(volume.grid.shape, dtype=np.uint16)
    names = {}
    for name, path in sorted(masks.items()):
        mask = read_labels(path, volume.grid).array > 0
        if mask.any():
            array[mask] = _NUMBERS[name]
            names[_NUMBERS[name]] = name
    if not names:
        raise InputError(f"{image.parent} has only empty segmentations.")
    return Imported(volume, LabelMap(array, volume.grid, names, image.parent.name))
