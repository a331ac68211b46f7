"""Low-dose slices simulated while training: nothing is stored, and no noise comes twice."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from ctrestoration.errors import InputError
from ctrestoration.training.config import DataPath, PositiveInt, Strict
from ctrestoration.training.data.cases import phantom_name
from ctrestoration.training.data.lowdose_cases import (
    CLASSES,
    SPLITS,
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
from ctrestoration.training.data.patients import Person, file_patients
from ctrestoration.training.keys import Key, derive
from ctrestoration.training.sources import Sample
from ctrestoration.training.sources._augment import mirror

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Share = Annotated[float, Field(ge=0, le=1)]


class VolumeFiles(Strict):
    """A CT and its segmentation."""

    ct: DataPath = Field(description="CT at full dose, in HU.")
    labels: DataPath | None = Field(
        default=None, description="Segmentation on the same grid; none: only for the one class body."
    )

    def files(self) -> list[Path]:
        """Those that there are."""
        return [path for path in (self.ct, self.labels) if path is not None]


class PublicDataset(Strict):
    """A public data set, as it was unpacked."""

    name: str = Field(description="lits, msd, totalsegmentator, ...: as `ctrestoration dataset import` calls it.")
    folder: DataPath = Field(description="Where it was unpacked.")


class Config(Strict):
    """Low-dose slices with labels, simulated while training: nothing is stored, noise never repeats."""

    name: Literal["lowdose"]
    phantoms: int = Field(default=4, ge=0, description="Procedural phantoms in this split; no split shares one.")
    volumes: tuple[VolumeFiles, ...] = Field(default=(), description="Labeled CTs to add.")
    dataset: PublicDataset | None = Field(default=None, description="Cases of a public data set to add.")
    classes: dict[str, tuple[int, ...]] = Field(
        default=CLASSES,
        min_length=1,
        description="Classes in order, each with its numbers in the segmentations; none ([]): by its name there.",
    )
    split: Literal["train", "validation", "test", "all"] = Field(
        default="train", description="Which patients; all: every volume, for a run without validation data."
    )
    split_seed: int = Field(default=0, ge=0, description="Who is in which split follows from it and from the names.")
    shares: tuple[Share, Share, Share] = Field(
        default=(0.7, 0.15, 0.15), description="Expected shares of the volumes in train, validation and test."
    )
    count: PositiveInt = Field(default=64, description="Simulated slices in an epoch.")
    size: int = Field(default=128, ge=16, le=512, description="Rows and columns.")
    pixel_mm: float = Field(default=3.0, gt=0.1, le=10, description="Pixel size in mm.")
    slices: Literal[1, 3, 5] = Field(
        default=1, description="Slices in a sample, the middle one and its neighbors, each with noise of its own."
    )
    flip: bool = Field(
        default=True,
        description="Mirror left and right at random: kidney_left and kidney_right change places; where a class's "
        "other side is no class, nothing is mirrored. Not applied to validation data.",
    )
    preset: Literal["true-scale", "lodopab"] = Field(
        default="true-scale", description="true-scale: the patient's own width; lodopab: every image is 26 cm wide."
    )
    photons: float = Field(default=4096.0, ge=1, le=1e12, description="Photons per detector bin without patient.")
    photons_to: float | None = Field(
        default=None, description="Where given, each sample's photons are drawn log-uniformly from photons up to this."
    )
    views: int = Field(default=1000, ge=1, le=1000, description="Views over half a turn; divides 1000.")
    bins: int = Field(
        default=513, ge=8, le=8192, description="Detector bins; on coarse pixels about as many as pixels in a row."
    )
    fine_pixels: int = Field(
        default=1000, ge=16, le=4096, description="The patient is projected from a grid at least this fine."
    )

    @field_validator("shares")
    @classmethod
    def _shares_add_up(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares have to add up to 1, not {sum(shares):g}")
        return shares

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return set()

    def create(self) -> LowDose:
        """The source that these settings describe."""
        return LowDose(self)

    def scanner(self) -> dict[str, Any]:
        """The simulation's settings, see `simulate.lowdose.LowDoseSettings`."""
        return {name: getattr(self, name) for name in ("preset", "photons", "views", "bins", "fine_pixels")}


