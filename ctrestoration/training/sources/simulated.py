"""Metal artifacts simulated while training: nothing is stored, and no placement comes twice."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np
from pydantic import Field

from ctrestoration.errors import InputError
from ctrestoration.training.config import DataPath, PositiveInt, Strict
from ctrestoration.training.data.cases import (
    Patient,
    Scan,
    phantom_name,
    phantom_patient,
    scan_case,
    volume_patient,
)
from ctrestoration.training.data.patients import Person, file_patients
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample

PLACEMENTS: dict[str, tuple[str, ...]] = {
    "mixed": (),
    "realistic": ("spine", "realistic"),
    "random": ("implants-anywhere", "shapes"),
    "moved": ("spine-moved", "realistic-moved"),
}
"""Kinds of cases of each placement, see `cases.draw_case`."""


class PatientsConfig(Strict):
    """Whom implants are put into, and how they are scanned."""

    name: str
    phantoms: int = Field(default=4, ge=0, description="Number of procedural phantoms to draw slices from.")
    first_seed: int = Field(
        default=0, ge=0, description="Seed of the first phantom; keep training and validation apart."
    )
    volumes: tuple[DataPath, ...] = Field(
        default=(), description="Clean CT volumes (NRRD, NIfTI, DICOM folder) to add."
    )
    count: PositiveInt = Field(default=64, description="Simulated slices in an epoch.")
    size: int = Field(default=128, ge=32, le=512, description="Rows and columns.")
    pixel_mm: float = Field(default=3.0, gt=0.1, le=10, description="Pixel size in mm.")
    preset: str = Field(default="clinical", description="Scanner preset of the simulation.")

    def people(self) -> list[Person]:
        """Everybody, see `patients.refuse_shared`."""
        seeds = range(self.first_seed, self.first_seed + self.phantoms)
        return [*(Person(phantom_name(seed)) for seed in seeds), *file_patients(self.volumes)]


class Config(PatientsConfig):
    """Metal artifacts simulated while training: nothing is stored, placements never repeat."""

    name: Literal["simulated"]
    corrected: tuple[Literal["nmar", "li"], ...] = Field(
        default=(), description="Add the images of these classical methods, for networks that look at them."
    )
    clean: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of samples without artifact, half of them with a mask, so that a metal-free image stays as "
        "it is. Never in validation data.",
    )
    placement: Literal["mixed", "realistic", "random", "moved"] = Field(
        default="mixed",
        description="Which metal: planned screws and other implants where they belong (realistic), single implants and "
        "shapes in any pose (random), both as `implants.generator` mixes them, or the implants of realistic ones, all "
        "together in any pose (moved).",
    )
    projected: bool = Field(
        default=False,
        description="Scans as clinical CT without raw data: metal by threshold, sinograms forward projected.",
    )

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return set(self.corrected)

    def create(self) -> Simulated:
        """The source that these settings describe."""
        return Simulated(self)


class Patients:
    """Phantoms and volumes, one of which every sample puts freshly drawn implants into.

    Patients are made at their first use in each process and kept.

    Raises:
        InputError: neither phantoms nor volumes, or a volume that is not there.
    """

    def __init__(self, settings: PatientsConfig) -> None:
        from ctrestoration.physics.presets import scanner_preset

        if settings.phantoms + len(settings.volumes) == 0:
            raise InputError("A simulated source needs phantoms or volumes: data...phantoms is 0 and volumes is empty.")
        for path in settings.volumes:
            if not path.exists():
                raise InputError(f"There is no CT volume {path} (data...volumes).")
        scanner_preset(settings.preset)  # an unknown one is refused now
        self.settings = settings
        self._patients: dict[int, Patient] = {}

    def __len__(self) -> int:
        return self.settings.count

    def fingerprint(self) -> str:
        """Digest of the settings and of the size of each volume file."""
        sizes = [path.stat().st_size for path in self.settings.volumes]
        text = json.dumps([self.settings.model_dump(mode="json"), sizes], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def people(self) -> list[Person]:
        """Everybody, see `patients.refuse_shared`."""
        return self.settings.people()

    def drawn(self, draw: np.random.Generator) -> Patient:
        """One of the patients."""
        return self.patient(int(draw.integers(self.settings.phantoms + len(self.settings.volumes))))

    def patient(self, number: int) -> Patient:
        """A patient by number: the phantoms first, then the volumes; made once in each process."""
        if number not in self._patients:
            size, pixel = self.settings.size, self.settings.pixel_mm
            if number < self.settings.phantoms:
                patient = phantom_patient(self.settings.first_seed + number, size, pixel)
            else:
                patient = volume_patient(self.settings.volumes[number - self.settings.phantoms], size, pixel)
            self._patients[number] = patient
        return self._patients[number]


class Simulated(Patients):
    """Each sample scans one slice of a patient with freshly drawn implants."""

    settings: Config

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        pair = self.scan(key).pair(self.settings.corrected)
        return {name: array[None] for name, array in pair.items()}

    def scan(self, key: Key) -> Scan:
        """The scan of a key, without artifact now and then."""
        draw = key.generator("case")
        patient = self.drawn(draw)
        clean = 0.0 if key.stage == "validation" else self.settings.clean
        (scan,), _ = scan_case(patient, draw, self.settings.preset, 1, clean, self._kinds)
        # A scan without metal has nothing to be found.
        return scan.projected(self.settings.preset) if self.settings.projected and scan.metal.any() else scan

    @property
    def _kinds(self) -> tuple[str, ...]:
        return PLACEMENTS[self.settings.placement]
