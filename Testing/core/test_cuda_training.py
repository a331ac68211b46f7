"""Training on a GPU: the same bits after a kill and twice, close to the CPU's, and one sentence where it cannot be.

Skipped where there is none, but for what can be said about it without one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytest.importorskip("monai", reason="Dice losses are MONAI's")

from core import cuda_recipes as recipes  # noqa: E402
from core import training_children as runs  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from ctrestoration import environment  # noqa: E402
from ctrestoration.jobs import outcome  # noqa: E402
from ctrestoration.jobs.gpus import list_gpus, reserve_gpus  # noqa: E402
from ctrestoration.jobs.rundir import read_json  # noqa: E402
from ctrestoration.models.weights import load_network  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.networks._blocks import ResidualStack  # noqa: E402
from ctrestoration.networks._operator import NetworkOperator  # noqa: E402
from ctrestoration.training import hardware, randomness  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="runs are killed by signals of POSIX systems")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
# PyTorch reads it once in a process, and another test may multiply matrices first.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

REFUSED = {
    "reflection_pad1d_backward", "reflection_pad2d_backward", "replication_pad3d_backward",
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward",
    "max_unpool2d", "upsample_bicubic2d_backward", "upsample_linear1d_backward", "upsample_trilinear3d_backward",
    "grid_sampler_2d_backward", "nll_loss2d_forward", "nll_loss2d_backward", "put", "histc", "bincount", "cumsum",
    "kthvalue", "median",
}  # fmt: skip
"""Operations of which CUDA has no deterministic form, after PyTorch's note to `use_deterministic_algorithms`."""


class _Operations(TorchDispatchMode):
    """Notes which operations are called, in gradients too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that is chosen already, so that tests side by side need no lock; afterwards PyTorch is as it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False


# Without a GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", sorted(recipes.METHODS))
def test_no_recipe_needs_what_cuda_has_no_deterministic_form_of(tmp_path: Path, recipe: str) -> None:
    with _Operations() as seen:
        if recipe in ("indudonet", "mepnet"):  # one stage, and a step of them takes long on a CPU
            recipes.one_step(recipe)
        else:
            recipes.train(tmp_path / "run", recipes.config(recipe, "cpu"), recipes.sources(recipe))
    assert {"convolution_backward", "addcdiv_"} <= seen.names
    assert seen.names & REFUSED == set()


def test_padding_mirrors_and_so_does_its_gradient() -> None:
    network = build_network("unet", {"widths": [2, 4, 8]})
    image = torch.randn(2, 1, 9, 14, dtype=torch.float64)
    ours, theirs = (image.clone().requires_grad_() for _ in range(2))
    padded = torch.nn.functional.pad(theirs, (0, 2, 0, 3), mode="reflect")
    assert torch.equal(network._pad(ours), padded)
    weights = torch.randn_like(padded)
    (network._pad(ours) * weights).sum().backward()
    (padded * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad)


def test_bfloat16_keeps_images_and_line_integrals_in_single_precision() -> None:
    """8 bits of an image of 0 to 255 are steps of a whole unit, which is 20 HU."""
    torch.manual_seed(0)
    stack = ResidualStack(3, 2)
    features = 255 * torch.rand(1, 3, 12, 12)
    for block in stack.blocks:
        torch.nn.init.zeros_(block[-1].weight)  # nothing is added
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stack(features), features)

    class Projector:
        def forward(self, image: Any) -> Any:
            return image

    operator = NetworkOperator.__new__(NetworkOperator)
    operator.projector, operator._scale = Projector(), 1.0  # type: ignore[assignment]
    assert operator.forward(features.bfloat16()).dtype == torch.float32


def test_random_states_of_many_gpus_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    back: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 12)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", back.extend)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    state = randomness.capture()
    randomness.restore({**state, **{f"cuda{n}": torch.tensor([n]) for n in range(12)}})
    assert [int(one) for one in back] == list(range(12))


def test_a_deterministic_run_is_the_same_after_one_that_is_not() -> None:
    cpu = torch.device("cpu")
    for deterministic, precision in ((False, "high"), (True, "highest")):
        hardware.prepare(hardware.HardwareConfig(deterministic=deterministic), 1, cpu)
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cudnn.benchmark is not deterministic


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_memory_errors_without_a_class_are_told_from_others(said: str, memory: bool) -> None:
    assert hardware.is_out_of_memory(RuntimeError(said)) is memory


# With one ---------------------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("recipe", sorted(recipes.METHODS))
def test_same_bits_twice_and_after_kills(tmp_path: Path, recipe: str) -> None:
    settings, data = recipes.config(recipe, "cuda"), recipes.sources(recipe)
    whole = recipes.train(tmp_path / "whole", settings, data)
    last = read_json(whole.status)["total"]
    killed = recipes.train(tmp_path / "killed", settings, data, kills=(2, last // 2 + 1, last - 1))
    assert recipes.result(killed) == recipes.result(whole)
    assert read_json(whole.provenance)["hardware"]["device"] == torch.cuda.get_device_name()


@needs_gpu
def test_killed_by_the_system_and_whatever_the_loaders(tmp_path: Path) -> None:
    """Processes of their own, killed for good; with loader processes and without."""
    results = []
    for name, workers, kill in (("whole", 0, None), ("killed", 0, 17), ("workers", 2, None)):
        root = tmp_path / name
        runs.new_run(root, hardware__device="cuda", data__workers=workers)
        if kill is not None:
            assert runs.train_with_workers(root, f"training_children.KillAtStep({kill})") == -signal.SIGKILL
        assert runs.train_with_workers(root) == 0, runs.status(root)["message"]
        results.append(runs.result(root))
    assert results[1] == results[0]
    assert results[2] == results[0]


@needs_gpu
@pytest.mark.parametrize("recipe", ["supervised", "indudonet", "dicdnet", "inpainting"])
def test_close_to_the_cpu_and_published_for_it(tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dropout: its masks come from the generator of each device."""
    method = recipes.METHODS[recipe]
    plain = {key: value for key, value in method["network"].items() if key != "dropout"}
    monkeypatch.setitem(recipes.METHODS, recipe, {**method, "network": plain})
    data = recipes.sources(recipe)
    made = {
        device: recipes.train(tmp_path / device, recipes.config(recipe, device), data) for device in ("cpu", "cuda")
    }
    first = {device: recipes.losses(run)[0] for device, run in made.items()}
    assert first["cuda"] == pytest.approx(first["cpu"], rel=1e-2)  # convolutions in TF32
    one = {device: load_network(run.weights / "g.safetensors")[0].state_dict() for device, run in made.items()}
    for name, tensor in one["cuda"].items():
        assert tensor.device.type == "cpu"
        assert torch.isfinite(tensor.float()).all(), name


