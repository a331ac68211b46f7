"""Joint: reconstruction and task networks learn together from the start; arXiv 2511.07094, Eq. 1 and 2.

After Adler et al., "Task adapted reconstruction for inverse problems", Inverse Problems 38 (2022) 075006. It is judged
by its own task network and, as `judges`, by given ones: that the two differ is what the paper shows. For large C the
images stop being images; that is a result, not a defect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, field_validator

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._balance import PAPER_SCALE
from ctrestoration.training.recipes._base import StageConfig
from ctrestoration.training.recipes._lowdose import LowDoseConfig, TaskMethod, score_name, unique
from ctrestoration.training.recipes._tasks import TaskConfig

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    joint: StageConfig = Field(default=StageConfig(), description="Both networks at once.")


class Config(LowDoseConfig):
    """Reconstruction and task networks trained together."""

    name: Literal["joint"]
    c: float = Field(default=0.5, ge=0, le=1, description="Share of the tasks' loss; 1 - C is that of the pixels.")
    tasks: tuple[TaskConfig, ...] = Field(default=(TaskConfig(training_loss="dice"),), min_length=1,
                                          description="What is learned beside the images.")  # fmt: skip
    select: Literal["task", "psnr_db"] = Field(
        default="task", description="What decides about the best weights: the first task's score, or PSNR."
    )
    stages: Stages = Field(default=Stages(), description="Length and rates.")

    @field_validator("tasks")
    @classmethod
    def _all_are_trained(cls, tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        given = [task.name for task in tasks if task.brings_weights]
        if given:
            raise ValueError(f"task {given[0]} brings its own network, and joint training trains its own: use judges")
        return unique(tasks)

    def create(self, run: RunConfig) -> Joint:
        """The method that these settings describe."""
        metric = score_name(self.tasks) if self.select == "task" else "psnr_db"
        return Joint(self, (self.stages.joint.stage("joint", ("gt",), run, metric),), self.tasks)


class Joint(TaskMethod):
    """See the module's docstring."""

    settings: Config

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`: one optimizer for all networks. Given weights are what a task network starts from."""
        parts = super().build(config)
        for name, network in self._frozen.items():
            parts.modules[f"t_{name}"] = network.network.requires_grad_(True)
        self._frozen = {}
        self.exports = ("g", *(f"t_{task.name}" for task in self.tasks))
        parts.owners = {"gt": ("g", *(f"t_{task.name}" for task in self.tasks))}
        return parts

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """(1 - C) MSE + C task, times `PAPER_SCALE`."""
        output = self.restore(batch, parts)
        pixels = self.pixels(output, batch)
        losses = {
            task.name: task.weight * task.loss_of(parts.modules[f"t_{task.name}"], output, batch, training=True)
            for task in self.tasks
        }
        task = torch.stack(list(losses.values())).sum() / sum(one.weight for one in self.tasks)
        total = (1 - self.settings.c) * pixels + self.settings.c * PAPER_SCALE * task
        return Losses(total, {"mse": pixels / PAPER_SCALE, "task_loss": task})
