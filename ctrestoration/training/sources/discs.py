"""Random discs under streaks: a stand-in for metal artifacts that needs no data and no physics."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from ctrestoration.training.config import PositiveInt, Strict
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import Sample


class Config(Strict):
    """Random discs under streaks: needs no data and no physics; for trying out the engine."""

    name: Literal["discs"]
    count: PositiveInt = Field(default=64, description="Images in an epoch.")
    size: int = Field(default=64, ge=8, le=1024, description="Rows and columns.")

    def images(self) -> set[str]:
        """See `sources.images_of`."""
        return set()

    def create(self) -> Discs:
        """The source that these settings describe."""
        return Discs(self)


class Discs:
    """Discs of -100 to 400 HU in water; the input adds streaks of 150 HU through one point and noise of 20 HU."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def __len__(self) -> int:
        return self.settings.count

    def sample(self, key: Key) -> Sample:
        """See `Source.sample`."""
        size = self.settings.size
        draw = key.generator("discs")
        rows, columns = np.mgrid[:size, :size].astype(np.float32)
        target = np.zeros((size, size), np.float32)
        for _ in range(5):
            row, column, radius = draw.uniform(0, size), draw.uniform(0, size), draw.uniform(0.08, 0.3) * size
            target[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = draw.uniform(-100, 400)
        row, column = draw.uniform(0.3 * size, 0.7 * size, 2)
        angle = np.arctan2(rows - row, columns - column)
        streaks = 150 * np.cos(draw.integers(5, 9) * angle + draw.uniform(0, 2 * np.pi))
        noise = 20 * draw.standard_normal((size, size))
        corrupted = target + streaks + noise
        metal = ((rows - row) ** 2 + (columns - column) ** 2 < (0.04 * size) ** 2).astype(np.float32)
        return {"input": corrupted[None].astype(np.float32), "target": target[None], "metal": metal[None]}

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return f"discs-{self.settings.size}"
