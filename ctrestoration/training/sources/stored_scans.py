"""Scans that were simulated once and stored, see `training.data.scan_store`; every epoch sees the same ones."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ctrestoration.errors import InputError
from ctrestoration.training.config import DataPath, Strict
from ctrestoration.training.data.patients import Person
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, scans
from ctrestoration.training.sources._augment import BODY_HU, View, crop_corner

if TYPE_CHECKING:
    import torch

    from ctrestoration.training.sources._resident import ResidentSamples


class Config(Strict):
    """Scans with their sinograms that a study has stored."""

    name: Literal["stored_scans"]
    folder: DataPath = Field(description="Folder of the scans (it holds manifest.json).")
    more: tuple[DataPath, ...] = Field(
        default=(), description="Folders whose scans are added; for networks that work on images alone."
    )
    crop: int | None = Field(
        default=None,
        ge=8,
        description="Crop of so many rows and columns of the images around a random point of the body, without "
        "sinograms; none: whole scans.",
    )
    augment: bool = Field(
        default=False,
        description="Mirror and turn by quarters at random: images only. Not applied to validation data.",
    )
    keep: bool | Literal["device"] = Field(
        default=False,
        description="Keep what was read in memory, some 4 MB for each scan of 416 x 416 images; device: in that of the "
        "GPU, all of it, where crops are cut, too: a small network on a GPU would wait for its data otherwise, and no "
        "damaged scan is skipped.",
    )
    target: Literal["scan", "truth"] = Field(
        default="scan",
        description="What networks are taught: the same scan without metal, or the noise-free patient at 70 keV, where "
        "it was stored (`truth` of the scans).",
    )

    def fixed(self) -> bool:
        """See `sources.is_fixed`."""
        return self.crop is None and not self.augment

    @property
    def images_only(self) -> bool:
        """No sinograms are read: they could not be cropped, turned, or be of several scanners."""
        return bool(self.more) or not self.fixed()

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        from ctrestoration.training.data.scan_store import images_in

        return set.intersection(*(images_in(folder) for folder in (self.folder, *self.more))) - {"truth"}

    def as_scans(self) -> scans.Config:
        """How they were simulated.

        Raises:
            InputError: only images are read, or a target that the stored line integrals are not of.
        """
        from ctrestoration.training.data.scan_store import read_manifest

        if self.images_only:
            raise InputError("Sinograms are not read with data...crop, augment or more: leave them out.")
        if self.target == "truth":
            raise InputError("Stored sinograms are those of the scan without metal: data...target has to be scan.")
        return scans.Config.model_validate(read_manifest(self.folder)["settings"])

    def create(self) -> StoredScans:
        """The source that these settings describe."""
        return StoredScans(self)


class StoredScans:
    """Samples as those of `scans`; with crops, mirroring or several folders their images alone."""

    def __init__(self, settings: Config) -> None:
        from ctrestoration.training.data.scan_store import images_in, read_manifest

        self.settings = settings
        self._folders = (settings.folder, *settings.more)
        self._manifests: list[dict[str, Any]] = [read_manifest(folder) for folder in self._folders]
        for folder in self._folders:
            if settings.target == "truth" and "truth" not in images_in(folder):
                raise InputError(
                    f"The scans of {folder} were stored without their truth: data...target has to be scan."
                )
        self._images = {"input", "metal", self._target} | settings.images()
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return sum(len(manifest["files"]) for manifest in self._manifests)

    @property
    def _target(self) -> str:
        return "target" if self.settings.target == "scan" else "truth"

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        whole = self._kept.get(key.index) or self._read(key.index)
        if self.settings.keep is True:
            self._kept[key.index] = whole
        body = None if self.settings.crop is None else whole["target"][0] > BODY_HU
        return self._seen(key, body).of_sample(whole)

    def resident(self, device: torch.device) -> ResidentSamples | None:
        """See `Source`: every sample on the device, where the settings ask for that."""
        if self.settings.keep != "device":
            return None
        from ctrestoration.training.sources._resident import ResidentSamples

        return ResidentSamples(map(self._read, range(len(self))), len(self), device, self._seen)

    def _read(self, number: int) -> Sample:
        """A whole scan."""
        from ctrestoration.training.data.scan_store import read_scan

        index = number
        for folder, manifest in zip(self._folders, self._manifests, strict=True):
            if index < len(manifest["files"]):
                found = read_scan(folder, index, sorted(self._images) if self.settings.images_only else ())
                target = found.pop(self._target)
                found.pop("truth", None)
                return {**found, "target": target}
            index -= len(manifest["files"])
        raise IndexError(number)

    def _seen(self, key: Key, body: NDArray[np.bool_] | None) -> View:
        """What a sample shows of its scan; for crops, from where its patient is [row, column]."""
        draw, size = key.generator("augment"), self.settings.crop
        row, column = (0, 0) if size is None or body is None else crop_corner(body.shape, size, draw, body)
        if not self.settings.augment or key.stage == "validation":
            return View(row, column, size)
        return View(row, column, size, bool(draw.random() < 0.5), int(draw.integers(4)))

    def people(self) -> list[Person]:
        """Everybody who was scanned, see `patients.refuse_shared`."""
        return [
            person
            for manifest in self._manifests
            for person in scans.Config.model_validate(manifest["settings"]).people()
        ]

    def describe(self) -> dict[str, Any]:
        """How the scans were simulated, as their manifests say."""
        facts = [{key: manifest[key] for key in ("settings", "seed", "stage")} for manifest in self._manifests]
        return facts[0] if len(facts) == 1 else {"folders": facts}

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        from ctrestoration.jobs.durable import sha256_of
        from ctrestoration.training.data.scan_store import MANIFEST

        digests = [sha256_of(folder / MANIFEST) for folder in self._folders]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
