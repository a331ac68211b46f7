"""The design holds what later recipes need: snapshots, restarts, frozen networks, stages with metrics of their own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the faults are signals of POSIX systems")

from core import outside_recipes  # noqa: E402
from core import training_children as runs  # noqa: E402

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.networks import network_names, settings_classes  # noqa: E402
from ctrestoration.training import checkpoints, snapshots  # noqa: E402
from ctrestoration.training.runfile import json_schema  # noqa: E402

NETWORK = {"name": "unet", "widths": [2, 4], "dropout": 0.2}
UC = {"name": "uc", "network": NETWORK, "stages": {"warm": {"epochs": 2}, "main": {"epochs": 2}}}
OUTSIDE = {"name": "supervised", "network": NETWORK}


class TaskAdaptive:
    """A fault (or none) in a run of the recipe that is not in the package: it takes its settings from `OUTSIDE`."""

    def __init__(self, fault: Any = None) -> None:
        self.fault = fault

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        return {**(self.fault(run) if self.fault else {}), "method": outside_recipes.TaskAdaptive}


def test_killed_anywhere_gives_the_same_bits(tmp_path: Path) -> None:
    entered = runs.KillAtEvent("stage", 1)  # the second stage, which is the first that this process enters
    faults = [runs.KillAtStep(3), runs.KillAtStep(32), entered, runs.KillAtStep(33), runs.KillAtStep(63)]
    results = []
    for name, disturbed in (("whole", []), ("killed", faults)):
        root = tmp_path / name
        runs.new_run(root, method=OUTSIDE)
        codes = [runs.train(root, TaskAdaptive(fault)) for fault in disturbed]
        assert codes == [-signal.SIGKILL] * len(disturbed)
        assert runs.train(root, TaskAdaptive()) == 0
        assert runs.steps(root) == list(range(1, 65))
        results.append(runs.result(root))
    assert results[0] == results[1]


def test_a_frozen_network_is_the_best_of_its_stage_and_does_not_move(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root, method=OUTSIDE, checkpoint__keep=100, ema=None)
    assert runs.train(root, TaskAdaptive()) == 0
    values = {
        record["step"]: record["values"]["dice"]
        for record in runs.numbers(root)
        if record["kind"] == "val" and record["stage"] == "segment"
    }
    best = max(values, key=lambda step: values[step])
    frozen = checkpoints.load(root / "checkpoints" / f"step_{best:07d}.pt")["modules"]["t"]
    published = runs.load_file(root / "weights" / "t.safetensors")
    assert runs.digest(frozen) == runs.digest(published)
    assert runs.status(root)["best"]["metric"] == "psnr_db", "each stage has its own"


def test_a_damaged_snapshot_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run = runs.new_run(root, method=UC)
    assert runs.train(root, runs.KillAtStep(40)) == -signal.SIGKILL
    path = min(run.snapshots.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert runs.train(root) == outcome.ExitCode.DATA_REFUSED
    assert path.name in runs.status(root)["message"]
    with pytest.raises(outcome.DataRefusedError, match="no snapshots"):
        snapshots.load(run, "other", torch.nn.Identity())


def test_the_best_of_a_pixel_stage_is_not_published_for_the_stage_after_it(tmp_path: Path) -> None:
    """The adversarial stage is so violent that its weights are worse than those of the stage before."""
    root = tmp_path / "run"
    stages = {"pretrain_g": {"epochs": 1}, "adversarial": {"epochs": 1, "lr": {"g": 0.5, "d": 0.5}}}
    runs.new_run(root, method__stages=stages, ema=None)
    assert runs.train(root) == 0
    values = [record["values"]["psnr_db"] for record in runs.numbers(root) if record["kind"] == "val"]
    assert values[0] > values[1]
    assert runs.status(root)["best"] == {"metric": "psnr_db", "value": values[1], "step": 32}
    last = checkpoints.load(root / "checkpoints" / "step_0000032.pt")["modules"]["g"]
    assert runs.digest(last) == runs.digest(runs.load_file(root / "weights" / "g.safetensors"))


def test_frozen_layers_keep_their_running_statistics_too(tmp_path: Path) -> None:
    root = tmp_path / "run"
    stages = {"pretrain_g": {"epochs": 1}, "adversarial": {"epochs": 1, "frozen": ["g.down.*"]}}
    runs.new_run(root, method__stages=stages, ema=None, checkpoint__keep=100)
    assert runs.train(root) == 0
    before, after = (
        checkpoints.load(root / "checkpoints" / f"step_{step:07d}.pt")["modules"]["g"] for step in (16, 32)
    )
    frozen = [name for name in before if name.startswith("down.")]
    assert any(name.endswith("running_mean") for name in frozen)
    assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("running_mean"))


def test_settings_that_mean_nothing_are_refused() -> None:
    one = {"warm": {"epochs": 1}, "main": {"epochs": 1}}
    for method, said in (
        ({**UC, "stages": one}, "warm.epochs has to be 2 or more"),
        ({**UC, "stages": one, "map": "shuffled"}, "warm.epochs has to be 2 or more"),
        ({**UC, "weighting": "u", "strength": 3.0}, "strength 3 changes nothing"),
        ({**UC, "window": [240, -160]}, "window has to rise, 240 to -160 does not"),
        ({"name": "unrolled", "uncertainty": {}, "stages": one}, "warm.epochs has to be 2 or more"),
        ({"name": "unrolled", "window": [5, 5]}, "window has to rise"),
        ({"name": "inpainting", "window": [5, 5]}, "window has to rise"),
    ):
        with pytest.raises(ValueError, match=said):
            runs.tiny(method=method)
    for method in (
        {**UC, "stages": one, "map": "error"},
        {**UC, "stages": one, "map": "gradient"},
        {"name": "unrolled", "stages": one},
    ):
        runs.tiny(method=method)


def test_controls_are_clipped_as_the_map_is_and_see_what_the_network_sees() -> None:
    from ctrestoration.training.recipes._uncertainty import EarlyNetworks, UncertaintySettings

    ramp = torch.zeros(1, 1, 20, 20)
    ramp[..., 10:, :] = 100.0
    ramp[..., 3, 3] = 20000.0  # a pixel that no 12-bit scanner shows
    capped = ramp.clamp(max=3071.0)
    batch = {"input": ramp, "target": torch.zeros_like(ramp), "index": torch.tensor([0])}

    def weights(image: torch.Tensor, kind: str, clip: float | None) -> torch.Tensor:
        settings = UncertaintySettings(map=kind, weighting="u", normalized=False, clip=clip)  # type: ignore[arg-type]
        early = EarlyNetworks(settings, 0, torch.nn.Identity)
        early._networks = [torch.nn.Identity()]
        return early.weights({**batch, "input": image}, torch.ones_like(ramp), lambda network, part: part["input"])

    assert torch.equal(weights(ramp, "gradient", None), weights(capped, "gradient", None))
    for kind in ("gradient", "error"):
        whole, clipped = weights(capped, kind, None), weights(capped, kind, 0.95)
        assert float(whole[0, 0, 10, 15]) < 0.1
        assert float(clipped[0, 0, 10, 15]) == pytest.approx(1.0)
    early = EarlyNetworks(UncertaintySettings(), 0, torch.nn.Identity)
    early._networks = [torch.nn.Identity()]
    with pytest.raises(InputError, match="two epochs"):
        early.weights(batch, torch.ones_like(ramp), lambda network, part: part["input"])


def test_a_network_becomes_a_choice_by_its_constructor() -> None:
    assert "unet" in network_names()
    (unet,) = [
        found for found in settings_classes("image") if found.model_fields["name"].annotation.__args__ == ("unet",)
    ]
    network = unet(name="unet", widths=[2, 4]).build(in_channels=3, out_channels=2)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)
    assert "in_channels" not in unet.model_fields, "recipes decide that"
    described = json_schema()["$defs"]["UNetSettings"]["properties"]
    assert described["dropout"]["exclusiveMaximum"] == 1
    assert described["norm"]["enum"] == ["batch", "instance", "none"]
    assert all(entry["description"] for entry in described.values())


@pytest.mark.parametrize("restart", ["scratch", "continue"])
def test_the_uc_recipe_resumes_to_the_same_bits(tmp_path: Path, restart: str) -> None:
    results = []
    entered = runs.KillAtEvent("stage", 1)
    for name, faults in (("whole", []), ("killed", [runs.KillAtStep(20), entered, runs.KillAtStep(50)])):
        root = tmp_path / name
        runs.new_run(root, method={**UC, "restart": restart})
        assert [runs.train(root, fault) for fault in faults] == [-signal.SIGKILL] * len(faults)
        assert runs.train(root) == 0
        results.append(runs.result(root))
    assert results[0] == results[1]
    first, second = (tmp_path / name / "snapshots" for name in ("whole", "killed"))
    assert [path.read_bytes() for path in sorted(first.iterdir())] == [
        path.read_bytes() for path in sorted(second.iterdir())
    ]


@pytest.mark.parametrize("pixels", ["uncertainty", "shuffled", "gradient", "error", "none"])
def test_the_controls_of_uc_differ_and_their_mean_weight_is_one(tmp_path: Path, pixels: str) -> None:
    root = tmp_path / "run"
    runs.new_run(root, method={**UC, "map": pixels, "stages": {"warm": {"epochs": 2}, "main": {"epochs": 1}}})
    assert runs.train(root) == 0
    steps = [r for r in runs.numbers(root) if r["kind"] == "train" and r["stage"] == "main"]
    assert steps
    if pixels == "none":
        assert "mean_weight" not in steps[0]["values"]
    else:
        assert all(step["values"]["mean_weight"] == pytest.approx(1.0, abs=1e-3) for step in steps)
