"""How the pixel loss and the losses of tasks become one: a fixed alpha, or one that is found while training.

The squared error counts on LoDoPaB's scale (1 = 4072 HU), so that alpha means what it means in arXiv 2511.07094,
Eq. 9: (1 - alpha) MSE + alpha task. At 32 dB that error is 6e-4 and a Dice loss about 0.3, so their published grid of
0.1 to 0.9 lies wholly where the task rules; equal terms are near alpha 0.002. Hence `normalize`, and the two automatic
ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ctrestoration.networks._lowdose import RANGE_HU
from ctrestoration.training.config import DataPath, Strict, one_of
from ctrestoration.training.method import Losses
from ctrestoration.training.recipes._base import HU_SCALE
from ctrestoration.training.recipes._surgery import SurgeryMethod, gramian_of, weighting

PAPER_SCALE = (RANGE_HU / HU_SCALE) ** 2
"""A squared error in (HU / 1000)^2 over the same on LoDoPaB's scale."""

_SPEED = 50.0  # the learned weights of `uncertainty` move so much faster than the network's


class Fixed(Strict):
    """(1 - alpha) MSE + alpha task, arXiv 2511.07094, Eq. 9."""

    name: Literal["fixed"]
    alpha: float = Field(default=0.1, ge=0, le=1, description="Share of the task; 0: the plain network, bit for bit.")
    normalize: Literal["none", "initial", "gradient"] = Field(
        default="none",
        description="none: as published; initial: each loss divided by its value in the first step; gradient: by the "
        "length of its gradient in the image, so that alpha is the share of the push.",
    )

    def build(self, tasks: Mapping[str, float]) -> Balance:
        """The module that does it."""
        return FixedBalance(self, tasks)


class Uncertainty(Strict):
    """Learned weights: sum of exp(-s) loss / 2 + s / 2; Kendall, Gal, Cipolla, CVPR 2018."""

    name: Literal["uncertainty"]

    def build(self, tasks: Mapping[str, float]) -> Balance:
        """The module that does it."""
        return UncertaintyBalance(tasks)


class Constraint(Strict):
    """The best task that costs no more than so many dB: least task loss with PSNR >= bound."""

    name: Literal["constraint"]
    drop_db: float = Field(default=1.0, ge=0, le=20, description="How much PSNR, below the plain network, may be lost.")
    base_weights: DataPath | None = Field(
        default=None, description="The plain network, as weights; none: trained first, in a stage of its own."
    )
    psnr_db: float | None = Field(
        default=None, gt=0, description="The bound itself (LoDoPaB's range) in place of drop_db and a plain network."
    )
    rate: float = Field(default=0.05, gt=0, le=10, description="How fast the multiplier follows a broken bound.")
    start: float = Field(default=0.1, ge=0, description="The multiplier's first value.")

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if self.psnr_db is not None and self.base_weights is not None:
            raise ValueError("give base_weights with drop_db, or psnr_db, not both")
        return self

    def build(self, tasks: Mapping[str, float]) -> Balance:
        """The module that does it."""
        return ConstraintBalance(self, tasks)


class Surgery(Strict):
    """Gradients of the network that point against each other are made to agree; needs torchjd (the extra `surgery`)."""

    name: Literal["surgery"]
    method: SurgeryMethod = Field(
        default="upgrad",
        description="upgrad: no loss is hindered (arXiv 2406.16232); pcgrad: what opposes another gradient is taken "
        "away (NeurIPS 2020); mgda: the shortest weighted mean (NeurIPS 2018).",
    )
    alpha: float | None = Field(
        default=None, ge=0, le=1, description="Share of the tasks before surgery; none: 0.5. mgda finds it itself."
    )
    normalize: Literal["none", "initial", "gradient"] = Field(
        default="initial", description="As that of `fixed`, before surgery; gradient leaves mgda nothing to weigh."
    )

    @model_validator(mode="after")
    def _mgda_weighs_itself(self) -> Surgery:
        if self.method == "mgda" and self.alpha is not None:
            raise ValueError("mgda finds the shares itself: leave alpha out")
        if self.method == "mgda" and self.normalize == "gradient":
            raise ValueError("mgda weighs by the lengths of gradients: normalize initial or none, not gradient")
        return self

    def build(self, tasks: Mapping[str, float]) -> Balance:
        """The module that does it."""
        return SurgeryBalance(self, tasks)


