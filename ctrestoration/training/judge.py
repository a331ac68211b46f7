"""After an epoch: validation and pictures where they are due, the best weights, and whether a stage should end."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training import preview
from ctrestoration.training.method import Parts, Stage
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.recorder import Recorder
from ctrestoration.training.runfile import RunConfig
from ctrestoration.training.state import Averages, Progress
from ctrestoration.training.validation import Validator


class Judge:
    """Says how good the weights of a run are, on data that no update sees.

    Args:
        validator: runs the method over the validation data.
        config: the run file.
        run: where pictures are drawn.
        recorder: the writer of the run directory.
        ranks: this process among its peers; the first one measures for all.
        device: where is computed.
        steps_per_epoch: of the training; pictures are numbered by epochs of the run.
    """

    def __init__(
        self,
        validator: Validator,
        config: RunConfig,
        run: RunDirectory,
        recorder: Recorder,
        ranks: Ranks,
        device: torch.device,
        steps_per_epoch: int,
    ) -> None:
        self._validator, self._config, self._run, self._recorder = validator, config, run, recorder
        self._ranks, self._device, self._steps_per_epoch = ranks, device, steps_per_epoch

    def due(self, stage: Stage, progress: Progress) -> bool:
        """Whether the end of this epoch is a time to validate or to draw."""
        return any(self._due(every, stage, progress) for every in self._intervals)

    @property
    def _intervals(self) -> tuple[int, int]:
        return self._config.validation.every_epochs, self._config.preview.every_epochs

    @staticmethod
    def _due(every: int, stage: Stage, progress: Progress) -> bool:
        number = progress.epoch + 1
        return every > 0 and (number % every == 0 or number == stage.epochs)

    def after_epoch(self, stage: Stage, progress: Progress, parts: Parts, averages: Averages | None) -> bool:
        """Validate and draw where it is due; whether the stage should end early.

        Args:
            stage: the present one.
            progress: within it, before the epoch is counted; a new best value is noted in it.
            parts: the networks.
            averages: what is judged in their place, where there are any.
        """
        due, drawn = (self._due(every, stage, progress) for every in self._intervals)
        value = 0.0
        if self._ranks.first:
            with averages.applied(parts) if averages else nullcontext():
                if due:
                    value = self._measure(stage, progress)
                if drawn:
                    self._draw(stage, progress)
        return due and self._note(stage, progress, self._ranks.from_first([value], self._device)[0])

    def _measure(self, stage: Stage, progress: Progress) -> float:
        metrics = self._validator.metrics(stage)
        position = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step}
        self._recorder.metric("val", position, metrics)
        return deciding(metrics, stage, self._config)

    def _note(self, stage: Stage, progress: Progress, value: float) -> bool:
        """Note a new best value; True where patience is at its end."""
        settings = self._config.validation
        sign = 1 if (settings.better or stage.better) == "higher" else -1
        if progress.best is None or sign * value > sign * progress.best:
            progress.best, progress.best_step, progress.waiting = value, progress.step, 0
            show_best(stage, progress, self._config, self._recorder)
            return False
        progress.waiting += 1
        return settings.patience is not None and progress.waiting >= settings.patience

    def _draw(self, stage: Stage, progress: Progress) -> None:
        number = progress.step // self._steps_per_epoch
        rows = self._validator.pictures(stage, self._config.preview.count)
        gray = preview.picture(rows, self._config.preview.window)
        path = self._run.previews / f"{number:04d}.png"
        self._recorder.guarded(
            lambda: replace_file(path, lambda part: preview.write_png(part, gray), durable=False), "a preview"
        )


def show_best(stage: Stage, progress: Progress, config: RunConfig, recorder: Recorder) -> None:
    """Tell the best value of a stage in status.json."""
    best = {"metric": config.validation.metric or stage.metric, "value": progress.best, "step": progress.best_step}
    recorder.status.update(best=best if progress.best is not None else None)


def deciding(metrics: dict[str, float], stage: Stage, config: RunConfig) -> float:
    """The metric that decides in a stage.

    Raises:
        InputError: the run file names one that the recipe does not measure in this stage.
    """
    wanted = config.validation.metric or stage.metric
    if wanted not in metrics:
        raise InputError(
            f"validation.metric {wanted!r} is not measured in stage {stage.name!r}: {', '.join(sorted(metrics))} are."
        )
    return metrics[wanted]
