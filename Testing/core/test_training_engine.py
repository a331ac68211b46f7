"""The engine's parts, and what a run file promises: same bits for any loader, early stopping, averages, documents."""

from __future__ import annotations

import doctest
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")

from core import cuda_recipes as recipes  # noqa: E402
from core import training_children as runs  # noqa: E402

from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs.gpus import Gpu  # noqa: E402
from ctrestoration.jobs.reader import Watcher  # noqa: E402
from ctrestoration.jobs.rundir import SCHEMA_FILE, RunDirectory  # noqa: E402
from ctrestoration.models.weights import load_network  # noqa: E402
from ctrestoration.networks._images import network_inputs  # noqa: E402
from ctrestoration.training import hardware, keys, preview, publish, randomness, reference, schedule  # noqa: E402
from ctrestoration.training.config import HardwareConfig, ScheduleConfig  # noqa: E402
from ctrestoration.training.hardware import Choices  # noqa: E402
from ctrestoration.training.launch import open_run  # noqa: E402
from ctrestoration.training.method import Parts  # noqa: E402
from ctrestoration.training.ranks import Ranks  # noqa: E402
from ctrestoration.training.runfile import RunConfig, json_schema, load_config  # noqa: E402
from ctrestoration.training.state import Averages  # noqa: E402
from ctrestoration.training.update import Updater, make_optimizers  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


FREED = """
import resource, sys, torch
from ctrestoration.training import config, hardware
if sys.argv[1] == "prepared":
    hardware.prepare(config.HardwareConfig(), 1, torch.device("cpu"))
faults = []
for again in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large = [torch.zeros(20_000_000) for _ in range(2)]
    del large
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a property of glibc")
def test_memory_that_a_step_freed_is_there_for_the_next() -> None:
    """160 MB are 39,000 pages, each a fault where the system gives it anew."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FREED, how], check=True, capture_output=True, text=True).stdout)
        for how in ("plain", "prepared")
    }
    assert faults["prepared"] < 0.1 * faults["plain"]


@pytest.mark.parametrize("module", [keys, schedule])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_the_document_explains_the_present_schema() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert text == reference.updated(text), "run python -m ctrestoration.training.reference docs/training.md"
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == json.loads(reference.schema_text())
    for node in [json_schema(), *json_schema()["$defs"].values()]:
        for key, entry in node["properties"].items():
            assert entry.get("description") or "$ref" in entry or key == "name", f"{key} has no description"


def test_the_example_run_file_is_valid_and_the_one_in_the_document() -> None:
    path = ROOT / "docs" / "examples" / "unet.yaml"
    assert load_config(path).data.train.folder == path.parent / "pairs"  # type: ignore[union-attr]
    body = path.read_text().split("\n", 2)[2]
    indented = "".join(f"   {line}\n" for line in body.splitlines())
    assert indented in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_resolved_run_file_reads_as_itself(tmp_path: Path) -> None:
    run = runs.new_run(tmp_path / "run")
    assert open_run(run.root)[1] == runs.tiny()
    assert open_run(run.root)[1].digest() == runs.tiny().digest()


def test_overrides_and_their_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(runs.tiny().to_yaml())
    assert load_config(path, ["optim.lr=3.0e-4", "ema=null"]).optim.lr == 3e-4
    for wrong, said in (
        ("optim.lr", "key=value"),
        ("seed.x=1", "has no keys"),
        ("optim.lr=fast", "--set optim.lr=fast"),
    ):
        with pytest.raises(InputError, match=said):
            load_config(path, [wrong])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "run.yaml:1: not valid YAML"),
        ("- 1\n", "key: value"),
        ("seed: 1\nseed: 2\n", "run.yaml:2: seed stands here a second time"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        (
            "schema_version: 1\nmethod: {name: superviced}\n",
            "allowed are 'adversarial', .*'supervised'.* \\(did you mean superv",
        ),
    ],
)
def test_files_that_are_no_run_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_config(path)


