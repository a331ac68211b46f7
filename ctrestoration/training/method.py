"""What a way of training consists of. A recipe is one small object that says these things; the engine does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctrestoration.jobs.rundir import RunDirectory

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig

Batch = dict[str, Tensor]
"""Named tensors [sample, channel, row, column], HU where they are images; "index" [sample] says which samples."""


@dataclass(frozen=True)
class Stage:
    """One part of a training.

    Attributes:
        name: unique in the recipe.
        epochs: how many passes over the training data.
        turns: which optimizer moves, in this order, within one step; a name may repeat (three times "g", once "d").
        learning_rates: optimizer name -> base learning rate.
        frozen: patterns (fnmatch) of parameter names "module.parameter" that do not move.
        metric: which of this stage's validation metrics decides about its best weights; never one that depends on
            loss weights or on an adversary.
        better: "higher" or "lower".
        hand_on: which weights the next stage begins with, or the last stage publishes: "best" or "last".
    """

    name: str
    epochs: int
    turns: tuple[str, ...]
    learning_rates: Mapping[str, float]
    frozen: tuple[str, ...] = ()
    metric: str = "psnr_db"
    better: str = "higher"
    hand_on: str = "best"


@dataclass
class Parts:
    """What is trained.

    Attributes:
        modules: every network by name, also frozen ones.
        owners: optimizer name -> names of the modules whose parameters it moves.
        optimizers: filled by the engine at the start of each stage, one for each turn's name.
    """

    modules: dict[str, nn.Module]
    owners: dict[str, tuple[str, ...]]
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)


@dataclass
class Losses:
    """What one turn gives back.

    Attributes:
        total: scalar, float32, differentiable; the mean over the samples of the batch.
        values: what to record beside it.
    """

    total: Tensor
    values: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Collapse:
    """When to warn that one side of an adversarial training has won.

    Attributes:
        value: name of a recorded value.
        below: it counts while it is below this.
        steps: so many steps in a row.
    """

    value: str
    below: float
    steps: int


class Method(Protocol):
    """One way of training: what the networks are, and what one step does.

    Attributes:
        stages: passed through in this order.
        collapse: what to watch for, or None.
        exports: names of the modules that are published as weights at the end.
    """

    stages: tuple[Stage, ...]
    collapse: Collapse | None
    exports: tuple[str, ...]

    def build(self, config: RunConfig) -> Parts:
        """New networks; the global random state was seeded for this."""
        ...

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """Prepare a stage. Must be a pure function of the files in the run: it is repeated after a kill.

        It may load weights into `parts`, and keep frozen networks that need not be in checkpoints as attributes of the
        method; these go to the device of `parts`. Everything that moves, or that a checkpoint restores, is in `parts`.
        """
        ...

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """The losses of one optimizer's turn on a (micro-)batch. Backward and update are the engine's work."""
        ...

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """After the last step of an epoch, e.g. write a snapshot; repeated, it must write the same bytes.

        Called in the first of several processes only; the others wait before the next step or `enter`.
        """
        ...

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """Metrics [sample], each averaged over the validation data; must not depend on loss weights."""
        ...

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """Pictures in HU [row, column] of the first sample: input, output, target."""
        ...

    def describe(self, module: str) -> dict[str, object]:
        """What a reader of the weights of a module needs to build and use it (JSON-serializable)."""
        ...
