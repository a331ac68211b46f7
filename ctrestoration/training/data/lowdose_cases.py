"""Patients with labeled organs, and slices of them scanned at a low dose: what task-adaptive networks learn from.

A patient is a procedural phantom, a CT file with its segmentation, or a case of a public data set. Only slices with a
labeled pixel count, and only what lies in the circle that touches the image's edges (Task-Adaptive Low-Dose CT
Reconstruction, arXiv 2511.07094, section on data).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.evaluate.circle import circle_mask
from ctrestoration.evaluate.masks import BODY_HU
from ctrestoration.training.data.cases import phantom_name
from ctrestoration.training.data.lowdose_classes import BODY, numbers_of
from ctrestoration.training.data.patients import Person
from ctrestoration.training.data.resampling import labels_on, square_slices
from ctrestoration.training.keys import derive
from ctrestoration.volume import LabelMap, Volume

if TYPE_CHECKING:
    from ctrestoration.io.importers import Case

CLASSES: dict[str, tuple[int, ...]] = {"liver": (1,), "lesion": (2,)}
"""LiTS' own numbers, which the Medical Segmentation Decathlon shares."""

OUTSIDE_HU = -1001.0
"""No attenuation at all on LoDoPaB's scale: what lies outside the circle."""

SPLITS = ("train", "validation", "test")
_SLICES, _SLICE_MM, _LEVEL = 36, 5.0, "T12"

LowDosePair = dict[str, NDArray[np.float32]]
"""input and target in HU, labels as class numbers (0 background, 1.. in the order of the classes): [row, column]."""


@dataclass(frozen=True)
class LabeledPatient:
    """Someone whose organs are known.

    Attributes:
        name: identifies the patient; a patient is never in two splits.
        volume: full dose, axial, square slices.
        labels: class numbers [z, y, x], uint8.
        spare: one of many in a data set, who is left out where none of the classes is in the scan.
    """

    name: str
    volume: Volume
    labels: NDArray[np.uint8]
    spare: bool = False

    @cached_property
    def slices(self) -> list[int]:
        """Indices of the slices that have a labeled pixel in the circle."""
        inside = circle_mask(self.labels.shape[1:])
        return [int(z) for z in np.flatnonzero((self.labels * inside).any(axis=(1, 2)))]


def labeled_phantom(seed: int, size: int, pixel_mm: float, names: Sequence[str] = tuple(CLASSES)) -> LabeledPatient:
    """A procedural phantom around its liver; it has no noise of its own, which the full dose would bring in twice.

    Args:
        seed: of the patient.
        size: rows and columns.
        pixel_mm: pixel width.
        names: "lesion" (any liver lesion), "body", or names of `anatomy.labels.PHANTOM_NAMES`, such as "liver".

    Raises:
        InputError: a name that the phantom does not know.
    """
    from ctrestoration.anatomy.labels import NAME_ID
    from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom

    unknown = [name for name in names if name not in ("lesion", BODY) and name not in NAME_ID]
    if unknown:
        raise InputError(f"The phantom has no {unknown[0]!r}: it has lesion, body, liver, spleen, kidney_left, ...")
    lesions = 2 + derive(seed, "lesions") % 5
    phantom = spine_phantom(
        size=(_SLICES, size, size), spacing=(pixel_mm, pixel_mm, _SLICE_MM), seed=seed, region=_LEVEL,
        options=PhantomOptions(lesions=lesions, noise_hu=4.0),
    )  # fmt: skip
    classes = np.zeros(phantom.labels.array.shape, dtype=np.uint8)
    for number, name in enumerate(names, start=1):
        if name == "lesion":
            found = phantom.lesions.array > 0
        elif name == BODY:
            found = phantom.volume.array > BODY_HU
        else:
            found = phantom.labels.array == NAME_ID[name]
        classes[found] = number
    return LabeledPatient(phantom_name(seed), phantom.volume, classes)


def labeled_volume(
    name: str,
    volume: Volume,
    labels: LabelMap,
    size: int,
    pixel_mm: float,
    classes: Mapping[str, Sequence[int]],
    strict: bool = True,
) -> LabeledPatient:
    """A CT with its segmentation, resampled to square slices around the body; later classes win over earlier ones.

    Args:
        name: whose CT it is.
        volume: HU.
        labels: on any grid of the same world.
        size: rows and columns.
        pixel_mm: pixel width.
        classes: name of a class -> the numbers that mean it in these labels, or none to find it by its name.
        strict: whether the labels' names come from a data set, see `lowdose_classes.numbers_of`.

    Raises:
        InputError: no body, none of the numbers is in the labels, or a number that the labels call otherwise.
    """
    found = _labeled(name, volume, labels, size, pixel_mm, numbers_of(classes, labels, name, strict))
    if not found.labels.any():
        wanted = sorted({value for values in classes.values() for value in values}) or ", ".join(classes)
        raise InputError(f"{labels.name or name} has none of the labels {wanted} where the body is: set classes.")
    return found


def _labeled(
    name: str, volume: Volume, labels: LabelMap, size: int, pixel_mm: float, numbers_of_classes: Mapping[str, Any]
) -> LabeledPatient:
    square = square_slices(volume, size, pixel_mm)
    found = labels_on(labels, square.grid)
    numbers = np.zeros(found.shape, dtype=np.uint8)
    for number, values in enumerate(numbers_of_classes.values(), start=1):
        numbers[np.isin(found, list(values))] = number
    return LabeledPatient(name, square, numbers)


