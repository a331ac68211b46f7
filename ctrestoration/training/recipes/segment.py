"""Segment: task networks alone, on full-dose images (arXiv 2511.07094, Eq. 4), on low-dose ones, or on both.

For classification and detection as well: a task is whatever its head says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Collapse, Losses, Parts, Stage
from ctrestoration.training.recipes._base import StageConfig
from ctrestoration.training.recipes._lowdose import score_name, task_metrics
from ctrestoration.training.recipes._tasks import TaskConfig

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    segment: StageConfig = Field(default=StageConfig(), description="The one stage.")


class Config(Strict):
    """A task network by itself: segmentation, classification or detection."""

    name: Literal["segment"]
    task: TaskConfig = Field(default=TaskConfig(), description="What to learn.")
    images: Literal["full_dose", "low_dose"] = Field(
        default="full_dose", description="Which images it learns from, and is validated on."
    )
    stages: Stages = Field(default=Stages(), description="Length and rates.")

    @field_validator("task")
    @classmethod
    def _can_be_trained(cls, task: TaskConfig) -> TaskConfig:
        if task.network.name == "torchscript":
            raise ValueError("a TorchScript file cannot be trained or published: it serves as a frozen network only")
        return task

    def create(self, run: RunConfig) -> Segment:
        """The method that these settings describe."""
        metric = score_name((self.task,))
        return Segment(self, (self.stages.segment.stage("segment", ("t",), run, metric),))


class Segment:
    """See the module's docstring."""

    collapse: Collapse | None = None
    exports: tuple[str, ...] = ("t",)

    def __init__(self, settings: Config, stages: tuple[Stage, ...]) -> None:
        self.settings = settings
        self.stages = stages

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`."""
        return Parts({"t": self.settings.task.build()}, {"t": ("t",)})

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`: nothing to prepare."""

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `Method.epoch_end`: nothing to keep."""

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """The task's own loss."""
        return Losses(self.settings.task.loss_of(parts.modules["t"], self._image(batch), batch, training=True))

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """The task's scores."""
        return task_metrics(self.settings.task, parts.modules["t"], self._image(batch), batch)

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """The image, and for segmentations what was found and the truth as gray levels of 100 HU a class."""
        image = self._image(batch)
        pictures = [image]
        if self.settings.task.kind == "segmentation":
            found = self.settings.task.answer(parts.modules["t"], image).argmax(dim=1, keepdim=True)
            pictures += [100.0 * found, 100.0 * batch["labels"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        return self.settings.task.describe()

    def _image(self, batch: Batch) -> Tensor:
        return batch["target" if self.settings.images == "full_dose" else "input"]
