"""LiTS: the liver tumor segmentation benchmark, `volume-N.nii` beside `segmentation-N.nii`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from ctrestoration.errors import InputError
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.io.importers.nifti import LIVER_NAMES, load_pair, lost_its_geometry

NAME = "lits"
TITLE = "LiTS liver tumor segmentation"
SOURCE = "Bilic et al., Med. Image Anal. 84 (2023) 102680; CC BY-NC-ND 4.0: train for yourself, publish nothing of it."

_VOLUME = re.compile(r"^volume-(\d+)\.nii(\.gz)?$")


TAKES_SPACING = True


def survey(folder: Path, spacing: tuple[float, float, float] | None = None) -> Survey:
    """See `Importer.survey`.

    Args:
        folder: where the data set was unpacked.
        spacing: (x, y, z) in mm of the volumes whose files lost it; None leaves those to be refused when loaded.
    """
    folder = checked_folder(folder)
    draft = Draft()
    volumes: dict[int, Path] = {}
    for path in sorted(folder.rglob("volume-*")):
        match = _VOLUME.match(path.name)
        if match is not None and volumes.setdefault(int(match[1]), path) != path:
            draft.skip(path, f"is volume {int(match[1])} once more, as {volumes[int(match[1])].relative_to(folder)}")
    for number in sorted(volumes):
        image = volumes[number]
        labels = _labels(folder, number)
        if labels is None:
            draft.skip(image, "has no segmentation (a test volume)")
            continue
        load = partial(load_pair, image, labels, LIVER_NAMES)
        notes: tuple[str, ...] = ()
        unusable = ""
        try:
            lost = lost_its_geometry(image)
        except InputError:
            draft.skip(image, "is no readable NIfTI file")
            continue
        if lost:
            unusable = "lost its spacing" if spacing is None else ""
            load = partial(_refuse, image) if spacing is None else partial(load, spacing=spacing)
            notes = (f"{image.name} says identity axes and 1 mm voxels, as 3D-IRCADb's files do.",)
        draft.cases.append(Case(f"lits-{number:03d}", f"lits-{number}", load, notes, unusable))
    notes = ("Axes differ between its two batches; every volume is read with the axes that its own file gives.",)
    return draft.finish(NAME, folder, "volume-N.nii beside segmentation-N.nii", notes)


def _labels(folder: Path, number: int) -> Path | None:
    for suffix in (".nii", ".nii.gz"):
        found = next(folder.rglob(f"segmentation-{number}{suffix}"), None)
        if found is not None:
            return found
    return None


def _refuse(image: Path) -> Imported:
    raise InputError(
        f"{image} lost its spacing (identity axes, 1 mm voxels): import it with --spacing X Y Z, as the original "
        "3D-IRCADb scan has it."
    )
