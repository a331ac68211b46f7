"""VerSe: vertebra masks, `rawdata/sub-*/*_ct.nii.gz` and `derivatives/sub-*/*_seg-vert_msk.nii.gz`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ctrestoration.anatomy.labels import LEVEL_ID, SACRUM_ID, VERSE_LEVEL
from ctrestoration.io.images import read_labels, read_volume
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.volume import LabelMap

NAME = "verse"
TITLE = "VerSe vertebra segmentation"
SOURCE = "Sekuboyina et al., Med. Image Anal. 73 (2021) 102166; CC BY-SA 4.0."

_OTHERS = {25: "L6", 26: "sacrum", 27: "coccyx", 28: "T13"}


def survey(folder: Path) -> Survey:
    """See `Importer.survey`; the BIDS layout, or that of the MICCAI edition (`*_seg.nii.gz` beside the CT)."""
    folder = checked_folder(folder)
    draft = Draft()
    images = sorted({*folder.rglob("*_ct.nii.gz"), *_miccai(folder)})
    for image in images:
        stem = image.name.removesuffix(".nii.gz").removesuffix("_ct")
        labels = _mask(folder, image, stem)
        if labels is None:
            draft.skip(image, "has no vertebra mask")
            continue
        subject = next((part for part in stem.split("_") if part.startswith("sub-")), stem)
        draft.cases.append(Case(stem, f"verse-{subject.removeprefix('sub-')}", partial(_load, image, labels)))
    notes = ("Numbers become TotalSegmentator's where a level has one; L6, T13 and coccyx get 301 and higher.",)
    return draft.finish(NAME, folder, "rawdata/sub-*/*_ct.nii.gz and derivatives/sub-*/*_seg-vert_msk.nii.gz", notes)


def _miccai(folder: Path) -> list[Path]:
    masks = folder.rglob("*_seg.nii.gz")
    return [image for mask in masks if (image := mask.with_name(mask.name.replace("_seg", ""))).is_file()]


def _mask(folder: Path, image: Path, stem: str) -> Path | None:
    beside = image.with_name(f"{stem}_seg.nii.gz")
    if beside.is_file():
        return beside
    return next(iter(sorted(folder.rglob(f"{stem}_seg-vert_msk.nii.gz"))), None)


def _load(image: Path, labels: Path) -> Imported:
    volume = read_volume(image)
    read = read_labels(labels, volume.grid)
    array = np.zeros(read.array.shape, dtype=np.uint16)
    names = {}
    for number in (int(n) for n in np.unique(read.array) if n):
        level = VERSE_LEVEL.get(number)
        if level is not None:
            ours, name = LEVEL_ID[level], f"vertebrae_{level}"
        else:
            name = _OTHERS.get(number, f"unknown_{number}")
            ours = SACRUM_ID if name == "sacrum" else 276 + number
        array[read.array == number] = ours
        names[ours] = name
    return Imported(volume, LabelMap(array, volume.grid, names, read.name))