@needs_gpu
def test_a_run_of_a_gpu_goes_on_without_one_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "run"
    runs.new_run(root, hardware__device="auto")
    assert runs.train_with_workers(root, "training_children.KillAtStep(17)") == -signal.SIGKILL
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert runs.train_with_workers(root) == 0, runs.status(root)["message"]
    assert runs.steps(root) == list(range(1, 65))
    assert any("is cpu: bitwise equality is not promised" in one["message"] for one in runs.events(root, "warning"))


@needs_gpu
@pytest.mark.parametrize("recipe", ["supervised", "uc", "indudonet", "mepnet", "dicdnet", "task_wgan"])
def test_bfloat16_runs_and_stays_close(tmp_path: Path, recipe: str) -> None:
    data = recipes.sources(recipe)
    made = {
        precision: recipes.losses(
            recipes.train(tmp_path / precision, recipes.config(recipe, "cuda", precision=precision), data)
        )
        for precision in ("fp32", "bf16")
    }
    assert all(loss == loss for loss in made["bf16"])
    assert made["bf16"][0] == pytest.approx(made["fp32"][0], rel=0.05)


@needs_gpu
@pytest.mark.parametrize("layout", [True, "auto"])
def test_measured_choices_and_channels_last(tmp_path: Path, layout: bool | str) -> None:
    hardware_settings = {"deterministic": layout is True, "channels_last": layout, "precision": "auto"}
    settings = recipes.config("supervised", "cuda", **hardware_settings)
    run = recipes.train(tmp_path / "run", settings, recipes.sources("supervised"))
    assert all(loss == loss for loss in recipes.losses(run))
    reasons = read_json(run.provenance)["choices"]["reasons"]
    assert ("seconds" in reasons) == (layout == "auto")


class _Hungry:
    """Steps take memory of the GPU in proportion to their (micro-)batch; there is room for one sample."""

    def __init__(self, method: Any, from_call: int) -> None:
        self._method, self._from, self._calls = method, from_call, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def step(self, stage: Any, turn: str, batch: Any, parts: Any) -> Any:
        self._calls += 1
        if self._calls >= self._from:
            torch.empty(len(batch["index"]) * (600 << 20), dtype=torch.uint8, device="cuda")
        return self._method.step(stage, turn, batch, parts)


@needs_gpu
@pytest.mark.parametrize("from_call", [1, 20], ids=["at-start", "mid-run"])
def test_too_little_memory_is_met_by_smaller_parts_or_a_sentence(tmp_path: Path, from_call: int) -> None:
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + (1 << 30)) / whole))
    try:
        for policy in ("stop", "halve_batch_and_accumulate"):
            run = runs.new_run(tmp_path / policy, hardware__device="cuda", recovery__out_of_memory=policy)
            settings = runs.tiny(hardware__device="cuda", recovery__out_of_memory=policy)
            method = _Hungry(settings.method.create(settings), from_call)
            if policy == "stop":
                with pytest.raises(outcome.OutOfMemoryError, match=r"data\.micro_batches to 2"):
                    recipes.fit(method, settings, run)
                assert runs.status(run.root)["exit_code"] == outcome.ExitCode.OUT_OF_MEMORY
            else:
                recipes.fit(method, settings, run)
                assert runs.steps(run.root) == list(range(1, 65))
                assert len(runs.events(run.root, "oom")) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@needs_gpu
def test_one_run_for_each_gpu_which_auto_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("CTRESTORATION_LOCKS", str(tmp_path / "locks"))
    gpus, root = list_gpus(), tmp_path / "run"
    assert gpus, "nvidia-smi answers"
    runs.new_run(root, hardware__device="auto")
    with reserve_gpus(gpus, len(gpus)):
        assert runs.train_with_workers(root) == outcome.ExitCode.IN_USE
        assert "No GPU is free: GPU 0" in runs.status(root)["message"]
    assert runs.train_with_workers(root) == 0, runs.status(root)["message"]
    assert read_json(root / "provenance.json")["hardware"]["device"] in {gpu.name for gpu in gpus}
    assert not list((tmp_path / "locks").iterdir())


@needs_gpu
def test_the_environment_says_that_it_works() -> None:
    found = environment.probe()
    assert found["verdict"].endswith("networks will run on the GPU.")
    words = [sys.executable, "-m", "ctrestoration", "environment", "--probe"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert torch.cuda.get_device_name() in said
