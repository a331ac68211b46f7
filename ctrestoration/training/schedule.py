"""Learning rates as a pure function of the position: nothing to save, nothing that can drift on resume."""

from __future__ import annotations

import math

from ctrestoration.training.config import ScheduleConfig


def factor(settings: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Factor on the base learning rate.

    Args:
        settings: the shape.
        step: steps done in this stage, from 0.
        steps_per_epoch: length of an epoch.
        epochs: length of the stage.

    >>> factor(ScheduleConfig(name="cosine", minimum=0.0), 50, 10, 10)
    0.5
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.name == "constant":
        return 1.0
    if settings.name == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
        return settings.factor**passed
    share = step / max(1, steps_per_epoch * epochs)
    return round(settings.minimum + (1 - settings.minimum) * 0.5 * (1 + math.cos(math.pi * share)), 12)
