"""Randomness by key: what is drawn depends on (seed, what for), never on what was drawn before.

So a resumed run, a run with other loader workers, and a single sample looked at alone all see the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


def derive(*words: int | str) -> int:
    """A 128-bit number from any words, by hash: different words never share a stream.

    >>> derive(1, "main", 0) == derive(1, "main", 0) != derive(1, "main", 1)
    True
    """
    text = "\x1f".join(f"{type(word).__name__}:{word}" for word in words)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:16], "little")


def generator(*words: int | str) -> np.random.Generator:
    """A NumPy generator for these words (counter based, the same on every platform)."""
    return np.random.Generator(np.random.Philox(key=derive(*words)))


@dataclass(frozen=True)
class Key:
    """Names one sample of a run.

    Attributes:
        seed: the run's seed.
        stage: name of the stage, or "validation".
        epoch: from 0; 0 for validation.
        index: position in the source.
    """

    seed: int
    stage: str
    epoch: int
    index: int

    def generator(self, purpose: str) -> np.random.Generator:
        """The random stream of this sample for one purpose, such as "augment"."""
        return generator(self.seed, self.stage, self.epoch, self.index, purpose)


def order(seed: int, stage: str, epoch: int, count: int) -> list[int]:
    """In which order an epoch visits the samples 0..count-1."""
    return [int(index) for index in generator(seed, stage, epoch, "order").permutation(count)]
