"""Medical Segmentation Decathlon: `dataset.json`, `imagesTr/`, `labelsTr/`; Task03_Liver shares its scans with LiTS."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError
from ctrestoration.io.importers import Case, Draft, Survey, checked_folder
from ctrestoration.io.importers.nifti import load_pair

NAME = "msd"
TITLE = "Medical Segmentation Decathlon"
SOURCE = "Antonelli et al., Nature Communications 13 (2022) 4128; CC BY-SA 4.0."


def survey(folder: Path) -> Survey:
    """See `Importer.survey`; the folder is that of one task."""
    folder = checked_folder(folder)
    facts = _facts(folder)
    names = {int(number): str(name) for number, name in facts.get("labels", {}).items() if int(number)}
    liver = "liver" in str(facts.get("name", "")).lower()
    draft = Draft()
    if "CT" not in json.dumps(facts.get("modality", {"0": "CT"})):
        raise InputError(f"{folder} is a task of {facts.get('modality')}, not of CT.")
    for entry in facts.get("training", []):
        image, labels = folder / entry["image"], folder / entry["label"]
        missing = [path for path in (image, labels) if not path.is_file()]
        if missing:
            draft.skip(missing[0], "is listed in dataset.json and not there")
            continue
        stem = image.name.removesuffix(".gz").removesuffix(".nii")
        number = re.search(r"(\d+)$", stem)
        patient = f"lits-{int(number[1])}" if liver and number else f"msd-{stem}"
        draft.cases.append(Case(f"msd-{stem}", patient, partial(load_pair, image, labels, names)))
    for path in sorted((folder / "imagesTr").glob("._*")):
        draft.skip(path, "is a leftover of macOS, no image")
    notes = ["Headers of some volumes are reported mirrored left to right: check the side of the liver."]
    if liver:
        notes.append("These are the scans of LiTS, and patients are named as there: a split never tears them apart.")
    return draft.finish(NAME, folder, "dataset.json with imagesTr/ and labelsTr/", tuple(notes))


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no readable dataset.json: give the folder of one task.") from error
    return facts