class LowDose:
    """Each sample scans a drawn slice of a drawn patient with noise of its own.

    Patients are made at their first use in each process and kept. A sample holds "input" and "target" in HU and
    "labels" (class numbers), each [1, row, column]. Where `slices` is more than 1, it also holds "around" and
    "around_target", the neighbors of input and target from the feet up, [slices - 1, row, column]; the middle slice has
    the same noise whatever `slices` is.

    Raises:
        InputError: nobody is in the split, a setting is out of range, or a folder or file is not there.
    """

    def __init__(self, settings: Config) -> None:
        from ctrestoration.simulate.lowdose import LowDoseSettings

        self.settings = settings
        LowDoseSettings(**settings.scanner())
        refuse_range(settings.photons, settings.photons_to)
        self.patients = self._listed()
        self._made: dict[int, LabeledPatient] = {}
        if not self.patients:
            raise InputError(
                f"Nobody is in the split {settings.split!r} of the low-dose data: raise phantoms, give more volumes, "
                "or try another split_seed."
            )

    def __len__(self) -> int:
        return self.settings.count

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        draw = key.generator("case")
        patient = self._whose(key.index)
        z = patient.slices[int(draw.integers(len(patient.slices)))]
        seed = int(draw.integers(2**31))
        scanner = self.settings.scanner()
        scanner["photons"] = drawn_photons(self.settings.photons, self.settings.photons_to, seed)
        pair = scan_slice(patient, z, seed, scanner)
        sample = {name: array[None] for name, array in pair.items()}
        if self.settings.slices > 1:
            sample |= self._around(patient, z, seed, pair, scanner)
        if self.settings.flip and key.stage != "validation" and draw.random() < 0.5:
            sample = mirror(sample, tuple(self.settings.classes))
        return sample

    def _whose(self, index: int) -> LabeledPatient:
        """In turn rather than by chance: an epoch sees everybody alike, but for those who show none of the classes.

        Raises:
            InputError: nobody shows one.
        """
        for step in range(len(self.patients)):
            patient = self.patient((index + step) % len(self.patients))
            if patient.slices:
                return patient
        raise InputError(f"Nobody in the split {self.settings.split!r} shows {', '.join(self.settings.classes)}.")

    def _around(self, patient: LabeledPatient, z: int, seed: int, pair: Sample, scanner: dict[str, Any]) -> Sample:
        """The neighbors of a slice, at its dose; a scan's last slice is its own neighbor, noise included, as in use."""
        from ctrestoration.networks._lowdose import neighbors_of

        scans = {z: pair}
        places = neighbors_of(z, len(patient.labels), self.settings.slices)
        for place in places:
            if place not in scans:
                own = derive(seed, "neighbor", place - z) % 2**31
                scans[place] = scan_slice(patient, place, own, scanner)
        return {
            "around": np.stack([scans[place]["input"] for place in places]),
            "around_target": np.stack([scans[place]["target"] for place in places]),
        }

    def patient(self, number: int) -> LabeledPatient:
        """A patient of the split; made once in each process.

        Raises:
            InputError: a file is damaged, or has no labeled pixel.
        """
        if number not in self._made:
            person, make = self.patients[number]
            made = make()
            if not made.slices and not made.spare:
                raise InputError(f"{person.name} has no labeled pixel in any slice: nothing can be learned from it.")
            self._made[number] = made
        return self._made[number]

    def names(self) -> list[str]:
        """Names of the patients of the split."""
        return [person.name for person, _ in self.patients]

    def people(self) -> list[Person]:
        """The patients of the split, see `patients.refuse_shared`."""
        return [person for person, _ in self.patients]

    def fingerprint(self) -> str:
        """Digest of the settings, the patients' names and the sizes of the volume files."""
        sizes = [path.stat().st_size for one in self.settings.volumes for path in one.files()]
        # What was added later leaves older fingerprints as they were.
        later = {"slices": 1, "photons_to": None, "flip": True}
        unused = {name for name, value in later.items() if getattr(self.settings, name) == value}
        text = json.dumps([self.settings.model_dump(mode="json", exclude=unused), self.names(), sizes], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

    def _listed(self) -> list[tuple[Person, Callable[[], LabeledPatient]]]:
        """Patients and makers of everybody in the split, phantoms first."""
        one = self.settings
        listed: list[tuple[Person, Callable[[], LabeledPatient]]] = []
        for number in range(one.phantoms):
            seed = phantom_seed(one.split, one.split_seed, number)
            make = partial(labeled_phantom, seed, one.size, one.pixel_mm, tuple(one.classes))
            listed.append((Person(phantom_name(seed)), make))
        for files in one.volumes:
            if files.labels is None:
                refuse_unlabeled(one.classes)
            for path in files.files():
                if not path.exists():
                    raise InputError(f"There is no file {path}.")
        people = file_patients([files.ct for files in one.volumes])
        for person, files in zip(people, one.volumes, strict=True):
            if self._belongs(person.name):
                make = partial(labeled_file, person, files.labels, one.size, one.pixel_mm, one.classes)
                listed.append((person, make))
        listed += self._public()
        return listed

    def _public(self) -> list[tuple[Person, Callable[[], LabeledPatient]]]:
        if self.settings.dataset is None:
            return []
        one = self.settings
        return [
            (Person(case.patient), partial(labeled_case, case, one.size, one.pixel_mm, one.classes))
            for case in usable_cases(self.settings.dataset.name, self.settings.dataset.folder)
            if self._belongs(case.patient)
        ]

    def _belongs(self, patient: str) -> bool:
        one = self.settings
        return one.split == "all" or split_of(patient, one.split_seed, one.shares) == one.split


def phantom_seed(split: str, split_seed: int, number: int) -> int:
    """The seed of a phantom: no two splits of one seed share one (they are congruent to different numbers modulo 4)."""
    kinds = (*SPLITS, "all")
    return 4 * (derive(split_seed, "phantom", number) % 2**28) + kinds.index(split)