def test_no_two_keys_share_randomness() -> None:
    assert keys.derive("a", "bc") != keys.derive("ab", "c")
    assert keys.derive(1) != keys.derive("1")
    assert sorted(keys.order(1, "main", 0, 50)) == list(range(50))
    assert keys.order(1, "main", 0, 50) != keys.order(1, "main", 1, 50)


def test_global_random_states_come_back() -> None:
    randomness.seed_everything(3)
    np.random.standard_normal()  # noqa: NPY002
    state = randomness.capture()
    first = (torch.rand(3).tolist(), np.random.standard_normal(3).tolist())  # noqa: NPY002
    randomness.restore(state)
    assert (torch.rand(3).tolist(), np.random.standard_normal(3).tolist()) == first  # noqa: NPY002


def test_schedules() -> None:
    cosine = ScheduleConfig(name="cosine", minimum=0.1)
    values = [schedule.factor(cosine, step, 10, 2) for step in (0, 10, 20)]
    assert values == pytest.approx([1.0, 0.55, 0.1])
    steps = ScheduleConfig(name="step", milestones=(1, 2), factor=0.1)
    assert [schedule.factor(steps, step, 10, 3) for step in (0, 10, 20)] == pytest.approx([1, 0.1, 0.01])
    assert schedule.factor(ScheduleConfig(warmup_steps=4), 0, 10, 3) == 0.25


def test_the_loader_processes_do_not_matter_and_early_stopping_ends_a_stage(tmp_path: Path) -> None:
    roots = [tmp_path / "none", tmp_path / "two"]
    for root, workers in zip(roots, (0, 2), strict=True):
        changes = {"validation__metric": "rmse_hu", "validation__patience": 1, "data__workers": workers}
        runs.new_run(root, **changes, optim__lr=1.0, method__stages__pretrain_g__epochs=5)
        assert (runs.train_with_workers if workers else runs.train)(root) == 0
    assert runs.result(roots[0]) == runs.result(roots[1])
    stages = [record["stage"] for record in runs.numbers(roots[0]) if record["kind"] == "val"]
    assert stages.count("pretrain_g") < 5


_EPOCHS = """
import os
import numpy as np
from ctrestoration.training.keys import Key
from ctrestoration.training.loader import Loader

class Processes:
    def __len__(self):
        return 8
    def sample(self, key):
        return {"process": np.array([os.getpid()], dtype=np.float64)}

if __name__ == "__main__":
    loader = Loader(Processes(), workers=2)
    keys = [[Key(0, "main", 0, index)] for index in range(8)]
    whole = list(loader.batches(keys))
    next(loader.batches(keys[3:]))  # left in the middle, as after NaN
    again = list(loader.batches(keys[::-1]))
    assert [int(batch["index"]) for batch in again] == list(range(7, -1, -1))
    used = {float(batch["process"]) for batch in whole + again}
    assert len(used) == 2 and os.getpid() not in used, used
"""


