"""Scans that were simulated once and stored, see `training.scan_store`; every epoch sees the same ones."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ctrestoration.training.config import DataPath, Strict
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample, scans


class Config(Strict):
    """Scans with their sinograms that a study has stored."""

    FIXED: ClassVar[bool] = True

    name: Literal["stored_scans"]
    folder: DataPath = Field(description="Folder of the scans (it holds manifest.json).")

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return self.as_scans().images()

    def as_scans(self) -> scans.Config:
        """How they were simulated."""
        from ctrestoration.training.scan_store import read_manifest

        return scans.Config.model_validate(read_manifest(self.folder)["settings"])

    def create(self) -> StoredScans:
        """The source that these settings describe."""
        return StoredScans(self)


class StoredScans:
    """Samples as those of `scans`, without any augmentation."""

    def __init__(self, settings: Config) -> None:
        from ctrestoration.training.scan_store import MANIFEST, read_manifest

        self.settings = settings
        self._manifest = settings.folder / MANIFEST
        self._content: dict[str, Any] = read_manifest(settings.folder)

    def __len__(self) -> int:
        return len(self._content["files"])

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        from ctrestoration.training.scan_store import read_scan

        return read_scan(self.settings.folder, key.index)

    def describe(self) -> dict[str, Any]:
        """How the scans were simulated, as their manifest says."""
        return {key: self._content[key] for key in ("settings", "seed", "stage")}

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        from ctrestoration.jobs.durable import sha256_of

        return sha256_of(self._manifest)