def labeled_file(
    person: Person, labels: Path | None, size: int, pixel_mm: float, classes: Mapping[str, Sequence[int]]
) -> LabeledPatient:
    """As `labeled_volume`, from the CT of somebody and its segmentation on the same grid.

    The patient is named as `Person.stored_name` says. Without a segmentation everything that is no air is `BODY`, see
    `refuse_unlabeled`.

    Raises:
        InputError: there is no such file, or it cannot be used.
    """
    from ctrestoration.io.images import read_labels, read_volume

    if person.file is None:
        raise InputError(f"{person.name} has no CT file.")
    volume = read_volume(person.file)
    if labels is None:
        return _whole_body(person.stored_name, volume, size, pixel_mm)
    found = read_labels(labels, volume.grid)
    return labeled_volume(person.stored_name, volume, found, size, pixel_mm, classes, strict=False)


def _whole_body(name: str, volume: Volume, size: int, pixel_mm: float) -> LabeledPatient:
    square = square_slices(volume, size, pixel_mm)
    return LabeledPatient(name, square, (square.array > BODY_HU).astype(np.uint8))


def refuse_unlabeled(classes: Mapping[str, Sequence[int]]) -> None:
    """Whether a CT without segmentation can be used.

    Raises:
        InputError: some class could only come from one.
    """
    if tuple(classes) != (BODY,):
        raise InputError(
            f"A CT without segmentation knows no {next(name for name in classes if name != BODY)}: give its labels, or "
            f"ask for the class {BODY}=1 alone, which is everything but air."
        )


def drawn_photons(photons: float, most: float | None, seed: int) -> float:
    """The dose of one scan: `photons`, or log-uniformly from there to `most`.

    Args:
        photons: per detector bin without patient.
        most: upper end, or None for one dose.
        seed: of the scan.
    """
    if most is None:
        return photons
    share = derive(seed, "photons") / 2.0**128
    return float(photons * (most / photons) ** share)


def refuse_range(photons: float, most: float | None) -> None:
    """Whether there is a dose between the two.

    Raises:
        InputError: the upper end is below the lower one, or no number of photons.
    """
    if most is not None and not photons <= most <= 1e12:
        raise InputError(f"Photons are drawn from {photons:g} upwards: the upper end {most:g} is not in that range.")


def labeled_case(case: Case, size: int, pixel_mm: float, classes: Mapping[str, Sequence[int]]) -> LabeledPatient:
    """As `labeled_volume`, from a case of a public data set; the one class `BODY` needs no segmentation.

    A scan that shows none of the classes comes without labels: data sets of the whole body have many of these.

    Raises:
        InputError: it is damaged, has no labels at all, or its numbers mean something else.
    """
    found = case.load()
    if found.volume is not None and tuple(classes) == (BODY,):
        return _whole_body(case.patient, found.volume, size, pixel_mm)
    if found.volume is None or found.labels is None:
        raise InputError(f"{case.name} has no labeled CT: choose a data set with segmentations.")
    numbers = numbers_of(classes, found.labels, case.name)
    return replace(_labeled(case.patient, found.volume, found.labels, size, pixel_mm, numbers), spare=True)


def usable_cases(dataset: str, folder: Path) -> list[Case]:
    """The cases of a public data set, with a warning that names those that nobody can use as they are.

    Raises:
        InputError: unknown data set, or a folder without a usable case.
    """
    from ctrestoration.io.importers import importer

    cases = importer(dataset).survey(folder).cases
    useless = [case for case in cases if case.unusable]
    if useless:
        names = ", ".join(case.name for case in useless[:3]) + (", ..." if len(useless) > 3 else "")
        told = (
            f"{len(useless)} of {len(cases)} cases of {dataset} are left out ({names}: {useless[0].unusable}). To have "
            "them, convert them by 'ctrestoration dataset import' and give them as volumes."
        )
        if len(useless) == len(cases):
            raise InputError(told)
        warnings.warn(told, CTRestorationWarning, stacklevel=2)
    return [case for case in cases if not case.unusable]


def scan_slice(patient: LabeledPatient, z: int, seed: int, scanner: Mapping[str, Any]) -> LowDosePair:
    """Scan one slice at a low dose.

    Args:
        patient: whom.
        z: which slice.
        seed: of the photon noise.
        scanner: fields of `simulate.lowdose.LowDoseSettings`.

    Returns:
        The noisy reconstruction, the truth and the labels; outside the circle `OUTSIDE_HU` and background. The input
        is not clipped: noise reaches below air.

    Raises:
        InputError: an unknown setting, or one out of range.
    """
    from ctrestoration.simulate.lowdose import simulate_lowdose

    shape = patient.volume.grid.shape[1:]
    inside = circle_mask(shape)
    content = np.where(inside, patient.volume.array[z], np.float32(OUTSIDE_HU)).astype(np.float32)
    grid = patient.volume.grid.crop((z, 0, 0), (z + 1, *shape))
    scan = simulate_lowdose(replace(patient.volume, array=content[None], grid=grid), seed=seed, **scanner)
    outside = np.float32(OUTSIDE_HU)
    return {
        "input": np.where(inside, scan.acquisition.image.array[0], outside).astype(np.float32),
        "target": np.where(inside, scan.truth.array[0], outside).astype(np.float32),
        "labels": np.where(inside, patient.labels[z], 0).astype(np.float32),
    }


def split_of(patient: str, seed: int, shares: Sequence[float]) -> str:
    """The split of a patient: a function of the name alone, whatever else is in the data.

    So one person who is in two data sets under one name (LiTS and the Decathlon's liver task) cannot be on both sides,
    even where each side reads another data set.

    Args:
        patient: name.
        seed: of the split.
        shares: of train, validation and test.
    """
    place = derive(seed, "split", patient) / 2.0**128 * sum(shares)
    for name, edge in zip(SPLITS, np.cumsum(shares), strict=True):
        if place < edge:
            return name
    return SPLITS[-1]