def test_loader_processes_live_from_epoch_to_epoch(tmp_path: Path) -> None:
    """In a process of its own: pytest's has threads, and a fork of it may hang."""
    script = tmp_path / "epochs.py"
    script.write_text(_EPOCHS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_of_a_run_are_those_of_its_best_checkpoint(tmp_path: Path) -> None:
    root = tmp_path / "run"
    runs.new_run(root)
    assert runs.train(root) == 0
    best = runs.status(root)["best"]
    content = torch.load(root / "checkpoints" / f"step_{best['step']:07d}.pt", weights_only=True)
    assert runs.digest(content["averages"]["g"]) == runs.digest(runs.load_file(root / "weights" / "g.safetensors"))
    card = (root / "weights" / "g.md").read_text()
    assert "not a medical device" in card
    assert f"{best['value']:.4g}" in card
    assert len(list((root / "checkpoints").glob("*.pt"))) <= 3
    pictures = sorted((root / "previews").glob("*.png"))
    assert len(pictures) == 2
    watcher = Watcher(RunDirectory(root)).poll()
    assert [record["seq"] for record in watcher.metrics] == list(range(len(watcher.metrics)))
    assert watcher.state == "done"


def test_averaged_weights_are_validated_with_running_statistics_of_their_own(tmp_path: Path) -> None:
    """Averages of statistics say that layers vary far more than averaged weights do: pictures came out 6 dB worse."""
    root = tmp_path / "run"
    method = {"name": "supervised", "network": {"name": "unet", "widths": [4, 8]}, "stages": {"main": {"epochs": 3}}}
    runs.new_run(root, method=method, ema__decay=0.99, optim__lr=3e-2, validation__every_epochs=3)
    assert runs.train(root) == 0
    _, config = open_run(root)
    network, _ = load_network(root / "weights" / "g.safetensors")
    told = {name: value.clone() for name, value in network.named_buffers()}
    averages = Averages(0.99, {"g": network.state_dict()})
    parts = Parts({"g": network.train()}, {"g": ("g",)})
    source, _ = config.data.create()
    order = [keys.Key(3, "main", 2, index) for index in keys.order(3, "main", 2, len(source))]
    with averages.measured(parts):
        for start in range(0, 32, 2):
            samples = [source.sample(key)["input"] for key in order[start : start + 2]]
            network(network_inputs({"input": torch.from_numpy(np.stack(samples))}, ["input"]))
    for name, value in averages.shadows["g"].items():
        if name in told:
            torch.testing.assert_close(value, told[name], msg=name)
    assert network.down[0][1].momentum == 0.1


def test_measuring_averages_moves_nothing_else_of_a_training(tmp_path: Path) -> None:
    """The steps of a bound training move a multiplier, too, and passing batches through must not."""
    losses = []
    for every in (1, 4):
        content = recipes.config("constraint", "cpu").model_dump()
        content |= {"ema": {"decay": 0.9}, "validation": {**content["validation"], "every_epochs": every}}
        stages = content["method"]["stages"]
        content["method"]["stages"] = {
            name: {**stage, "hand_on": "last", "epochs": 4} for name, stage in stages.items()
        }
        settings = RunConfig.model_validate(content)
        run = recipes.train(tmp_path / str(every), settings, recipes.sources("constraint"))
        losses.append(recipes.losses(run))
    assert len(losses[0]) == 24
    assert losses[0] == losses[1]


def test_weights_do_not_tell_the_folders_of_their_maker() -> None:
    told = publish.without_folders({"data": [{"folder": "/home/ann/patients/pairs", "preset": "clinical"}], "seed": 1})
    assert told == {"data": [{"folder": "pairs", "preset": "clinical"}], "seed": 1}


def test_a_finished_run_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.new_run(tmp_path / "run")
    run.status.write_text(json.dumps({"state": "done"}))
    assert main(["resume", str(run.root)]) == 0
    assert "finished" in capsys.readouterr().err
    assert main(["resume", str(tmp_path)]) == 2


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    config = runs.tiny(
        method={"name": "supervised", "loss": "mse", "network": {"name": "unet", "widths": [2, 4], "norm": "none"}}
    )
    method = config.method.create(config)
    stage = method.stages[0]
    batch = _batch(4)
    weights = []
    for micro_batches in (1, 2, 4):
        torch.manual_seed(0)
        parts = method.build(config)
        make_optimizers(parts, stage, config.optim, CPU)
        updater = Updater(method, parts, config.optim, Choices("fp32", False, {}), Ranks(), CPU)
        for _ in range(3):
            updater.step(stage, batch, micro_batches, 1.0)
        weights.append(torch.cat([p.detach().flatten() for p in parts.modules["g"].parameters()]))
    assert torch.allclose(weights[0], weights[1], atol=1e-5)
    assert torch.allclose(weights[0], weights[2], atol=1e-5)


def test_frozen_parameters_do_not_move() -> None:
    frozen = {
        "name": "supervised",
        "stages": {"main": {"frozen": ["g.down.*"]}},
        "network": {"name": "unet", "widths": [2, 4]},
    }
    config = runs.tiny(method=frozen)
    method = config.method.create(config)
    parts = method.build(config)
    before = {name: p.detach().clone() for name, p in parts.modules["g"].named_parameters()}
    make_optimizers(parts, method.stages[0], config.optim, CPU)
    updater = Updater(method, parts, config.optim, Choices("fp32", False, {}), Ranks(), CPU)
    for _ in range(2):
        updater.step(method.stages[0], _batch(2), 1, 1.0)
    for name, parameter in parts.modules["g"].named_parameters():
        assert torch.equal(before[name], parameter) is name.startswith("down."), name


def _batch(count: int) -> Any:
    draw = torch.Generator().manual_seed(1)
    image = 100 * torch.randn(count, 1, 8, 8, generator=draw)
    return {"input": image, "target": 0.5 * image, "metal": torch.zeros_like(image), "index": torch.arange(count)}


def test_an_auto_is_decided_by_measurement_once() -> None:
    seconds = {("fp32", False): 1.0, ("fp32", True): 0.99, ("bf16", False): 0.5, ("bf16", True): 0.6}
    asked = HardwareConfig(precision="auto", channels_last="auto", deterministic=False)
    chosen = hardware.decide(asked, lambda precision, layout: seconds[precision, layout], CPU)
    assert (chosen.precision, chosen.channels_last) == ("bf16", False)
    assert "bf16 channels_last" in chosen.reasons["seconds"]
    layout = HardwareConfig(channels_last="auto", deterministic=False)
    close = hardware.decide(layout, lambda precision, layout: seconds[precision, layout], CPU)
    assert close.channels_last is False, "one percent is noise"
    fixed = hardware.decide(HardwareConfig(precision="auto"), lambda *_: 1 / 0, CPU)
    assert fixed.precision == "fp32", "a deterministic run does not time"


def test_the_gpu_is_chosen_before_cuda_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CUDA looks at the environment once, at the first question; a choice after that is none."""
    monkeypatch.setenv("CTRESTORATION_LOCKS", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = [Gpu(0, "GPU-a", "X", 100, 90), Gpu(1, "GPU-b", "X", 100, 10)]
    asked: list[str | None] = []

    def available() -> bool:
        asked.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return True

    monkeypatch.setattr(hardware, "list_gpus", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with hardware.chosen_device(HardwareConfig(), 0) as device:
        assert str(device) == "cuda:0"
        assert (tmp_path / "GPU-b.lock").exists(), "the one with more free memory"
    assert asked == ["GPU-b"]
    assert not list(tmp_path.iterdir())
    with hardware.chosen_device(HardwareConfig(device="cpu"), 0) as device:
        assert device == CPU
    assert len(asked) == 1


def test_previews_have_a_fixed_window(tmp_path: Path) -> None:
    image = np.array([[-500, -160, 40, 240, 3000]], dtype=np.float32)
    gray = preview.picture([[image, image]], (-160, 240))
    assert gray[0, :5].tolist() == [0, 0, 128, 255, 255]
    preview.write_png(tmp_path / "a.png", gray)
    pillow = pytest.importorskip("PIL.Image", reason="an independent reader of PNG")
    assert np.array_equal(np.asarray(pillow.open(tmp_path / "a.png")), gray)


def test_bad_combinations_are_refused() -> None:
    for changes, said in (
        ({"data__micro_batches": 3}, "multiple"),
        ({"preview__window": [5, 5]}, "rise"),
        ({"data__validation": None, "validation__patience": 2}, "needs validation data"),
    ):
        with pytest.raises(ValueError, match=said):
            runs.tiny(**changes)
