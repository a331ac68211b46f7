"""Task-oriented WGAN: a critic beside the frozen task networks, after TOD-Net.

Zhang et al., "Task-oriented low-dose CT image denoising", MICCAI 2021, arXiv 2103.13557: weights of the critic clipped
to 0.01; generator loss = adversarial + 0.5 MSE + Dice, the Dice summed over the labeled organs. A gradient penalty
(Gulrajani et al., NeurIPS 2017, Eq. 3) in place of the clipping is an option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ctrestoration.training.config import Strict
from ctrestoration.training.method import Batch, Losses, Parts, Stage
from ctrestoration.training.recipes._balance import PAPER_SCALE
from ctrestoration.training.recipes._base import HU_SCALE, StageConfig
from ctrestoration.training.recipes._lowdose import LowDoseConfig, TaskMethod, score_name, unique
from ctrestoration.training.recipes._tasks import TaskConfig

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class Stages(Strict):
    """The stages of this recipe."""

    segment: StageConfig = Field(default=StageConfig(), description="The task networks, on full-dose images.")
    adversarial: StageConfig = Field(default=StageConfig(), description="Generator, critic and frozen tasks.")


class Config(LowDoseConfig):
    """Low-dose reconstruction against a critic, through frozen task networks (WGAN)."""

    name: Literal["task_wgan"]
    tasks: tuple[TaskConfig, ...] = Field(default=(TaskConfig(),), min_length=1, description="What is done with them.")
    adversarial_weight: float = Field(default=1.0, ge=0, description="Weight of the critic's opinion.")
    pixel_weight: float = Field(default=0.5, ge=0, description="Weight of the squared error on LoDoPaB's scale.")
    task_weight: float = Field(default=1.0, ge=0, description="Weight of the losses, summed over tasks and organs.")
    critic: Literal["clip", "gradient_penalty"] = Field(
        default="clip", description="What keeps the critic's slope finite."
    )
    clip: float = Field(default=0.01, gt=0, le=1, description="clip: largest absolute weight of the critic.")
    penalty: float = Field(default=10.0, gt=0, description="gradient_penalty: its weight.")
    critic_steps: int = Field(default=4, ge=1, le=20, description="Critic steps for each generator step.")
    critic_width: int = Field(default=16, ge=2, le=256, description="Channels of the critic's first layer.")
    stages: Stages = Field(default=Stages(), description="Lengths and rates.")

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        return unique(tasks)

    def create(self, run: RunConfig) -> TaskWGAN:
        """The method that these settings describe."""
        turns = (*("d",) * self.critic_steps, "g")
        stages = [self.stages.adversarial.stage("adversarial", turns, run, score_name(self.tasks))]
        if not all(task.given for task in self.tasks):
            first = next(task for task in self.tasks if not task.given)
            stages.insert(0, self.stages.segment.stage("segment", ("t",), run, score_name((first,), "full_dose_")))
        return TaskWGAN(self, tuple(stages), self.tasks)


class TaskWGAN(TaskMethod):
    """See the module's docstring."""

    settings: Config

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`: critic `d`."""
        parts = super().build(config)
        parts.modules["d"] = critic(self.settings.critic_width)
        parts.owners["d"] = ("d",)
        return parts

    def step(self, stage: Stage, turn: str, batch: Batch, parts: Parts) -> Losses:
        """One turn of the task networks, of the critic, or of the generator."""
        if stage.name == "segment":
            return Losses(self.segment_loss(batch, parts))
        self.note_frozen(parts)
        judge = parts.modules["d"]
        if self.settings.critic == "clip":
            with torch.no_grad():  # before use is after the last update
                for weight in judge.parameters():
                    weight.clamp_(-self.settings.clip, self.settings.clip)
        if turn == "d":
            with torch.no_grad():
                fake = self.restore(batch, parts)
            real = batch["target"]
            distance = _score(judge, real).mean() - _score(judge, fake).mean()
            total = -distance
            if self.settings.critic == "gradient_penalty":
                total = total + self.settings.penalty * gradient_penalty(judge, real, fake)
            return Losses(total, {"wasserstein": distance})
        output = self.restore(batch, parts)
        pixels = self.pixels(output, batch) / PAPER_SCALE
        losses = self.task_losses(output, batch, parts)
        # Dice losses are means over the organs, here they count as sums.
        task = torch.stack([one.weight * one.organs * losses[one.name] for one in self.tasks]).sum()
        adversarial = -_score(judge, output).mean()
        weights = self.settings
        total = weights.adversarial_weight * adversarial + weights.pixel_weight * pixels + weights.task_weight * task
        return Losses(total, {"g_adversarial": adversarial, "mse": pixels, "task_loss": task})

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """In `segment` the tasks on full-dose images, else everything."""
        if stage.name == "segment":
            return self.full_dose_scores(batch, parts)
        return super().validate(stage, batch, parts)


def critic(width: int) -> nn.Module:
    """A number for each patch of an image: three strided convolutions without normalization, and one that decides."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 1, 3, 1, 1),
    )


def gradient_penalty(judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 at points between real and fake images in HU / 1000."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = ((share * real + (1 - share) * fake) / HU_SCALE).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(judge(between).float().mean(dim=(1, 2, 3)).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def _score(judge: nn.Module, image: Tensor) -> Tensor:
    score: Tensor = judge(image / HU_SCALE)
    return score.float()
