"""The run file: every setting of a training, its range and its default.

`docs/training.md` and the forms of 3D Slicer are made from these classes, so each field says what it is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

SCHEMA_VERSION = 1


class Strict(BaseModel):
    """Base of every part of the run file: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Relative paths are relative to the run file."""
    folder = (info.context or {}).get("folder")
    path = path.expanduser()
    return path if path.is_absolute() or folder is None else Path(folder) / path


def _rises(window: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
    low, high = window
    if not low < high:
        raise ValueError(f"{info.field_name} has to rise, {low:g} to {high:g} does not")
    return window


Window = Annotated[tuple[float, float], AfterValidator(_rises)]
"""(low, high) in HU."""

DataPath = Annotated[Path, AfterValidator(_resolve)]
PositiveInt = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=10)]


def one_of(classes: tuple[Any, ...]) -> Any:
    """The type of a part of the run file whose key `name` says which of the classes it is."""
    if len(classes) == 1:
        return classes[0]
    return Annotated[Union[classes], Field(discriminator="name")]  # noqa: UP007 - made of what there is


class ScheduleConfig(Strict):
    """How the learning rate moves over a stage; a pure function of the step, so resuming needs no state."""

    name: Literal["constant", "cosine", "step"] = Field(
        default="cosine", description="Shape of the schedule over a stage."
    )
    minimum: float = Field(default=0.01, ge=0, le=1, description="cosine: the last rate as a share of the first.")
    milestones: tuple[PositiveInt, ...] = Field(
        default=(), description="step: after so many epochs of the stage the rate drops."
    )
    factor: float = Field(default=0.5, gt=0, le=1, description="step: the factor at each milestone.")
    warmup_steps: int = Field(default=0, ge=0, description="Steps at the start of a stage with a linearly rising rate.")


class OptimConfig(Strict):
    """The optimizers; several ones of a recipe share these settings, rates can differ by stage."""

    name: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="Kind of optimizer.")
    lr: LearningRate = Field(default=2e-4, description="Learning rate, unless a stage gives its own.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999),
        description="Adam's decay rates of the first and second moment; sgd takes the first as momentum.",
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Weight decay.")
    clip_norm: float | None = Field(default=None, gt=0, description="Gradients longer than this are shortened to it.")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="How the learning rate moves.")


class EmaConfig(Strict):
    """A running average of the weights, begun anew with each stage; validated, handed on and published.

    Running statistics of batch normalization do not fit an average: they are measured anew, by 16 training batches.
    """

    decay: float = Field(default=0.999, ge=0, lt=1, description="Share of the old average kept at each step.")
    modules: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Networks that are averaged, by module name; none: the published ones."
    )


class ValidationConfig(Strict):
    """When to validate, what "best" means, and when to stop early."""

    every_epochs: PositiveInt = Field(default=1, description="Validate after every so many epochs.")
    metric: str | None = Field(
        default=None, description="Which validation metric decides about the best weights; none: as the recipe says."
    )
    better: Literal["higher", "lower"] | None = Field(
        default=None, description="Which direction of the metric is better; none: as the recipe says."
    )
    patience: int | None = Field(
        default=None, ge=1, description="End a stage after so many validations without improvement."
    )


class CheckpointConfig(Strict):
    """How often to save, and what to do when the disk is full."""

    save_every: PositiveInt = Field(
        default=200, description="Steps between checkpoints; one more at the end of each epoch."
    )
    keep: int = Field(default=2, ge=1, description="Newest checkpoints to keep, beside the best one.")
    retries: int = Field(default=3, ge=0, le=100, description="Attempts after a failed write before giving up.")
    retry_seconds: float = Field(default=30, ge=0, le=3600, description="Pause before each of them.")


class RecoveryConfig(Strict):
    """What to do when a step goes wrong."""

    nan_rollbacks: int = Field(
        default=2, ge=0, le=10, description="How often to go back to a checkpoint after NaN or infinity."
    )
    lr_factor: float = Field(default=0.5, gt=0, le=1, description="Factor on the learning rate at each of these.")
    out_of_memory: Literal["stop", "halve_batch_and_accumulate"] = Field(
        default="stop", description="Stop with advice, or go on with twice the micro-batches (not bitwise comparable)."
    )


class HardwareConfig(Strict):
    """Where and how to compute."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a free NVIDIA GPU, else the CPU.")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of the trainer; none: as PyTorch chooses."
    )
    deterministic: bool = Field(
        default=True, description="Same seed, same bits. Off: faster on GPUs, results vary a little."
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32",
        description="bf16: networks run in bfloat16, losses in fp32. On NVIDIA GPUs, fp32 lets convolutions round to "
        "TF32, as PyTorch does, and matrix products, too, unless deterministic.",
    )
    channels_last: bool | Literal["auto"] = Field(
        default=False,
        description="Memory layout of images. true: channels next to each other, which is faster on a CPU; a network "
        "of others must not rely on the usual layout (by view).",
    )
    compile: bool = Field(default=False, description="torch.compile; pays on Linux with CUDA from some 2000 steps.")
    probe_steps: int = Field(
        default=20, ge=3, le=200, description="Timed steps by which every 'auto' above is decided, once."
    )
    elastic: bool = Field(
        default=False, description="Allow resuming with another number of processes (not bitwise comparable)."
    )


class PreviewConfig(Strict):
    """Pictures of the first validation samples: input, output, target."""

    every_epochs: int = Field(default=1, ge=0, description="Draw after every so many epochs; 0: never.")
    count: int = Field(default=3, ge=1, le=16, description="Samples in a picture, one a row.")
    window: Window = Field(default=(-160.0, 240.0), description="Fixed gray window in HU (low, high).")


class LogConfig(Strict):
    """How much is written down."""

    every_steps: PositiveInt = Field(default=20, description="Steps between records of speed and memory.")
