"""Stored pairs with checksums, as `ctrestoration dataset build` makes them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from ctrestoration.io.pairs import DamagedPairError, PairReader, read_manifest, stored_types
from ctrestoration.training.config import DataPath, Strict
from ctrestoration.training.data.patients import Person
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import DamagedSampleError, Sample
from ctrestoration.training.sources._augment import crop, mirror


class Config(Strict):
    """Stored pairs, built by `ctrestoration dataset build`."""

    name: Literal["pairs"]
    folder: DataPath = Field(description="Folder of the data set (it holds manifest.json).")
    split: Literal["train", "validation", "test"] = Field(default="train", description="Which patients.")
    crop: int | None = Field(
        default=None, ge=8, description="Random crop of so many rows and columns; none: whole slices."
    )
    flip: bool = Field(
        default=True,
        description="Mirror left and right at random, classes with a side included. Not applied to validation data.",
    )

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return set(stored_types(read_manifest(self.folder))) - {"input", "target", "metal"}

    def create(self) -> StoredPairs:
        """The source that these settings describe."""
        return StoredPairs(self)


class StoredPairs:
    """Pairs of one split; augmentation is drawn from the key, never for validation."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self._reader = PairReader(settings.folder, settings.split)
        manifest = read_manifest(settings.folder)
        self._patients = [str(name) for name in manifest["splits"][settings.split]["patients"]]
        self._classes = tuple(manifest["settings"].get("classes", ()))

    def __len__(self) -> int:
        return len(self._reader)

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        try:
            arrays = self._reader.read(key.index)
        except DamagedPairError as error:
            raise DamagedSampleError(str(error)) from error
        sample = {name: array[None].astype(np.float32) for name, array in arrays.items()}
        draw = key.generator("augment")
        if self.settings.crop is not None:
            sample = crop(sample, self.settings.crop, draw)
        if self.settings.flip and key.stage != "validation" and draw.random() < 0.5:
            sample = mirror(sample, self._classes)
        return sample

    def people(self) -> list[Person]:
        """The patients of the split, see `patients.refuse_shared`."""
        return [Person(name) for name in self._patients]

    def describe(self) -> dict[str, Any]:
        """How the pairs were simulated, as their manifest says."""
        return dict(read_manifest(self.settings.folder)["settings"])

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return self._reader.fingerprint