BalanceConfig: Any = one_of((Fixed, Uncertainty, Constraint, Surgery))


@dataclass(frozen=True)
class Step:
    """What a balance is told about one training step.

    Attributes:
        pixel: mean squared error, (HU / 1000)^2.
        tasks: gives the losses of the tasks by name; not asked where they do not count.
        image: the reconstruction in HU, which both were computed from.
        bound: largest pixel loss that is allowed, where there is a bound.
        parameters: of the network that made the image, those that move.
    """

    pixel: Tensor
    tasks: Callable[[], Mapping[str, Tensor]]
    image: Tensor
    bound: Tensor | None = None
    parameters: Sequence[Tensor] = ()


class Balance(nn.Module):
    """Makes one loss of several; what it learns or counts lies in buffers and parameters, and so in checkpoints.

    Args:
        tasks: name -> weight among the tasks.
    """

    moves = False
    """Whether it has parameters for the optimizer."""

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__()
        total = sum(tasks.values())
        self.shares = {name: weight / total for name, weight in tasks.items()}

    def combine(self, step: Step) -> Losses:
        """One loss of a step's pixel loss and its tasks'."""
        raise NotImplementedError

    def _sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.shares[name] * loss for name, loss in losses.items()]).sum()

    @staticmethod
    def _named(pixel: Tensor, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"mse": pixel / PAPER_SCALE, **{f"{name}_loss": loss for name, loss in losses.items()}}


