"""Scans that were simulated once and stored, see `training.scan_store`; every epoch sees the same ones."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import Field

from ctrestoration.errors import InputError
from ctrestoration.training.config import DataPath, Strict
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, scans
from ctrestoration.training.sources._augment import crop, mirror, turn


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

    keep: bool = Field(
        default=False, description="Keep what was read in memory: some 4 MB for each scan of 416 x 416 images."
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
        from ctrestoration.training.scan_store import images_in

        return set.intersection(*(images_in(folder) for folder in (self.folder, *self.more)))

    def as_scans(self) -> scans.Config:
        """How they were simulated.

        Raises:
            InputError: only images are read.
        """
        from ctrestoration.training.scan_store import read_manifest

        if self.images_only:
            raise InputError("Sinograms are not read with data...crop, augment or more: leave them out.")
        return scans.Config.model_validate(read_manifest(self.folder)["settings"])

    def create(self) -> StoredScans:
        """The source that these settings describe."""
        return StoredScans(self)


class StoredScans:
    """Samples as those of `scans`; with crops, mirroring or several folders their images alone."""

    def __init__(self, settings: Config) -> None:
        from ctrestoration.training.scan_store import read_manifest

        self.settings = settings
        self._folders = (settings.folder, *settings.more)
        self._manifests: list[dict[str, Any]] = [read_manifest(folder) for folder in self._folders]
        self._images = {"input", "target", "metal"} | settings.images()
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return sum(len(manifest["files"]) for manifest in self._manifests)

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        from ctrestoration.training.scan_store import read_scan

        if key.index in self._kept:
            return self._augmented(self._kept[key.index], key)
        index = key.index
        for folder, manifest in zip(self._folders, self._manifests, strict=True):
            if index < len(manifest["files"]):
                names = sorted(self._images) if self.settings.images_only else ()
                found = read_scan(folder, index, names)
                if self.settings.keep:
                    self._kept[key.index] = found
                return self._augmented(found, key)
            index -= len(manifest["files"])
        raise IndexError(key.index)

    def _augmented(self, sample: Sample, key: Key) -> Sample:
        draw = key.generator("augment")
        if self.settings.crop is not None:
            sample = crop(sample, self.settings.crop, draw, in_body=True)
        if self.settings.augment and key.stage != "validation":
            sample = turn(mirror(sample) if draw.random() < 0.5 else sample, int(draw.integers(4)))
        return sample

    def describe(self) -> dict[str, Any]:
        """How the scans were simulated, as their manifests say."""
        facts = [{key: manifest[key] for key in ("settings", "seed", "stage")} for manifest in self._manifests]
        return facts[0] if len(facts) == 1 else {"folders": facts}

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        from ctrestoration.jobs.durable import sha256_of
        from ctrestoration.training.scan_store import MANIFEST

        digests = [sha256_of(folder / MANIFEST) for folder in self._folders]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
