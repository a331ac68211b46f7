"""Medical Segmentation Decathlon: `dataset.json`, `imagesTr/`, `labelsTr/`; Task03_Liver shares its scans with LiTS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
    if "CT" not in json.dumps(facts.get("modality", {"0": "CT"})):
        raise InputError(f"{folder} is a task of {facts.get('modality')}, not of CT.")
    names = _names(facts.get("labels", {}), folder)
    liver = "liver" in str(facts.get("name", "")).lower()
    draft = Draft()
    listed = set()
    for image, labels in _training(facts, folder):
        listed.add(image.name)
        missing = [path for path in (image, labels) if not path.is_file()]
        if missing:
            draft.skip(missing[0], "is listed in dataset.json and not there")
            continue
        stem = image.name.removesuffix(".gz").removesuffix(".nii")
        number = re.search(r"(\d+)$", stem)
        patient = f"lits-{int(number[1])}" if liver and number else f"msd-{stem}"
        draft.cases.append(Case(f"msd-{stem}", patient, partial(load_pair, image, labels, names)))
    for place in ("imagesTr", "labelsTr", "imagesTs"):
        for path in sorted((folder / place).glob("*.nii*")):
            if path.name.startswith("._"):
                draft.skip(path, "is a leftover of macOS, no image")
            elif place == "imagesTs":
                draft.skip(path, "has no segmentation (a test volume)")
            elif place == "imagesTr" and path.name not in listed:
                draft.skip(path, "is not listed in dataset.json")
    notes = ["Headers of some volumes are reported mirrored left to right: check the side of the liver."]
    if liver:
        notes.append("These are the scans of LiTS, and patients are named as there: a split never tears them apart.")
    return draft.finish(NAME, folder, "dataset.json with imagesTr/ and labelsTr/", tuple(notes))


def _facts(folder: Path) -> Mapping[str, Any]:
    path = folder / "dataset.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no readable dataset.json: give the folder of one task.") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path} holds no JSON object with 'training' and 'labels', but a {type(facts).__name__}.")
    return facts


def _names(labels: Any, folder: Path) -> dict[int, str]:
    """Label -> name without background; nnU-Net writes the same the other way round."""
    try:
        pairs = {int(number): str(name) for number, name in labels.items()}
    except (AttributeError, TypeError, ValueError):
        try:
            pairs = {int(number): str(name) for name, number in labels.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / 'dataset.json'}: 'labels' must be numbers with names, such as "
                f'{{"0": "background", "1": "liver"}}, not {json.dumps(labels)[:80]}.'
            ) from error
    return {number: name for number, name in pairs.items() if number}


def _training(facts: Mapping[str, Any], folder: Path) -> list[tuple[Path, Path]]:
    path = folder / "dataset.json"
    entries = facts.get("training")
    if not isinstance(entries, list):
        raise InputError(
            f"{path} has no list 'training' of images and labels, which the Decathlon's files have; its keys are "
            f"{', '.join(map(str, facts)) or 'none'}."
        )
    pairs = []
    for number, entry in enumerate(entries):
        try:
            pairs.append((folder / entry["image"], folder / entry["label"]))
        except (TypeError, KeyError) as error:
            raise InputError(
                f"{path}: entry {number} of 'training' must have 'image' and 'label', not {json.dumps(entry)[:80]}."
            ) from error
    return pairs
