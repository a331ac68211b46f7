"""The loop: stages, epochs, steps; saving, going back, stopping. What is good, `training.judge` says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ctrestoration.errors import Cancelled, InputError
from ctrestoration.jobs.outcome import DataRefusedError, DivergedError, OutOfMemoryError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training import checkpoints, randomness
from ctrestoration.training.config import SCHEMA_VERSION
from ctrestoration.training.hardware import Choices, is_out_of_memory, memory_facts, place
from ctrestoration.training.judge import Judge, show_best
from ctrestoration.training.keys import Key, order
from ctrestoration.training.loader import Loader
from ctrestoration.training.method import Method, Stage
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.recorder import Recorder
from ctrestoration.training.runfile import RunConfig
from ctrestoration.training.schedule import factor
from ctrestoration.training.sources import Source
from ctrestoration.training.state import Averages, Progress, all_finite
from ctrestoration.training.update import NonFiniteError, Updater, make_optimizers
from ctrestoration.training.validation import Validator

_WAIT_WARNING = 0.2
_MEASURED = 16
"""Batches by which running statistics of averaged weights are measured."""


class Trainer:
    """One run, from its first or its next step to the end of its last stage.

    Args:
        method: what is trained, and how.
        config: the run file.
        run: where everything is written.
        recorder: the writer of the run directory.
        ranks: this process among its peers.
        device: where to compute.
        choices: precision and memory layout.
        sources: training and validation data.
        stop_requested: asked after each step.
    """

    def __init__(
        self,
        method: Method,
        config: RunConfig,
        run: RunDirectory,
        recorder: Recorder,
        ranks: Ranks,
        device: torch.device,
        choices: Choices,
        sources: tuple[Source, Source | None],
        stop_requested: Callable[[], str | None],
    ) -> None:
        self.method, self.config, self.run, self.recorder = method, config, run, recorder
        self.ranks, self.device, self._stop_requested = ranks, device, stop_requested
        self.progress = Progress(micro_batches=config.data.micro_batches)
        randomness.seed_everything(config.seed, "build")
        self.parts = method.build(config)
        place(self.parts, device, choices, config.hardware.compile)
        self.updater = Updater(method, self.parts, config.optim, choices, ranks, device)
        self.averages = Averages.asked_for(config.ema, method, self.parts)
        training, validation = sources
        self.loader = Loader(
            training,
            workers=config.data.workers,
            damaged_limit=config.data.damaged_limit,
            warn=self._warn,
            pin=device.type == "cuda",
            device=device,
        )
        self.steps_per_epoch = len(training) // config.data.batch_size
        self.judge = None
        if validation is not None:
            checker = Loader(
                validation,
                workers=config.data.workers,
                warn=self._warn,
                device=device if ranks.first else None,  # the others do not validate
            )
            validator = Validator(self.updater, checker, config.seed, config.data.batch_size)
            self.judge = Judge(validator, config, run, recorder, ranks, device, self.steps_per_epoch)
        self.total = self.steps_per_epoch * sum(stage.epochs for stage in method.stages)
        self._said_waiting = False

    # Going on and going back ------------------------------------------------------------------------------------

    def train(self) -> None:
        """Run to the end.

        Raises:
            Cancelled: a stop was asked for; a checkpoint was saved.
            DivergedError: NaN or infinity again after the allowed rollbacks.
            OutOfMemoryError: a step does not fit into memory.
            StorageError: the run directory cannot be written.
            DataRefusedError: the training data are damaged.
        """
        if not self._continue_from_checkpoint():
            self._save()
        self.recorder.status.update(total=self.total)
        self.recorder.set_state("running")
        while self.progress.stage < len(self.method.stages):
            stage = self.method.stages[self.progress.stage]
            try:
                if not self.progress.entered:
                    self._enter(stage)
                self._epoch(stage)
            except NonFiniteError as error:
                self._roll_back(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error)

    def _enter(self, stage: Stage) -> None:
        randomness.seed_everything(self.config.seed, "stage", stage.name)
        self.method.enter(stage, self.run, self.parts)
        make_optimizers(self.parts, stage, self.config.optim, self.device)
        self.averages = Averages.asked_for(self.config.ema, self.method, self.parts)
        self.progress.begin_stage()
        show_best(stage, self.progress, self.config, self.recorder)
        self.recorder.beat(stage=stage.name, epoch=0, step=self.progress.step)
        self.recorder.event("stage", f"Stage {stage.name!r} begins: {stage.epochs} epochs.")

    def _continue_from_checkpoint(self) -> bool:
        """Load the newest checkpoint that is whole; False where there is none."""
        refused: list[checkpoints.Refused] = []
        found = next(checkpoints.usable(self.run.checkpoints, refused), None)
        for one in refused:
            self._warn(f"The checkpoint {one.path.name} was not used: {one.reason}.", {})
        if found is None:
            return False
        path, content = found
        if content["config"] != self.config.digest():
            raise InputError(f"{self.run.config} was changed after the run began: undo that, or start a new run.")
        self._check_world(content["world_size"])
        self._load(content)
        self.recorder.event("resumed", f"Going on from step {self.progress.step} ({path.name}).")
        return True

    def _check_world(self, world: int) -> None:
        if world == self.ranks.world:
            return
        if not self.config.hardware.elastic:
            raise InputError(
                f"The run was trained by {world} processes and cannot go on with {self.ranks.world}: "
                "the result would differ. Use the same number, or set hardware.elastic in a new run."
            )
        self._warn(f"Going on with {self.ranks.world} instead of {world} processes: not bitwise comparable.", {})

    def _load(self, content: dict[str, Any]) -> None:
        """Enter first, then load, then restore the random states: entering may itself draw or change weights."""
        self.progress = Progress.from_json(content["progress"])
        if self.progress.entered:
            stage = self.method.stages[self.progress.stage]
            self.method.enter(stage, self.run, self.parts)
            make_optimizers(self.parts, stage, self.config.optim, self.device)
            for name, state in content["optimizers"].items():
                self.parts.optimizers[name].load_state_dict(state)
            self.recorder.beat(stage=stage.name, epoch=self.progress.epoch, step=self.progress.step)
        for name, state in content["modules"].items():
            self.parts.modules[name].load_state_dict(state)
        if self.averages is not None:
            for name, shadow in content["averages"].items():
                self.averages.shadows[name] = {key: value.to(self.device) for key, value in shadow.items()}
        self.loader.skipped = self.progress.skipped
        stage = self.method.stages[min(self.progress.stage, len(self.method.stages) - 1)]
        show_best(stage, self.progress, self.config, self.recorder)
        if self.ranks.first:
            self.recorder.rewind(content["metrics_offset"], content["metrics_seq"])
        states = content["random"]
        randomness.restore(states[min(self.ranks.rank, len(states) - 1)])

    def _save(self) -> None:
        """Write a checkpoint.

        Raises:
            NonFiniteError: a weight is NaN or infinite; nothing is written.
        """
        if not all_finite(self.parts.modules):
            raise NonFiniteError("a weight is NaN or infinite", [])
        states = self.ranks.gather_states(randomness.capture(), self.device)
        if not self.ranks.first:
            return
        self.progress.skipped = self.loader.skipped
        offset, seq = self.recorder.settle()
        content = {
            "schema": SCHEMA_VERSION,
            "config": self.config.digest(),
            "torch": str(torch.__version__),
            "world_size": self.ranks.world,
            "progress": self.progress.to_json(),
            "modules": {name: module.state_dict() for name, module in self.parts.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.parts.optimizers.items()}
            if self.progress.entered
            else {},
            "averages": self.averages.shadows if self.averages else {},
            "random": states,
            "metrics_offset": offset,
            "metrics_seq": seq,
        }
        folder, keep = self.run.checkpoints, self.config.checkpoint.keep
        path = self.recorder.guarded(lambda: checkpoints.save(folder, self.progress.step, content), "a checkpoint")
        self.recorder.guarded(lambda: checkpoints.prune(folder, keep, self.progress.best_step), "its checkpoints")
        self.recorder.event("checkpoint", f"Saved {path.name}.")

    def _go_back(self, change: Callable[[Progress], None]) -> None:
        """To the newest checkpoint, with a change that is itself saved before going on."""
        found = next(checkpoints.usable(self.run.checkpoints, []), None)
        if found is None:
            raise DataRefusedError(f"No usable checkpoint is left in {self.run.checkpoints}.")
        self._load(found[1])
        change(self.progress)
        self._save()

    def _roll_back(self, error: NonFiniteError) -> None:
        data = {"indices": error.indices, "seed": self.config.seed}
        self.recorder.event("nan", f"Not applied: {error.what}.", "warning", data)
        allowed = self.config.recovery.nan_rollbacks
        if self.progress.rollbacks >= allowed:
            raise DivergedError(
                f"The loss became NaN or infinite {allowed + 1} times, at last in step {self.progress.step + 1} "
                f"({error.what}): lower optim.lr, or look at the samples {error.indices} of this batch."
            )

        def slower(progress: Progress) -> None:
            progress.rollbacks += 1
            progress.lr_scale *= self.config.recovery.lr_factor

        self._go_back(slower)
        self.recorder.event(
            "rollback",
            f"Back to step {self.progress.step} with {self.progress.lr_scale:g} of the learning rate "
            f"(rollback {self.progress.rollbacks} of {allowed}).",
            "warning",
        )

    def _shrink(self, error: BaseException) -> None:
        """Answer a step that did not fit into memory."""
        data = memory_facts(self.device)
        self.recorder.event("oom", f"Step {self.progress.step + 1} did not fit into memory.", "warning", data)
        micro = 2 * self.progress.micro_batches
        share = self.config.data.batch_size // self.ranks.world
        if self.config.recovery.out_of_memory == "stop" or share % micro:
            raise OutOfMemoryError(
                f"A step of {share} samples in {micro // 2} micro-batches does not fit into memory: set "
                f"data.micro_batches to {micro}, recovery.out_of_memory to halve_batch_and_accumulate, or use smaller "
                "images."
            ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

        def halve(progress: Progress) -> None:
            progress.micro_batches = micro

        self._go_back(halve)
        self._warn(f"Going on with {micro} micro-batches: not bitwise comparable with a run that had room.", {})

    # One epoch --------------------------------------------------------------------------------------------------

    def _epoch(self, stage: Stage) -> None:
        progress = self.progress
        keys = self._keys(stage)[progress.step_in_epoch :]
        asked = time.perf_counter()
        waited = worked = 0.0
        for batch in self.loader.batches(keys):
            begun = time.perf_counter()
            values = self.updater.step(stage, batch, progress.micro_batches, self._rate_factor(stage))
            if self.averages is not None:
                self.averages.update(self.parts)
            progress.step += 1
            progress.step_in_epoch += 1
            self._record(stage, values)
            waited, worked = waited + begun - asked, worked + time.perf_counter() - begun
            if progress.step % self.config.log.every_steps == 0:
                self._record_speed(stage, waited, worked)
                waited = worked = 0.0
            self._stop_if_asked()
            if progress.step % self.config.checkpoint.save_every == 0 and progress.step_in_epoch < self.steps_per_epoch:
                self._save()
            asked = time.perf_counter()
        self._end_epoch(stage)

    def _keys(self, stage: Stage) -> list[list[Key]]:
        """This process's share of every batch of the present epoch."""
        size, seed, epoch = self.config.data.batch_size, self.config.seed, self.progress.epoch
        indices = order(seed, stage.name, epoch, len(self.loader.source))
        share = size // self.ranks.world
        first = self.ranks.rank * share
        batches = [indices[start : start + size] for start in range(0, self.steps_per_epoch * size, size)]
        return [[Key(seed, stage.name, epoch, index) for index in batch[first : first + share]] for batch in batches]

    def _rate_factor(self, stage: Stage) -> float:
        step = self.progress.epoch * self.steps_per_epoch + self.progress.step_in_epoch
        return self.progress.lr_scale * factor(self.config.optim.schedule, step, self.steps_per_epoch, stage.epochs)

    def _record(self, stage: Stage, values: dict[str, float]) -> None:
        progress = self.progress
        position = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step}
        self.recorder.metric("train", position, values)
        self.recorder.beat(**position)
        watch = self.method.collapse
        if watch is None or watch.value not in values:
            return
        progress.collapse = progress.collapse + 1 if values[watch.value] < watch.below else 0
        if progress.collapse == watch.steps:
            self._warn(
                f"{watch.value} stayed below {watch.below:g} for {watch.steps} steps: one side of the adversarial "
                "training has won, and the other learns nothing any more.",
                {"value": values[watch.value]},
            )

    def _record_speed(self, stage: Stage, waited: float, worked: float) -> None:
        share = waited / max(waited + worked, 1e-9)
        position = {"stage": stage.name, "epoch": self.progress.epoch, "step": self.progress.step}
        count = min(self.config.log.every_steps, self.progress.step_in_epoch)
        values = {"seconds_per_step": (waited + worked) / count, "data_wait": share, **memory_facts(self.device)}
        self.recorder.metric("system", position, values)
        if share > _WAIT_WARNING and not self._said_waiting:
            self._said_waiting = True
            self._warn(f"{100 * share:.0f} % of the time is spent waiting for data: raise data.workers.", values)

    def _stop_if_asked(self) -> None:
        reason = self._stop_requested()
        if not self.ranks.maximum([float(reason is not None)], self.device)[0]:
            return
        self.recorder.set_state("cancelling", reason or "")
        self._save()
        raise Cancelled(
            f"Stopped after step {self.progress.step} of {self.total} ({reason or 'asked elsewhere'}); "
            f"'ctrestoration resume {self.run.root}' goes on."
        )

    # End of an epoch --------------------------------------------------------------------------------------------

    def _end_epoch(self, stage: Stage) -> None:
        progress = self.progress
        if self.ranks.first:
            self.method.epoch_end(stage, progress.epoch, self.run, self.parts)
        last = progress.epoch + 1 == stage.epochs
        if self.averages is not None and (last or (self.judge is not None and self.judge.due(stage, progress))):
            self._measure_statistics(stage, self.averages)
        early = self.judge is not None and self.judge.after_epoch(stage, progress, self.parts, self.averages)
        progress.epoch += 1
        progress.step_in_epoch = 0
        if early or last:
            self._hand_on(stage)
            progress.stage, progress.epoch, progress.entered = progress.stage + 1, 0, False
        self._save()

    def _measure_statistics(self, stage: Stage, averages: Averages) -> None:
        """Running statistics of the averages, from the first batches of the epoch; nothing else of the run moves.

        Of several processes the first one's count, as in a step.
        """
        state = randomness.capture()
        self.updater.set_modes(stage)
        with averages.measured(self.parts) as wanted:
            if wanted:
                for batch in self.loader.batches(self._keys(stage)[:_MEASURED], again=True):
                    self.updater.pass_through(stage, batch, averages.shadows, self.progress.micro_batches)
                self.ranks.share_buffers(self.parts.modules.values())
        randomness.restore(state)

    def _hand_on(self, stage: Stage) -> None:
        """Put the best weights of a stage, averaged where the run asks for it, into the networks."""
        best = self.progress.best_step if stage.hand_on == "best" else None
        weights = dict(self.averages.shadows) if self.averages else {}
        if best is not None and best != self.progress.step:
            content = checkpoints.read(checkpoints.path_of(self.run.checkpoints, best))
            if content is None:
                self._warn(
                    f"The best checkpoint of stage {stage.name!r} is damaged or gone: its last weights count.", {}
                )
                self.progress.best, self.progress.best_step = None, None
            else:
                weights = {**content["modules"], **content["averages"]}
        for name, state in weights.items():
            self.parts.modules[name].load_state_dict(state)

    def _warn(self, message: str, data: dict[str, Any]) -> None:
        self.recorder.event("warning", message, "warning", data)
