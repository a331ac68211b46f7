"""What low-dose recipes have in common: a reconstruction network `g`, metrics in the circle, tasks that judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.evaluate.circle import circle_mask
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.networks._lowdose import RANGE_HU, reconstruct_image
from ctrestoration.training.config import DataPath, Strict
from ctrestoration.training.method import Batch, Collapse, Parts, Stage
from ctrestoration.training.recipes._base import NetworkConfig, masked_mean, pixel_loss, start_from_identity
from ctrestoration.training.recipes._tasks import Frozen, TaskConfig, state_digest

if TYPE_CHECKING:
    from ctrestoration.training.runfile import RunConfig


class LowDoseConfig(Strict):
    """Settings that every low-dose recipe has."""

    network: NetworkConfig = Field(default={"name": "unet"}, description="The reconstruction network.")
    initial_weights: DataPath | None = Field(
        default=None, description="A .safetensors file to start from; none: random."
    )
    output: Literal["residual", "sigmoid"] = Field(
        default="residual",
        description="residual: the network says what to add to the image; sigmoid: the image itself, on LoDoPaB's "
        "scale, as in arXiv 2511.07094.",
    )
    slices: Literal[1, 3, 5] = Field(
        default=1,
        description="How many slices the network sees to restore the middle one; 3 and 5 need lowdose data with the "
        "same number.",
    )
    judges: tuple[TaskConfig, ...] = Field(
        default=(), description="Given task networks that only measure, such as a segmenter no loss has seen."
    )

    @field_validator("judges")
    @classmethod
    def _judges_are_given(cls, judges: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        untrained = [judge.name for judge in judges if not judge.given]
        if untrained:
            raise ValueError(f"judge {untrained[0]} has no weights: nothing trains it")
        return unique(judges)


class LowDoseMethod:
    """Common parts of low-dose recipes.

    Batches hold "input" and "target" in HU, for tasks "labels", and for several slices their neighbors, "around" and
    "around_target".
    """

    collapse: Collapse | None = None
    exports: tuple[str, ...] = ("g",)
    _judges: dict[str, nn.Module]

    def __init__(self, settings: LowDoseConfig, stages: tuple[Stage, ...]) -> None:
        self.settings = settings
        self.stages = stages

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`.

        Raises:
            InputError: the data do not give as many slices as the network sees.
        """
        self._require_neighbors(config)
        network = self.settings.network.build(in_channels=self.settings.slices, out_channels=1)
        if self.settings.output == "residual":
            start_from_identity(network)
        if self.settings.initial_weights is not None:
            from ctrestoration.models.weights import load_into

            load_into(network, self.settings.initial_weights, self.form)
        self._judges = {judge.name: Frozen(judge.build()) for judge in self.settings.judges}
        return Parts({"g": network}, {"g": ("g",)})

    @property
    def form(self) -> dict[str, Any]:
        """What networks are given and what they answer, as in the header of their weights."""
        return {"task": "reconstruction", "slices": self.settings.slices, "reconstruction": self.settings.output}

    def _require_neighbors(self, config: RunConfig) -> None:
        seen = self.settings.slices
        for name, source in (("train", config.data.train), ("validation", config.data.validation)):
            if source is None:
                continue
            simulated = source.name == "lowdose"
            given = source.slices if simulated else 1
            if given == seen:
                continue
            way = (
                f"set data.{name}.slices to {seen}" if simulated else "only lowdose data, simulated while training, do"
            )
            raise InputError(f"The network sees {seen} slices (method.slices), data.{name} gives {given}: {way}.")

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`: the judges follow to the device."""
        device = next(parts.modules["g"].parameters()).device
        for judge in self._judges.values():
            judge.to(device)

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """See `Method.epoch_end`: nothing to keep."""

    def restore(self, batch: Batch, parts: Parts) -> Tensor:
        """The reconstruction in HU."""
        return self.restored(parts.modules["g"], batch)

    def restored(self, network: nn.Module, batch: Batch) -> Tensor:
        """The reconstruction in HU by any network of the same kind."""
        around = batch["around"] if self.settings.slices > 1 else None
        return reconstruct_image(network, batch["input"], self.settings.output, around)

    def pixels(self, output: Tensor, batch: Batch, kind: str = "mse") -> Tensor:
        """A pixel loss over the whole slice, by default the published one; outside the circle all is equal."""
        return pixel_loss(kind, output, batch["target"], torch.ones_like(output))

    def validate(self, stage: Stage, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """See `scores`."""
        return self.scores(self.restore(batch, parts), batch, parts)

    def scores(self, output: Tensor, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """PSNR (range 4072 HU, not clipped) and RMSE in the circle, change of a full-dose image, the judges' scores."""
        full_dose = {**batch, "input": batch["target"]}
        if self.settings.slices > 1:
            full_dose["around"] = batch["around_target"]
        unchanged = self.restore(full_dose, parts)
        inside = circle_weights(output)
        metrics = {
            "psnr_db": circle_psnr(output, batch["target"]),
            "input_psnr_db": circle_psnr(batch["input"], batch["target"]),
            "rmse_hu": masked_mean((output - batch["target"]) ** 2, inside).sqrt(),
            "drift_hu": masked_mean((unchanged - batch["target"]).abs(), inside),
        }
        for judge in self.settings.judges:
            metrics |= task_metrics(judge, self._judges[judge.name], output, batch, "judge_")
        return metrics

    def preview(self, stage: Stage, batch: Batch, parts: Parts) -> list[NDArray[np.float32]]:
        """See `Method.preview`."""
        pictures = [batch["input"], self.restore(batch, parts), batch["target"]]
        return [picture[0, 0].float().cpu().numpy() for picture in pictures]

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        return {
            "network": {
                "name": self.settings.network.name,
                "options": self.settings.network.options(in_channels=self.settings.slices, out_channels=1),
            },
            **self.form,
            "inputs": ["input"],
            "input": "low-dose image, one slice, not clipped"
            if self.settings.slices == 1
            else f"low-dose image, {self.settings.slices} neighboring slices from the feet up, not clipped",
            "output": "what to add, HU / 1000" if self.settings.output == "residual" else "logit of LoDoPaB's scale",
        }


class TaskMethod(LowDoseMethod):
    """Low-dose recipes with task networks: `t_<name>` in the parts where trained here, kept apart where given.

    Frozen ones have the same weights and statistics after training as before, which is checked at every epoch's end.
    """

    tasks: tuple[TaskConfig, ...]
    moving_tasks: frozenset[str] = frozenset()
    """Stages in which task networks move."""

    def __init__(self, settings: LowDoseConfig, stages: tuple[Stage, ...], tasks: tuple[TaskConfig, ...]) -> None:
        super().__init__(settings, stages)
        self.tasks = tasks
        self.exports = ("g", *(f"t_{task.name}" for task in tasks if not task.given))
        self._frozen: dict[str, Frozen] = {}
        self._digests: dict[str, str] = {}

    def build(self, config: RunConfig) -> Parts:
        """See `Method.build`: `g` first, so that it starts alike whatever the tasks are."""
        parts = super().build(config)
        self._frozen = {task.name: Frozen(task.build()) for task in self.tasks if task.given}
        trained = [task for task in self.tasks if not task.given]
        parts.modules |= {f"t_{task.name}": task.build() for task in trained}
        parts.owners["t"] = tuple(f"t_{task.name}" for task in trained)
        return parts

    def enter(self, stage: Stage, run: RunDirectory, parts: Parts) -> None:
        """See `Method.enter`."""
        super().enter(stage, run, parts)
        device = next(parts.modules["g"].parameters()).device
        for network in self._frozen.values():
            network.to(device)
        self._digests = {}  # a checkpoint may be loaded after this: taken at the first step

    def epoch_end(self, stage: Stage, epoch: int, run: RunDirectory, parts: Parts) -> None:
        """Check that what is frozen did not move.

        Raises:
            RuntimeError: it did; a defect.
        """
        for name, digest in self._digests.items():
            if state_digest(self.task_network(name, parts)) != digest:
                raise RuntimeError(f"the frozen network of task {name!r} moved in stage {stage.name!r}")

    def task_network(self, name: str, parts: Parts) -> nn.Module:
        """The network of a task."""
        return self._frozen[name] if name in self._frozen else parts.modules[f"t_{name}"]

    def task_losses(self, output: Tensor, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """Losses of images in HU through the frozen networks, by task."""
        return {task.name: task.loss_of(self.task_network(task.name, parts), output, batch) for task in self.tasks}

    def note_frozen(self, parts: Parts) -> None:
        """Remember what the frozen networks are; called in every step, works in the first."""
        if not self._digests:
            self._digests = {task.name: state_digest(self.task_network(task.name, parts)) for task in self.tasks}

    def segment_loss(self, batch: Batch, parts: Parts) -> Tensor:
        """Loss of the task networks trained here on full-dose images, arXiv 2511.07094, Eq. 4."""
        losses = [
            task.loss_of(parts.modules[f"t_{task.name}"], batch["target"], batch, training=True)
            for task in self.tasks
            if not task.given
        ]
        return torch.stack(losses).sum()

    def full_dose_scores(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """Scores of the task networks on full-dose images."""
        metrics: dict[str, Tensor] = {}
        for task in self.tasks:
            metrics |= task_metrics(task, self.task_network(task.name, parts), batch["target"], batch, "full_dose_")
        return metrics

    def scores(self, output: Tensor, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """As `LowDoseMethod.scores`, and the scores of every task on the output and on the full dose."""
        metrics = super().scores(output, batch, parts) | self.full_dose_scores(batch, parts)
        for task in self.tasks:
            metrics |= task_metrics(task, self.task_network(task.name, parts), output, batch)
        return metrics

    def describe(self, module: str) -> dict[str, object]:
        """See `Method.describe`."""
        for task in self.tasks:
            if module == f"t_{task.name}":
                return task.describe()
        about = super().describe(module)
        about["tasks"] = [{"name": task.name, **task.describe()} for task in self.tasks]
        return about


def task_metrics(
    task: TaskConfig, network: nn.Module, image: Tensor, batch: Batch, prefix: str = ""
) -> dict[str, Tensor]:
    """Scores of a task on images in HU, named "<prefix><task>_<score>"."""
    if "labels" not in batch:
        raise InputError(
            "The data have no labels, which tasks need: use lowdose data, or dataset build --task lowdose."
        )
    scores = task.scores_of(network, image, batch)
    return {f"{prefix}{task.name}_{name}": value for name, value in scores.items()}


def score_name(tasks: Sequence[TaskConfig], prefix: str = "") -> str:
    """The score of the first task, as `task_metrics` names it."""
    return f"{prefix}{tasks[0].name}_{tasks[0].head(False).metric}"


def unique(tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
    """The tasks, refused where two have one name."""
    names = [task.name for task in tasks]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two tasks are called {twice[0]}: give each a name of its own")
    return tasks


def circle_weights(image: Tensor) -> Tensor:
    """1 in the circle, 0 outside, in the shape of the image."""
    inside = torch.from_numpy(circle_mask(tuple(image.shape[-2:]))).to(image)
    return inside.expand_as(image)


def circle_psnr(image: Tensor, target: Tensor) -> Tensor:
    """PSNR in dB [sample] in the circle; peak 4072 HU, as 1 on LoDoPaB's scale; nothing is clipped."""
    error = masked_mean((image - target) ** 2, circle_weights(image))
    return 10 * torch.log10(RANGE_HU**2 / error.clamp(min=1e-6))
