"""The end of a run: the weights that its last stage hands on, as safetensors with a card, each with its digest."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from ctrestoration.models.card import card_text
from ctrestoration.models.weights import save_weights
from ctrestoration.training.trainer import Trainer


def publish(trainer: Trainer, provenance: dict[str, Any]) -> None:
    """Write `weights/` of a finished run.

    Args:
        trainer: after its last stage.
        provenance: what provenance.json says.
    """
    progress, run = trainer.progress, trainer.run
    best = trainer.method.stages[-1].hand_on == "best" and progress.best_step is not None
    step = progress.best_step if best and progress.best_step is not None else progress.step
    for name in trainer.method.exports:
        module = trainer.parts.modules[name]
        about = {
            **trainer.method.describe(name),
            "name": f"{trainer.config.name}-{name}",
            "step": step,
            "validation": last_validation(trainer, step),
            "seed": trainer.config.seed,
            **_classes(trainer, provenance),
            "provenance": without_folders(provenance),
            "training": without_folders(trainer.config.model_dump(mode="json")),
        }
        write = partial(save_weights, module, run.weights / f"{name}.safetensors", about, card_text(about))
        trainer.recorder.guarded(write, "the weights")


def _classes(trainer: Trainer, provenance: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the classes 1, 2, ... of labeled data; in order, which the header's sorted settings do not keep."""
    stored = (provenance.get("data", {}).get("simulation") or {}).get("classes")
    named = stored or getattr(trainer.config.data.train, "classes", None)
    return {"classes": list(named)} if named else {}


def without_folders(content: Any) -> Any:
    """The same settings with absolute paths cut to their last name, since weights are given away.

    Digests in the provenance say which data they were.
    """
    if isinstance(content, dict):
        return {key: without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if isinstance(content, str) and Path(content).is_absolute():
        return Path(content).name
    return content


def last_validation(trainer: Trainer, step: int) -> dict[str, Any]:
    """The validation metrics that were recorded at a step."""
    for line in trainer.run.metrics.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "val" and record["step"] == step:
            return dict(record["values"])
    return {}
