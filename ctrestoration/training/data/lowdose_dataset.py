"""Data sets of labeled low-dose pairs: the same shards, checksums and interruptible builds as `dataset`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.io.pairs import SPLITS, Pair
from ctrestoration.training.data.cases import phantom_name, short_digest
from ctrestoration.training.data.dataset import BuildSettings, signed
from ctrestoration.training.data.lowdose_cases import (
    CLASSES,
    LabeledPatient,
    drawn_photons,
    labeled_case,
    labeled_file,
    labeled_phantom,
    refuse_range,
    refuse_unlabeled,
    scan_slice,
    split_of,
    usable_cases,
)
from ctrestoration.training.data.patients import file_patients
from ctrestoration.training.keys import derive, generator

Maker = Callable[[], LabeledPatient]


@dataclass(frozen=True)
class LowDoseBuild(BuildSettings):
    """What a low-dose data set is made of; fields of `BuildSettings` mean the same, and metal plays no part.

    Attributes:
        cases: how often slices are drawn from each patient, with noise of their own.
        slices: labeled slices scanned each time.
        labels: segmentations of the volumes, in their order; none at all where the one class is "body".
        dataset: name of a public data set whose cases are added, or None.
        dataset_folder: where it was unpacked.
        classes: name -> its numbers in the segmentations, or none to find it by its name there; in the order of the
            class numbers.
        photons: per detector bin without patient.
        photons_to: where given, every slice's number is drawn log-uniformly from `photons` up to this: for networks
            that are to know more than one dose.
        views: over half a turn.
        bins: of the detector.
        fine_pixels: the patient is projected from a grid at least this fine.
    """

    preset: str = "true-scale"
    clean: float = 0.0
    labels: tuple[str, ...] = ()
    dataset: str | None = None
    dataset_folder: str = ""
    classes: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(CLASSES))
    photons: float = 4096.0
    photons_to: float | None = None
    views: int = 1000
    bins: int = 513
    fine_pixels: int = 1000

    def __post_init__(self) -> None:
        from ctrestoration.simulate.lowdose import LowDoseSettings

        if self.volumes and not self.labels:
            refuse_unlabeled(self.classes)
        elif len(self.labels) != len(self.volumes):
            raise InputError(f"{len(self.volumes)} volumes and {len(self.labels)} segmentations: give one for each.")
        if self.corrected:
            raise InputError("--with belongs to metal artifacts: leave it out for low-dose pairs.")
        LowDoseSettings(**self.scanner())
        refuse_range(self.photons, self.photons_to)
        super().__post_init__()

    @property
    def patients(self) -> int:
        """Number of patients, or of scans where somebody has several."""
        return len(self._makers)

    @property
    def lowest_hu(self) -> int:
        """Noise reaches below air and is not clipped there."""
        return -32768

    def optional(self) -> tuple[str, ...]:
        """See `BuildSettings.optional`."""
        return ("labels",)

    def scanner(self) -> dict[str, Any]:
        """Fields of `simulate.lowdose.LowDoseSettings`."""
        return {name: getattr(self, name) for name in ("preset", "photons", "views", "bins", "fine_pixels")}

    def check(self) -> None:
        """Refuse what cannot be used, before anything is simulated.

        Raises:
            InputError: a file is missing or has none of the labels, a split is empty, or the first case of the data
                set cannot be used (its labels have other classes).
        """
        for path in (*self.volumes, *self.labels):
            if not Path(path).exists():
                raise InputError(f"There is no file {path}.")
        for number in range(self.phantoms, self.phantoms + len(self.volumes)):
            self.patient(number)
        self._warn_of_phantoms_alone(self.splits())
        first = self.phantoms + len(self.volumes)
        if first < self.patients:
            self.patient(first)

    def splits(self) -> dict[str, list[int]]:
        """Phantoms shuffled, at least one in each split where there are three; scans by their patient's name alone.

        Raises:
            InputError: nobody is in one of the splits.
        """
        found: dict[str, list[int]] = {name: [] for name in SPLITS}
        shuffled = [int(number) for number in generator(self.seed, "split").permutation(self.phantoms)]
        for position, number in enumerate(shuffled):
            found[_place(position, self.phantoms, self.shares)].append(number)
        for number, (name, _) in enumerate(self._makers[self.phantoms :], start=self.phantoms):
            found[split_of(name, self.seed, self.shares)].append(number)
        for name, numbers in found.items():
            if not numbers:
                raise InputError(f"Nobody is in the split {name!r}: add patients or phantoms, or take another --seed.")
        return {name: sorted(numbers) for name, numbers in found.items()}

    def _warn_of_phantoms_alone(self, splits: dict[str, list[int]]) -> None:
        """Few scans may all fall into one split, where phantoms would hide it."""
        real = {name: sum(number >= self.phantoms for number in numbers) for name, numbers in splits.items()}
        without = [name for name, count in real.items() if not count]
        if without and sum(real.values()):
            there = ", ".join(f"{count} in {name}" for name, count in real.items() if count)
            told = f"Only phantoms are in {' and '.join(without)}, your scans are {there}: add some or change --seed."
            warnings.warn(told, CTRestorationWarning, stacklevel=3)

    def patient(self, number: int) -> LabeledPatient:
        """A patient by number: phantoms, volumes, cases of the public data set."""
        return self._makers[number][1]()

    def simulate(self, patient: Any, draw: np.random.Generator, split: str) -> tuple[list[Pair], dict[str, Any]]:
        """See `BuildSettings.simulate`; somebody of a data set who shows none of the classes gives no pairs.

        Raises:
            InputError: the patient has no labeled pixel.
        """
        if patient.spare and not patient.slices:
            left = f"{patient.name} shows none of the classes {', '.join(self.classes)} and is left out."
            warnings.warn(left, CTRestorationWarning, stacklevel=2)
            return [], {"patient": patient.name, "slices": []}
        if not patient.slices:
            raise InputError(f"{patient.name} has no labeled pixel in any slice: leave it out.")
        count = min(self.slices, len(patient.slices))
        chosen = [int(z) for z in np.sort(draw.choice(patient.slices, size=count, replace=False))]
        seed = int(draw.integers(2**31))
        doses = [drawn_photons(self.photons, self.photons_to, seed + n) for n in range(count)]
        pairs: list[Pair] = []
        for n, (z, photons) in enumerate(zip(chosen, doses, strict=True)):
            pair = scan_slice(patient, z, seed + n, {**self.scanner(), "photons": photons})
            pairs.append({**pair, "metal": np.zeros_like(pair["labels"])})
        pixel = float(patient.volume.grid.spacing[0])
        told = {"patient": patient.name, "slices": chosen, "noise_seed": seed, "pixel_mm": pixel}
        return pairs, told if self.photons_to is None else {**told, "photons": doses}

    def to_json(self) -> dict[str, Any]:
        """See `BuildSettings.to_json`; "task" says that these are low-dose pairs."""
        content = json.loads(json.dumps(asdict(self)))
        for name in ("volumes", "labels"):
            content[name] = [f"{Path(path).name} {short_digest(Path(path))}" for path in getattr(self, name)]
        content["dataset_folder"] = Path(self.dataset_folder).name
        if self.photons_to is None:
            del content["photons_to"]  # as before there were several doses
        content["scans"] = [name for name, _ in self._makers[self.phantoms :]]
        return signed({"task": "lowdose", **content})

    @cached_property
    def _makers(self) -> list[tuple[str, Maker]]:
        """Name and maker of everybody; a file's name decides its split, see `patients.file_patients`."""
        size, pixel, classes = self.size, self.pixel_mm, self.classes
        makers: list[tuple[str, Maker]] = []
        for number in range(self.phantoms):
            seed = derive(self.seed, "phantom", number) % 2**31
            makers.append((phantom_name(seed), partial(labeled_phantom, seed, size, pixel, tuple(classes))))
        people = file_patients([Path(path) for path in self.volumes])
        for person, labels in zip(people, self.labels or [None] * len(people), strict=True):
            segmentation = None if labels is None else Path(labels)
            makers.append((person.name, partial(labeled_file, person, segmentation, size, pixel, classes)))
        if self.dataset is not None:
            for case in usable_cases(self.dataset, Path(self.dataset_folder)):
                makers.append((case.patient, partial(labeled_case, case, size, pixel, classes)))
        return makers


def _place(position: int, count: int, shares: tuple[float, float, float]) -> str:
    rest = [max(1, round(count * share)) for share in shares[1:]]
    first = max(1, count - sum(rest))
    if position < first:
        return SPLITS[0]
    return SPLITS[1] if position < min(first + rest[0], max(count - 1, first + 1)) else SPLITS[2]
