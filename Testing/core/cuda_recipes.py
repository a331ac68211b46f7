"""Every recipe at its smallest, for tests on a GPU: settings, and samples of noise where a simulation would be slow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core import training_children as runs
from core.lowdose_slices import LabeledSlices, run_file
from core.stored_samples import Stored
from safetensors.torch import load_file

from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.training.engine import fit
from ctrestoration.training.hardware import Choices
from ctrestoration.training.keys import Key
from ctrestoration.training.launch import create_run
from ctrestoration.training.loader import Loader
from ctrestoration.training.ranks import Ranks
from ctrestoration.training.runfile import RunConfig
from ctrestoration.training.update import Updater, make_optimizers

NETWORK = {"name": "unet", "widths": [2, 4], "dropout": 0.2}
TASK = {"network": {"name": "unet", "widths": [2, 4]}}
SHORT = {"epochs": 2}
SCANS = {"name": "scans", "phantoms": 1, "count": 4, "size": 32, "pixel_mm": 10.0, "clean": 0}
SINOGRAMS = {"name": "sinograms", "phantoms": 1, "count": 4, "size": 32, "pixel_mm": 10.0}
VIEWS, BINS = 320, 197
"""Of the preset adn-256 around 32 pixels of 10 mm."""

METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"name": "supervised", "network": NETWORK, "stages": {"main": SHORT}},
    "adversarial": runs.TINY["method"],
    "uc": {"name": "uc", "network": NETWORK, "clip": 0.99, "stages": {"warm": SHORT, "main": SHORT}},
    "shuffled": {"name": "uc", "network": NETWORK, "map": "shuffled", "stages": {"warm": SHORT, "main": SHORT}},
    "dicdnet": {
        "name": "unrolled",
        "network": {"name": "dicdnet", "stages": 2, "blocks": 1},
        "uncertainty": {},
        "stages": {"warm": SHORT, "main": SHORT},
    },
    "oscnet": {"name": "unrolled", "network": {"name": "oscnet", "stages": 2, "blocks": 1, "adaptive": True}},
    "indudonet": {"name": "unrolled", "network": {"name": "indudonet", "stages": 2, "blocks": 1}},
    "mepnet": {"name": "unrolled", "network": {"name": "mepnet", "stages": 1, "blocks": 2}},
    "inpainting": {
        "name": "inpainting",
        "network": {"name": "sinogram_unet", "widths": [2, 4]},
        "d_width": 2,
        "stages": {"pretrain_g": SHORT, "adversarial": SHORT},
    },
    "task_adaptive": {
        "name": "task_adaptive",
        "tasks": [{**TASK, "training_loss": "dice_ce"}],
        "balance": {"name": "fixed", "alpha": 0.5, "normalize": "gradient"},
        "stages": {"segment": SHORT, "reconstruct": SHORT},
    },
    "constraint": {
        "name": "task_adaptive",
        "tasks": [TASK],
        "balance": {"name": "constraint", "drop_db": 1.0},
        "stages": {"segment": SHORT, "base": SHORT, "reconstruct": SHORT},
    },
    "joint": {"name": "joint", "tasks": [TASK], "stages": {"joint": SHORT}},
    "task_wgan": {
        "name": "task_wgan",
        "tasks": [TASK],
        "critic": "gradient_penalty",
        "critic_steps": 2,
        "critic_width": 2,
        "stages": {"segment": SHORT, "adversarial": SHORT},
    },
}


class _Killed(BaseException):
    """Ends a run as a kill does: nothing of it is caught, nothing tidied up."""


def config(recipe: str, device: str, **hardware: Any) -> RunConfig:
    """The run file of a recipe."""
    method = METHODS[recipe]
    settings = {"device": device, "threads": 1, "probe_steps": 3, **hardware}
    if method["name"] in ("task_adaptive", "joint", "task_wgan"):
        content = run_file(method, hardware=settings)
    else:
        source = {"unrolled": SCANS, "inpainting": SINOGRAMS}.get(method["name"])
        content = {**runs.TINY, "method": method, "hardware": settings, "checkpoint": {"save_every": 3}}
        discs = {"name": "discs", "count": 16, "size": 9}  # padded to 10: the depth does not divide it
        content["data"] = {"train": source or discs, "validation": source or discs, "batch_size": 2}
        content["preview"] = {"every_epochs": 2, "count": 1}
        if method["name"] == "unrolled" and "uncertainty" not in method:
            content["method"] = {**method, "stages": {"main": SHORT}}
    return RunConfig.model_validate(content)


def sources(recipe: str) -> Any:
    """Training and validation data; None: those of the run file."""
    name = METHODS[recipe]["name"]
    if name in ("task_adaptive", "joint", "task_wgan"):
        # 17 pixels are padded: gradients go back through the padding of the task network.
        return LabeledSlices(size=17), LabeledSlices(4, size=17)
    if name not in ("unrolled", "inpainting"):
        return None
    noise = Stored(_Noise(name == "inpainting"))
    return noise, noise


class _Noise:
    """What scans and sinograms hold, without patient and physics."""

    def __init__(self, sinograms: bool) -> None:
        self.sinograms = sinograms

    def __len__(self) -> int:
        return 4

    def sample(self, key: Key) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(key.index)

        def image() -> np.ndarray:
            return (100 * draw.standard_normal((1, 32, 32))).astype(np.float32)

        def lines(channels: int = 1) -> np.ndarray:
            return draw.uniform(0, 4, (channels, VIEWS, BINS)).astype(np.float32)

        made = {"input": image(), "target": image(), "metal": (draw.random((1, 32, 32)) > 0.9).astype(np.float32)}
        made |= {"sinogram": lines(), "target_sinogram": lines()}
        if self.sinograms:
            trace = (draw.random((3, VIEWS, BINS)) > 0.8).astype(np.float32)
            return {**made, "nmar": image(), "filled": lines(3), "trace": trace, "path": 10 * trace}
        kept = (draw.random((1, VIEWS, BINS)) > 0.2).astype(np.float32)
        return {**made, "li": image(), "prior": image(), "sinogram_li": lines(), "kept": kept}


def one_step(recipe: str) -> dict[str, float]:
    """The recorded values of one step of the first stage with one sample, on the CPU."""
    settings = config(recipe, "cpu")
    method, (data, _) = settings.method.create(settings), sources(recipe)
    parts, stage, cpu = method.build(settings), method.stages[0], torch.device("cpu")
    make_optimizers(parts, stage, settings.optim, cpu)
    updater = Updater(method, parts, settings.optim, Choices("fp32", False, {}), Ranks(), cpu)
    batch = next(Loader(data).batches([[Key(1, stage.name, 0, 0)]]))
    return updater.step(stage, batch, 1, 1.0)


def train(folder: Path, settings: RunConfig, data: Any = None, kills: Sequence[int] = ()) -> RunDirectory:
    """Train in this process, ended without a word after each of some steps, and gone on with."""
    run = create_run(settings, folder)
    for step in kills:
        with pytest.raises(_Killed):
            fit(settings.method.create(settings), settings, run, sources=data, observer=_killer(step))
    fit(settings.method.create(settings), settings, run, sources=data)
    return run


def _killer(step: int) -> Callable[[str, dict[str, Any]], None]:
    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "metrics" and record["kind"] == "train" and record["step"] == step:
            raise _Killed

    return observe


def result(run: RunDirectory) -> dict[str, Any]:
    """Digests of the last checkpoint, of every published network, and of the metrics."""
    content = torch.load(max(run.checkpoints.glob("step_*.pt")), weights_only=True, map_location="cpu")
    for position in ("metrics_offset", "config"):
        content.pop(position)
    published = {path.name: runs.digest(load_file(path)) for path in sorted(run.weights.glob("*.safetensors"))}
    metrics = hashlib.sha256(json.dumps(runs.numbers(run.root)).encode()).hexdigest()
    return {"checkpoint": runs.digest(content), "published": published, "metrics": metrics}


def losses(run: RunDirectory) -> list[float]:
    """The loss of every step, of the first turn where there are several."""
    values = [record["values"] for record in runs.numbers(run.root) if record["kind"] == "train"]
    return [one.get("loss", one.get("g_loss")) for one in values]
