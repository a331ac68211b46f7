"""Whose scan a file is, and that nobody is trained and validated on.

A split by patient is as good as the names. A file says its patient by a `case.json` beside it, as `dataset import`
writes one: {"patient": "lits-31", "files": ["ct.nrrd"]}; without one, by its own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError

CASE_FILE = "case.json"
_COMMON = {"ct", "data", "dicom", "image", "images", "img", "scan", "series", "volume"}
"""File names that are those of many patients."""


@dataclass(frozen=True)
class Person:
    """Whoever a scan is of.

    Attributes:
        name: of the patient.
        file: the scan, where it is a file or a DICOM folder of the user's.
        known: whether the name is that of a patient, rather than of the file.
    """

    name: str
    file: Path | None = None
    known: bool = True

    @property
    def stored_name(self) -> str:
        """The name in a stored data set; that of a file tells files of one name apart by their content."""
        from ctrestoration.training.data.cases import short_digest

        return self.name if self.known or self.file is None else f"{self.name}-{short_digest(self.file)}"


def file_patients(files: Sequence[Path]) -> list[Person]:
    """Whose scans files are, in their order.

    Those that no `case.json` names are named after their file up to the first dot ("p01" of p01.nii.gz). Where that
    is the name of several, the whole name tells them apart, else the folders do: "s0001/ct" of s0001/ct.nii.gz.

    Args:
        files: scans; a file that is there twice is one patient.

    Raises:
        InputError: a damaged `case.json`, or files that differ by their suffix alone.
    """
    known = {path: known_patient(path) for path in files}
    names = _unique_names([path for path, name in known.items() if name is None])
    return [Person(known[path] or names[path], path, known[path] is not None) for path in files]


def known_patient(file: Path) -> str | None:
    """The patient that a `case.json` beside a scan names, None where there is none for this file.

    Raises:
        InputError: it is damaged.
    """
    path = file.parent / CASE_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read, so nobody knows whose scan {file.name} is: import the case again."
        ) from error
    if not isinstance(content, dict) or "patient" not in content:
        return None  # somebody else's
    patient, of_files = content["patient"], content.get("files")
    if not isinstance(patient, str) or not patient.strip():
        raise InputError(f"{path}: the patient has to be a name in quotes, not {patient!r}.")
    return patient if of_files is None or file.name in of_files else None


def refuse_shared(training: Any, validation: Any) -> None:
    """Refuse two sources that share patients; sources that do not know theirs (no method `people`) pass.

    Args:
        training: a `Source`.
        validation: another one.

    Raises:
        InputError: names the patients.
    """
    if not hasattr(training, "people") or not hasattr(validation, "people"):
        return
    shared = shared_people(training.people(), validation.people())
    if shared:
        names = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        who = "1 patient is" if len(shared) == 1 else f"{len(shared)} patients are"
        raise InputError(
            f"{who} in data.train and in data.validation ({names}): validation would be too good. Give both the same "
            "split_seed and shares and different splits, phantoms another first_seed, or data of other patients."
        )


def shared_people(some: Sequence[Person], others: Sequence[Person]) -> list[str]:
    """Names of those who are on both sides, sorted.

    By the patient's name; a file also by its place and by its content. Files of one common name such as "ct", in
    folders of their own, are different patients unless their content is the same.
    """
    first, second = {person.name: person for person in some}, {person.name: person for person in others}
    shared = {name for name in first.keys() & second.keys() if _one_name_one_person(first[name], second[name])}
    return sorted(shared | set(_shared_files(some, others)) | set(_stored_files(some, others)))


def _one_name_one_person(one: Person, other: Person) -> bool:
    if one.known or other.known or one.file is None or other.file is None:
        return True
    if _place(one.file) == _place(other.file):
        return True
    names = {_whole_stem(person.file.name) for person in (one, other) if person.file is not None}
    return len(names) == 1 and names.pop().lower() not in _COMMON


def _shared_files(some: Sequence[Person], others: Sequence[Person]) -> Iterator[str]:
    """Files that are on both sides, or whose content is: under whatever name."""
    from ctrestoration.jobs.durable import sha256_of

    digest = cache(sha256_of)
    places = {_place(person.file): person for person in others if person.file is not None}
    sizes: dict[int, list[Path]] = {}
    for place in places:
        if place.is_file():
            sizes.setdefault(place.stat().st_size, []).append(place)
    for person in some:
        if person.file is None:
            continue
        place = _place(person.file)
        same_size = sizes.get(place.stat().st_size, []) if place.is_file() else []
        if place in places or (same_size and digest(place) in {digest(path) for path in same_size}):
            yield person.name


def _stored_files(some: Sequence[Person], others: Sequence[Person]) -> Iterator[str]:
    """Files on one side that are stored pairs on the other: their names there end in a digest."""
    stored = [{_last(person.name) for person in side if person.file is None} for side in (some, others)]
    digested = [{name for name in names if re.search(r"-[0-9a-f]{6}$", name)} for names in stored]
    yield from digested[0] & digested[1]
    for side, names in ((some, digested[1]), (others, digested[0])):
        stems = {name[:-7] for name in names}
        for person in side:
            if person.file is not None and _last(person.name) in stems and _last(person.stored_name) in names:
                yield person.name


def _unique_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each file; files of one place share theirs."""
    names: dict[Path, str] = {}
    waiting = {_place(path): _names(path) for path in files}
    while waiting:
        called: dict[str, list[Path]] = {}
        for place, ways in waiting.items():
            name = next(ways, None)
            if name is None:
                rivals = [path for path in waiting if _whole_stem(path.name) == _whole_stem(place.name)]
                raise InputError(
                    f"{rivals[0]} and {rivals[-1]} would be patients of one name: rename one, or leave it out where "
                    "they are the same scan."
                )
            called.setdefault(name, []).append(place)
        for name, places in called.items():
            if len(places) == 1:
                names[places[0]] = name
                del waiting[places[0]]
    return {path: names[_place(path)] for path in files}


def _names(file: Path) -> Iterator[str]:
    """Names of a file, from the shortest to the one with all its folders."""
    whole = _whole_stem(file.name)
    yield file.name.split(".")[0] or whole
    yield whole
    for folder in reversed(file.parent.resolve().parts[1:]):
        whole = f"{folder}/{whole}"
        yield whole
    yield f"/{whole}"


def _whole_stem(name: str) -> str:
    """A file's name without the suffix of an image; dots in it, as UIDs have them, stay."""
    from ctrestoration.io._itk import READABLE

    suffixes = sorted((".seg.nrrd", *READABLE), key=len, reverse=True)
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix) and len(name) > len(suffix)), "")
    return name[: len(name) - len(found)]


def _place(file: Path) -> Path:
    return file.resolve()


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
