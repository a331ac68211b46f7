"""Task-adaptive: a reconstruction network learns through frozen task networks; arXiv 2511.07094, Eq. 9.

Stages: `segment` trains the task networks on full-dose images (left out where all are given); `base` trains the plain
network (only where a bound below it is asked for); `reconstruct` trains it with the tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from ctrestoration.errors import InputError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._balance import (
    Balance,
    BalanceConfig,
    Constraint,
    ConstraintBalance,
    Step,
    Surgery,
)
from ctrestoration.training.recipes._base import StageConfig
from ctrestoration.training.recipes._lowdose import LowDoseConfig, TaskMethod, circle_psnr, score_name, unique
from ctrestoration.training.recipes._tasks import TaskConfig

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    segment: StageConfig = Field(default=StageConfig(), description="The task networks, on full-dose images.")
    base: StageConfig = Field(default=StageConfig(), description="The plain network; only for a bound below it.")
    reconstruct: StageConfig = Field(default=StageConfig(), description="Through the frozen task networks.")


class Config(LowDoseConfig):
    """Low-dose reconstruction for what is done with the images: through frozen task networks."""

    name: Literal["task_adaptive"]
    tasks: tuple[TaskConfig, ...] = Field(default=(TaskConfig(),), min_length=1, description="What is done with them.")
    balance: BalanceConfig = Field(
        default={"name": "constraint"}, description="How pixels and tasks share: a fixed alpha, or an automatic way."
    )
    select: Literal["task", "psnr_db"] = Field(
        default="task",
        description="What decides about the best weights: the first task's score (under a bound, of those weights "
        "that keep it), or PSNR.",
    )
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        return unique(tasks)

    @property
    def base_is_trained(self) -> bool:
        """Whether the plain network comes first."""
        balance = self.balance
        return isinstance(balance, Constraint) and balance.psnr_db is None and balance.base_weights is None

    def create(self, run: RunConfig) -> TaskAdaptive:
        """The method that these settings describe.

        Raises:
            InputError: gradient surgery of a compiled network.
        """
        if isinstance(self.balance, Surgery) and run.hardware.compile:
            raise InputError(
                "Gradient surgery goes back through the network once for each loss, which a compiled network does not "
                "allow: set hardware.compile to false, or choose another balance."
            )
        metric = score_name(self.tasks) if self.select == "task" else "psnr_db"
        if self.select == "task" and isinstance(self.balance, Constraint):
            metric = "score_in_bound"
        stages = [self.stages.reconstruct.stage("reconstruct", ("g",), run, metric)]
        if self.base_is_trained:
            stages.insert(0, self.stages.base.stage("base", ("g",), run))
        if not all(task.given for task in self.tasks):
            first = next(task for task in self.tasks if not task.given)
            stages.insert(0, self.stages.segment.stage("segment", ("t",), run, score_name((first,), "full_dose_")))
        return TaskAdaptive(self, tuple(stages), self.tasks)


class TaskAdaptive(TaskMethod):
    """See the module's docstring."""

    settings: Config

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`."""
        parts = super().build(config)
        balance: Balance = self.settings.balance.build({task.name: task.weight for task in self.tasks})
        parts.modules["balance"] = balance
        if balance.moves:
            parts.owners["g"] = ("g", "balance")
        settings = self.settings.balance
        if isinstance(settings, Constraint) and settings.psnr_db is None:
            # In the parts, and so in checkpoints: the plain network of this very run cannot be made again.
            base = self.settings.network.build(in_channels=self.settings.slices, out_channels=1)
            if settings.base_weights is not None:
                from ctrestoration.models.weights import load_into

                load_into(base, settings.base_weights, self.form)
            parts.modules["base"] = base
        return parts

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`: the bound is that of the plain network as it is when the last stage begins."""
        super().enter(stage, run, parts)
        if stage.name == "reconstruct" and self.settings.base_is_trained:
            parts.modules["base"].load_state_dict(parts.modules["g"].state_dict())

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """The task networks' own loss, the squared error, or both."""
        if stage.name == "segment":
            return Losses(self.segment_loss(batch, parts))
        output = self.restore(batch, parts)
        pixels = self.pixels(output, batch)
        if stage.name == "base":
            return Losses(pixels)
        self.note_frozen(parts)
        balance = parts.modules["balance"]
        assert isinstance(balance, Balance)  # noqa: S101 - built above
        bound = None
        if isinstance(balance, ConstraintBalance):
            bound = balance.bound(self._base_error(batch, parts))
        moving = [one for one in parts.modules["g"].parameters() if one.requires_grad]
        return balance.combine(Step(pixels, lambda: self.task_losses(output, batch, parts), output, bound, moving))

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """In `segment` the tasks on full-dose images; else everything, and under a bound what keeps it.

        "score_in_bound" is the first task's score, less 1 for each dB by which a slice's PSNR lies below the bound.
        """
        if stage.name == "segment":
            return self.full_dose_scores(batch, parts)
        metrics = super().validate(stage, batch, parts)
        settings = self.settings.balance
        if isinstance(settings, Constraint) and stage.name == "reconstruct":
            least = torch.full_like(metrics["psnr_db"], settings.psnr_db or 0.0)
            if settings.psnr_db is None:
                base = self.restored(parts.modules["base"], batch)
                metrics["base_psnr_db"] = circle_psnr(base, batch["target"])
                least = metrics["base_psnr_db"] - settings.drop_db
            metrics["score_in_bound"] = metrics[score_name(self.tasks)] - (least - metrics["psnr_db"]).clamp(min=0)
        return metrics

    def _base_error(self, batch: Batch, parts: Parts) -> Tensor | None:
        if "base" not in parts.modules:
            return None
        with torch.no_grad():
            base = self.restored(parts.modules["base"], batch)
            return self.pixels(base, batch)