class FixedBalance(Balance):
    """See `Fixed`."""

    first: Tensor

    def __init__(self, settings: Fixed, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.settings = settings
        self.register_buffer("first", torch.zeros(2))

    def combine(self, step: Step) -> Losses:
        """See `Balance.combine`. Without normalization the sum is `PAPER_SCALE` times Eq. 9."""
        alpha, pixel = self.settings.alpha, step.pixel
        if alpha == 0:
            return Losses(pixel, {"mse": pixel / PAPER_SCALE})
        losses = step.tasks()
        values = self._named(pixel, losses)
        if self.settings.normalize == "gradient":
            return Losses(self._by_gradient(pixel, losses, step.image), values)
        task = self._sum(losses)
        if self.settings.normalize == "none":
            return Losses((1 - alpha) * pixel + alpha * PAPER_SCALE * task, values)
        if not bool(self.first.any()):
            self.first.copy_(torch.stack([pixel.detach(), task.detach()]).clamp(min=1e-8))
        return Losses((1 - alpha) * pixel / self.first[0] + alpha * task / self.first[1], values)

    def _by_gradient(self, pixel: Tensor, losses: Mapping[str, Tensor], image: Tensor) -> Tensor:
        """A loss whose gradient in the image mixes gradients of length 1; its value is the plain mix, for the eye."""
        alpha = self.settings.alpha
        mixed = (1 - alpha) * _unit(_gradient(pixel, image))
        for name, loss in losses.items():
            mixed = mixed + alpha * self.shares[name] * _unit(_gradient(loss, image))
        return _pushed(image, mixed, (1 - alpha) * pixel + alpha * self._sum(losses))


class UncertaintyBalance(Balance):
    """See `Uncertainty`. The weights begin at their optimum for the first batch, s = log loss."""

    moves = True
    begun: Tensor

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.log_scale = nn.Parameter(torch.zeros(1 + len(tasks)))
        self.register_buffer("begun", torch.zeros(1))

    def combine(self, step: Step) -> Losses:
        """See `Balance.combine`; weights among the tasks play no part."""
        losses = step.tasks()
        each = torch.stack([step.pixel, *losses.values()]).clamp(min=1e-8)
        if not bool(self.begun):
            with torch.no_grad():
                self.log_scale.copy_(each.detach().log() / _SPEED)
                self.begun.fill_(1)
        s = _SPEED * self.log_scale
        values = self._named(step.pixel, losses)
        values |= {f"s_{name}": s[n].detach() for n, name in enumerate(("mse", *losses))}
        return Losses((torch.exp(-s) * each / 2 + s / 2).sum(), values)


class ConstraintBalance(Balance):
    """See `Constraint`: task + lambda e, with e = log MSE - log bound and lambda <- max(0, lambda + rate e)."""

    multiplier: Tensor

    def __init__(self, settings: Constraint, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.settings = settings
        self.register_buffer("multiplier", torch.full((1,), settings.start))

    def bound(self, base_mse: Tensor | None) -> Tensor:
        """The largest pixel loss allowed, (HU / 1000)^2, where the plain network has `base_mse` on the same batch."""
        if self.settings.psnr_db is not None:
            return self.multiplier.new_tensor(PAPER_SCALE * 10 ** (-self.settings.psnr_db / 10))
        if base_mse is None:
            raise ValueError("a bound below the plain network needs the plain network's error")
        return base_mse * 10 ** (self.settings.drop_db / 10)

    def combine(self, step: Step) -> Losses:
        """See `Balance.combine`."""
        if step.bound is None:
            raise ValueError("no bound")
        losses = step.tasks()
        excess = torch.log(step.pixel.clamp(min=1e-12)) - torch.log(step.bound.clamp(min=1e-12))
        multiplier = self.multiplier.clone()
        with torch.no_grad():
            self.multiplier.add_(self.settings.rate * excess.detach()).clamp_(min=0)
        values = self._named(step.pixel, losses) | {
            "multiplier": multiplier[0],
            "excess_db": excess * 10 / math.log(10),
        }
        return Losses(self._sum(losses) + multiplier[0] * excess, values)


class SurgeryBalance(Balance):
    """See `Surgery`. Gradients are those of the network's parameters: in the image they hardly ever conflict."""

    first: Tensor

    def __init__(self, settings: Surgery, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.settings = settings
        self.weighting = weighting(settings.method, 1 + len(tasks))
        self.register_buffer("first", torch.zeros(1 + len(tasks)))

    def combine(self, step: Step) -> Losses:
        """See `Balance.combine`. Where nothing conflicts, upgrad and pcgrad are the weighted sum of `Fixed`."""
        losses, image = step.tasks(), step.image
        each = {"mse": step.pixel, **losses}
        pushes = [_gradient(loss, image) for loss in each.values()]
        gramian = gramian_of([_passed_on(image, push, step.parameters) for push in pushes])
        lengths = gramian.diagonal().sqrt().clamp(min=1e-30)
        values = torch.stack(list(each.values())).detach()
        before = self._weights(values.cpu().double(), lengths, list(losses))
        scaled = before[:, None] * gramian * before
        # To lengths up to 1, which solvers' thresholds are made for.
        found = self.weighting(scaled / scaled.diagonal().max().clamp(min=1e-300))
        weights = (found * before).to(values)
        mixed = torch.stack([weight * push for weight, push in zip(weights, pushes, strict=True)]).sum(0)
        recorded = {f"weight_{name}": found[n] for n, name in enumerate(each)}
        recorded |= {f"cosine_{name}": gramian[0, n] / lengths[0] / lengths[n] for n, name in enumerate(losses, 1)}
        return Losses(_pushed(image, mixed, (weights * values).sum()), self._named(step.pixel, losses) | recorded)

    def _weights(self, values: Tensor, lengths: Tensor, names: list[str]) -> Tensor:
        """What each gradient is multiplied by before surgery."""
        weights = torch.ones_like(values)
        if self.settings.method != "mgda":
            alpha = 0.5 if self.settings.alpha is None else self.settings.alpha
            weights = values.new_tensor([1 - alpha, *(alpha * self.shares[name] for name in names)])
        if self.settings.normalize == "gradient":
            return weights / lengths
        if self.settings.normalize == "none":
            return weights * values.new_tensor([1.0, *[PAPER_SCALE] * len(names)])
        if not bool(self.first.any()):
            self.first.copy_(values.clamp(min=1e-8))
        return weights / self.first.to(weights)


def _passed_on(image: Tensor, push: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient in the parameters of what pushes the image so."""
    found = torch.autograd.grad(image, parameters, push, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(one) if gradient is None else gradient for gradient, one in zip(found, parameters, strict=True)
    ]


def _pushed(image: Tensor, gradient: Tensor, shown: Tensor) -> Tensor:
    """A loss with a given gradient in the image; its value is `shown`, for the eye."""
    push = (image * gradient).sum()
    return push - push.detach() + shown.detach()


def _gradient(loss: Tensor, image: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, image, retain_graph=True)
    return gradient


def _unit(gradient: Tensor) -> Tensor:
    return gradient / gradient.norm().clamp(min=1e-12)
