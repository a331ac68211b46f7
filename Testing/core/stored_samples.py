"""A training source whose samples were made once, for tests that train more than once on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctrestoration.training.keys import Key


class Stored:
    """The samples of a source, made once."""

    def __init__(self, source: Any) -> None:
        self.samples = [source.sample(Key(1, "main", 0, index)) for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, key: Key) -> Any:
        return self.samples[key.index]

    def fingerprint(self) -> str:
        return "stored"


def numbered(index: int, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Images derived from a stored scan, for processes that import as little as possible."""
    return {"target": sample["target"] + np.float32(index), "prior": sample["li"]}
