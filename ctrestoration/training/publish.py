"""The end of a run: the best weights as safetensors with a card, each with its digest."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from ctrestoration.models.card import card_text
from ctrestoration.models.weights import save_weights
from ctrestoration.training import checkpoints
from ctrestoration.training.trainer import Trainer


def publish(trainer: Trainer, provenance: dict[str, Any]) -> None:
    """Write `weights/` of a finished run: of the best checkpoint where there was validation, else of the last.

    Args:
        trainer: after its last stage.
        provenance: what provenance.json says.
    """
    progress, run = trainer.progress, trainer.run
    step = progress.best_step if progress.best_step is not None else progress.step
    path = checkpoints.path_of(run.checkpoints, step)
    content = checkpoints.load(path) if path.exists() else None
    if content is None:
        trainer.recorder.event("warning", f"The checkpoint of step {step} is gone: the last weights are published.")
    for name in trainer.method.exports:
        module = trainer.parts.modules[name]
        if content is not None:
            module.load_state_dict({**content["modules"], **content["averages"]}[name])
        about = {
            **trainer.method.describe(name),
            "name": f"{trainer.config.name}-{name}",
            "step": step,
            "validation": last_validation(trainer, step),
            "seed": trainer.config.seed,
            "provenance": provenance,
            "training": trainer.config.model_dump(mode="json"),
        }
        write = partial(save_weights, module, run.weights / f"{name}.safetensors", about, card_text(about))
        trainer.recorder.guarded(write, "the weights")


def last_validation(trainer: Trainer, step: int) -> dict[str, Any]:
    """The validation metrics that were recorded at a step."""
    for line in trainer.run.metrics.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "val" and record["step"] == step:
            return dict(record["values"])
    return {}
