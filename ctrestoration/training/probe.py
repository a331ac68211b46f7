"""Before step 1: does a step fit into memory, how large is a checkpoint, which variant is fastest, how long is it all?

Works on networks of its own, which are thrown away: the training that follows starts untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch

from ctrestoration.jobs.outcome import OutOfMemoryError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training import randomness
from ctrestoration.training.hardware import Choices, decide, is_out_of_memory, place, timed
from ctrestoration.training.judge import deciding
from ctrestoration.training.keys import Key, order
from ctrestoration.training.loader import Loader
from ctrestoration.training.method import Batch, Method
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.runfile import RunConfig
from ctrestoration.training.sources import Source
from ctrestoration.training.update import NonFiniteError, Updater, make_optimizers
from ctrestoration.training.validation import Validator

_TIMED_STEPS = 5


class Probe:
    """Steps on a copy.

    Attributes:
        parameters: module name -> number of parameters.
        checkpoint_bytes: estimated size of a checkpoint: weights, and two moments for each in the optimizer.
        seconds_per_step: after `decide`, of the first stage.
    """

    def __init__(
        self,
        method: Method,
        config: RunConfig,
        run: RunDirectory,
        device: torch.device,
        sources: tuple[Source, Source | None],
        world: int,
    ) -> None:
        source, self._validation = sources
        self._method, self._config, self._run, self._device = method, config, run, device
        stage = method.stages[0].name
        share = config.data.batch_size // world
        indices = order(config.seed, stage, 0, len(source))[:share]
        keys = [[Key(config.seed, stage, 0, index) for index in indices]]
        self._batch: Batch = next(Loader(source, damaged_limit=len(source)).batches(keys))
        modules = method.build(config).modules
        self.parameters = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
        self.checkpoint_bytes = 3 * 4 * sum(self.parameters.values())
        self.seconds_per_step = 0.0

    def decide(self, say: Callable[[str], None]) -> tuple[Choices, int]:
        """Precision and layout, and into how many micro-batches a step has to be cut.

        Raises:
            OutOfMemoryError: no step fits, or the run file asks to stop rather than to cut.
            InputError: the run file judges by a metric that the first stage does not measure.
        """
        micro_batches = self._fitting(say)
        hardware = self._config.hardware

        def seconds(precision: str, channels_last: bool) -> float:
            step = self._stepper(Choices(precision, channels_last, {}), micro_batches)
            return timed(step, hardware.probe_steps, self._device)

        choices = decide(hardware, seconds, self._device)
        self.seconds_per_step = timed(self._stepper(choices, micro_batches), _TIMED_STEPS, self._device)
        return choices, micro_batches

    def _fitting(self, say: Callable[[str], None]) -> int:
        micro_batches = self._config.data.micro_batches
        share = len(self._batch["index"])
        while True:
            try:
                updater = self._updater(Choices("fp32", False, {}))
                self._step(updater, micro_batches)
                self._check_metric(updater)
                return micro_batches
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                twice = 2 * micro_batches
                if self._config.recovery.out_of_memory == "stop" or share % twice:
                    raise OutOfMemoryError(
                        f"A step of {share} samples in {micro_batches} micro-batches does not fit into memory: set "
                        f"data.micro_batches to {twice}, or use smaller images."
                    ) from error
                say(f"A trial step did not fit into memory; training with {twice} micro-batches.")
                micro_batches = twice

    def _stepper(self, choices: Choices, micro_batches: int) -> Callable[[], None]:
        updater = self._updater(choices)
        return lambda: self._step(updater, micro_batches)

    def _updater(self, choices: Choices) -> Updater:
        stage = self._method.stages[0]
        randomness.seed_everything(self._config.seed, "probe")
        parts = self._method.build(self._config)
        place(parts, self._device, choices, compiled=False)
        self._method.enter(stage, self._run, parts)
        make_optimizers(parts, stage, self._config.optim, self._device)
        alone = Ranks()
        alone.world = 1  # a trial of this process, in which the others take no part
        return Updater(self._method, parts, self._config.optim, choices, alone, self._device)

    def _step(self, updater: Updater, micro_batches: int) -> None:
        # A NaN here is met again, and answered, in the training itself.
        with suppress(NonFiniteError):
            updater.step(self._method.stages[0], self._batch, micro_batches, rate_factor=0.0)

    def _check_metric(self, updater: Updater) -> None:
        """A misspelled metric is told before step 1 and not after an epoch."""
        if self._validation is not None:
            loader = Loader(self._validation, damaged_limit=len(self._validation))
            validator = Validator(updater, loader, self._config.seed, self._config.data.batch_size)
            stage = self._method.stages[0]
            deciding(validator.metrics(stage, most=self._config.data.batch_size), stage, self._config)
