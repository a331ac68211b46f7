"""Recipes that reconstruct for a task: bit for bit where alpha is 0, frozen where frozen, exact after a kill."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("monai", reason="Dice losses are MONAI's")
pytest.importorskip("yaml", reason="training needs PyYAML")

from core import training_children as runs  # noqa: E402
from core.lowdose_slices import NETWORK, TASK, LabeledSlices, run_file  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.models.weights import load_network, read_weights  # noqa: E402
from ctrestoration.training import checkpoints  # noqa: E402
from ctrestoration.training.engine import fit  # noqa: E402
from ctrestoration.training.launch import create_run  # noqa: E402
from ctrestoration.training.recipes import _balance as balance  # noqa: E402
from ctrestoration.training.recipes.task_wgan import critic, gradient_penalty  # noqa: E402
from ctrestoration.training.runfile import RunConfig  # noqa: E402

SHORT = {"epochs": 2, "hand_on": "last"}


def train(folder: Path, method: dict[str, Any], **changes: Any) -> Path:
    """Train in this process; returns the folder of the weights."""
    config = RunConfig.model_validate(run_file(method, **changes))
    run = create_run(config, folder)
    fit(config.method.create(config), config, run, sources=(LabeledSlices(), LabeledSlices(4)))
    return folder / "weights"


def digest(path: Path) -> str:
    return runs.digest(read_weights(path)[0])


def adaptive(**changes: Any) -> dict[str, Any]:
    stages = dict.fromkeys(("segment", "base", "reconstruct"), SHORT)
    return {"name": "task_adaptive", "tasks": [TASK], "stages": stages, **changes}


def metrics(weights: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (weights.parent / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task network, trained for a moment."""
    folder = tmp_path_factory.mktemp("segment") / "run"
    method = {"name": "segment", "task": TASK, "stages": {"segment": {"epochs": 3}}}
    config = RunConfig.model_validate({**run_file(method), "method": method})
    fit(config.method.create(config), config, create_run(config, folder), sources=(LabeledSlices(), LabeledSlices(4)))
    return folder / "weights" / "t.safetensors"


def given(segmenter: Path, **changes: Any) -> dict[str, Any]:
    return {**TASK, "weights": str(segmenter), **changes}


def test_the_segmenter_learns_and_says_what_it_is(segmenter: Path) -> None:
    network, about = load_network(segmenter)
    assert about["task"] == "segmentation"
    assert about["labels"] == [0, 1, 2]
    assert about["classes"] == ["liver", "lesion"], "in order, which the header's sorted settings do not keep"
    assert about["window"] is None
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 3, 16, 16)
    values = [record["values"] for record in metrics(segmenter.parent) if record["kind"] == "train"]
    assert values[-1]["loss"] < values[0]["loss"]


def test_alpha_0_is_the_plain_network_bit_for_bit(tmp_path: Path, segmenter: Path) -> None:
    plain = train(tmp_path / "plain", {"name": "reconstruct", "stages": {"reconstruct": SHORT}})
    zero = {"name": "fixed", "alpha": 0}
    frozen = train(tmp_path / "given", adaptive(balance=zero, tasks=[given(segmenter)]))
    trained = train(tmp_path / "trained", adaptive(balance=zero))
    one = train(tmp_path / "adaptive", adaptive(balance={"name": "fixed", "alpha": 0.5}, tasks=[given(segmenter)]))
    weights = [digest(folder / "g.safetensors") for folder in (plain, frozen, trained, one)]
    assert weights[0] == weights[1] == weights[2]
    assert weights[3] != weights[0]


def test_a_frozen_network_is_bit_equal_after_training(tmp_path: Path, segmenter: Path) -> None:
    """Given, or trained in the first stage: weights and statistics of its batch normalization."""
    task_wins = {"name": "fixed", "alpha": 0.9}
    config = RunConfig.model_validate(run_file(adaptive(balance=task_wins, tasks=[given(segmenter)])))
    made = config.method.create(config)
    fit(made, config, create_run(config, tmp_path / "given"), sources=(LabeledSlices(), None))
    assert runs.digest(made._frozen["organs"].network.state_dict()) == digest(segmenter)

    config = RunConfig.model_validate(run_file(adaptive(balance=task_wins), checkpoint={"save_every": 1, "keep": 99}))
    run = create_run(config, tmp_path / "trained")
    fit(config.method.create(config), config, run, sources=(LabeledSlices(), None))
    states = [checkpoints.load(run.checkpoints / f"step_{step:07d}.pt")["modules"] for step in (2, 4, 5, 8)]
    tasks, images = ([runs.digest(state[name]) for state in states] for name in ("t_organs", "g"))
    assert tasks[0] != tasks[1] == tasks[2] == tasks[3], "its stage ends with step 4"
    assert images[0] == images[1] != images[2] != images[3]


def test_weights_that_are_fed_differently_are_refused(tmp_path: Path, segmenter: Path) -> None:
    base = train(tmp_path / "base", {"name": "reconstruct", "output": "residual"}) / "g.safetensors"
    bound = {"name": "constraint", "drop_db": 1.0, "base_weights": str(base)}
    with pytest.raises(InputError, match="trained with reconstruction residual, here it is sigmoid"):
        train(tmp_path / "bound", adaptive(output="sigmoid", balance=bound, tasks=[given(segmenter)]))
    with pytest.raises(InputError, match="trained with reconstruction residual"):
        train(tmp_path / "next", {"name": "reconstruct", "output": "sigmoid", "initial_weights": str(base)})
    with pytest.raises(InputError, match="trained with window None"):
        train(tmp_path / "window", adaptive(tasks=[given(segmenter, window=(-100, 200))]))


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "fixed", "alpha": 0.5, "normalize": "initial"},
        {"name": "fixed", "alpha": 0.5, "normalize": "gradient"},
        {"name": "uncertainty"},
        {"name": "constraint", "psnr_db": 30},
        *({"name": "surgery", "method": method} for method in ("upgrad", "pcgrad")),
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_every_balance_trains_and_lowers_its_losses(tmp_path: Path, segmenter: Path, settings: dict[str, Any]) -> None:
    if settings["name"] == "surgery":
        pytest.importorskip("torchjd", reason="gradient surgery is torchjd's")
    weights = train(
        tmp_path / "run",
        adaptive(balance=settings, tasks=[given(segmenter)], stages={"reconstruct": {"epochs": 6}}),
    )
    values = [record["values"] for record in metrics(weights) if record["kind"] == "train"]
    assert values[-1]["mse"] < values[0]["mse"]
    assert all(math.isfinite(value) for one in values for value in one.values())


def test_neighbors_are_seen_and_help(tmp_path: Path) -> None:
    """Three slices of one body, each with noise of its own, restore the middle one better than itself alone."""
    scores = []
    for slices in (1, 3):
        content = run_file({"name": "reconstruct", "slices": slices, "stages": {"reconstruct": {"epochs": 30}}})
        content |= {"validation": {"every_epochs": 30}, "optim": {"lr": 1e-2}}
        for part in ("train", "validation"):
            content["data"][part] = {**content["data"][part], "slices": slices}
        config = RunConfig.model_validate(content)
        run = create_run(config, tmp_path / str(slices))
        fit(
            config.method.create(config),
            config,
            run,
            sources=(LabeledSlices(slices=slices), LabeledSlices(4, slices=slices)),
        )
        last = [record["values"] for record in metrics(run.weights) if record["kind"] == "val"][-1]
        scores.append(last["psnr_db"])
        assert last["drift_hu"] < 150
    assert scores[1] > scores[0] + 0.5
    network, about = load_network(tmp_path / "3" / "weights" / "g.safetensors")
    assert about["slices"] == 3
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 1, 16, 16)


def test_a_bound_below_the_plain_network_holds_with_neighbors(tmp_path: Path, segmenter: Path) -> None:
    content = run_file(adaptive(slices=3, tasks=[given(segmenter)], balance={"name": "constraint", "drop_db": 1.0}))
    for part in ("train", "validation"):
        content["data"][part] = {**content["data"][part], "slices": 3}
    config = RunConfig.model_validate(content)
    run = create_run(config, tmp_path / "run")
    fit(config.method.create(config), config, run, sources=(LabeledSlices(slices=3), LabeledSlices(4, slices=3)))
    last = [record["values"] for record in metrics(run.weights) if record["kind"] == "val"][-1]
    assert {"base_psnr_db", "organs_dice", "score_in_bound"} <= set(last)


def test_the_root_of_each_slice_keeps_a_noisy_one_from_being_all_that_counts() -> None:
    target = torch.zeros(2, 1, 8, 8)
    image = torch.stack([torch.full((1, 8, 8), 1000.0), torch.full((1, 8, 8), 10.0)])
    batch = {"input": image, "target": target}
    found = {}
    for loss in ("mse", "l1", "rmse"):
        config = RunConfig.model_validate(run_file({"name": "reconstruct", "loss": loss}))
        method = config.method.create(config)
        parts = method.build(config)  # which changes nothing before it is trained
        found[loss] = method.step(method.stages[0], "g", batch, parts).total.item()
    assert found["mse"] == pytest.approx((1 + 1e-4) / 2, rel=1e-3), "in (HU / 1000)^2"
    assert found["rmse"] == pytest.approx((1 + 1e-2) / 2, rel=1e-3)
    assert found["l1"] == pytest.approx((1 + 1e-2) / 2, rel=1e-3)


def test_data_without_neighbors_are_refused() -> None:
    config = RunConfig.model_validate(run_file({"name": "reconstruct", "slices": 3}))
    with pytest.raises(InputError, match=r"sees 3 slices.*data.train gives 1: set data.train.slices to 3"):
        config.method.create(config).build(config)
    content = run_file({"name": "reconstruct", "slices": 3})
    content["data"] = {**content["data"], "train": {"name": "pairs", "folder": "data"}, "validation": None}
    config = RunConfig.model_validate(content)
    with pytest.raises(InputError, match="only lowdose data, simulated while training, do"):
        config.method.create(config).build(config)


def test_several_tasks_of_several_kinds_at_once_and_a_judge(tmp_path: Path, segmenter: Path) -> None:
    tasks = [
        given(segmenter),
        {"name": "shown", "kind": "classification", "labels": [2], "network": {"name": "classifier", "widths": [2]}},
        {"name": "spots", "kind": "detection", "labels": [2], "network": NETWORK, "weight": 0.5},
    ]
    method = adaptive(tasks=tasks, judges=[given(segmenter, name="held_out")], balance={"name": "fixed", "alpha": 0.5})
    weights = train(tmp_path / "run", method)
    last = [record["values"] for record in metrics(weights) if record["kind"] == "val"][-1]
    expected = {"organs_dice", "shown_accuracy", "spots_f1", "judge_held_out_dice", "full_dose_spots_f1", "drift_hu"}
    assert expected <= set(last)
    assert last["judge_held_out_dice"] == last["organs_dice"]
    assert sorted(path.name for path in weights.glob("*.safetensors")) == [
        "g.safetensors", "t_shown.safetensors", "t_spots.safetensors",
    ]  # fmt: skip
    _, about = read_weights(weights / "g.safetensors")
    assert about["task"] == "reconstruction"
    assert [task["name"] for task in about["tasks"]] == ["organs", "shown", "spots"]


class Labeled:
    """A fault (or none) in a run on labeled slices."""

    def __init__(self, fault: Any = None) -> None:
        self.fault = fault

    def __call__(self, run: RunDirectory) -> dict[str, Any]:
        changes = self.fault(run) if self.fault else None
        return {**(changes or {}), "sources": (LabeledSlices(), LabeledSlices(4))}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a kill is a signal of POSIX systems")
@pytest.mark.parametrize(
    "settings", [{"name": "constraint", "drop_db": 0.5}, {"name": "surgery", "method": "pcgrad"}], ids=str
)
def test_killed_anywhere_what_a_balance_found_comes_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The multiplier under a bound; the first losses and the random order of surgery, with three losses."""
    changes, kills = {}, [3, 5, 8, 10]
    if settings["name"] == "surgery":
        pytest.importorskip("torchjd", reason="gradient surgery is torchjd's")
        changes, kills = {"tasks": [TASK, {**TASK, "name": "again"}]}, [7]
    results = []
    for name, faults in (("whole", []), ("killed", kills)):
        root = tmp_path / name
        config = RunConfig.model_validate(run_file(adaptive(balance=settings, **changes)))
        create_run(config, root)
        codes = [runs.train(root, Labeled(runs.KillAtStep(step))) for step in faults]
        assert codes == [-signal.SIGKILL] * len(faults)
        assert runs.train(root, Labeled()) == 0
        results.append(runs.result(root))
    assert results[0] == results[1]


def test_joint_training_moves_both_and_is_judged_by_a_frozen_one(tmp_path: Path, segmenter: Path) -> None:
    method = {"name": "joint", "c": 0.5, "tasks": [given(segmenter)], "judges": [given(segmenter, name="frozen")],
              "stages": {"joint": SHORT}}  # fmt: skip
    weights = train(tmp_path / "run", method)
    assert digest(weights / "t_organs.safetensors") != digest(segmenter)
    last = [record["values"] for record in metrics(weights) if record["kind"] == "val"][-1]
    assert {"organs_dice", "judge_frozen_dice"} <= set(last)
    whole = train(tmp_path / "c0", {**method, "c": 0.0})
    plain = train(tmp_path / "plain", {"name": "reconstruct", "stages": {"reconstruct": SHORT}})
    values = [next(r["values"]["loss"] for r in metrics(one) if r["kind"] == "train") for one in (whole, plain)]
    assert values[0] == pytest.approx(values[1], rel=0.5), "C = 0: the same loss, on other samples"


@pytest.mark.parametrize("kind", ["clip", "gradient_penalty"])
def test_wgan_keeps_its_critic_in_bounds(tmp_path: Path, segmenter: Path, kind: str) -> None:
    method = {"name": "task_wgan", "tasks": [given(segmenter)], "critic": kind, "critic_steps": 2, "critic_width": 2,
              "stages": {"adversarial": SHORT}}  # fmt: skip
    config = RunConfig.model_validate(run_file(method))
    made = config.method.create(config)
    parts = made.build(config)
    batch = runs_batch()
    stage = made.stages[-1]
    losses = [made.step(stage, turn, batch, parts) for turn in ("d", "g")]
    assert all(math.isfinite(float(one.total.detach())) for one in losses)
    largest = max(float(weight.detach().abs().max()) for weight in parts.modules["d"].parameters())
    assert (largest <= 0.01) == (kind == "clip")
    train(tmp_path / "run", method)


def runs_batch() -> dict[str, Any]:
    from ctrestoration.training.keys import Key

    samples = [LabeledSlices().sample(Key(0, "x", 0, n)) for n in range(2)]
    return {name: torch.stack([torch.from_numpy(one[name]) for one in samples]) for name in samples[0]}


def test_the_gradient_penalty_is_the_distance_of_the_slope_from_1() -> None:
    class Plane(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            return 3.0 * image[:, :, :1, :1]

    image = torch.randn(2, 1, 4, 4)
    assert float(gradient_penalty(Plane(), image, image + 1).detach()) == pytest.approx(4.0)
    image = torch.randn(2, 1, 16, 16)
    assert float(gradient_penalty(critic(2), image, image).detach()) > 0


def test_normalized_by_gradient_alpha_is_the_share_of_the_push() -> None:
    image = torch.randn(1, 1, 4, 4).requires_grad_(True)
    pixel, task = (image**2).mean(), 1e5 * (image[0, 0, 0, 0] - 3) ** 2
    mix = balance.Fixed(name="fixed", alpha=0.25, normalize="gradient").build({"a": 2.0})
    mix.combine(balance.Step(pixel, lambda: {"a": task}, image)).total.backward()
    first, second = (torch.autograd.grad(loss, image)[0] for loss in ((image**2).mean(), (image[0, 0, 0, 0] - 3) ** 2))
    expected = 0.75 * first / first.norm() + 0.25 * second / second.norm()
    assert torch.allclose(image.grad, expected, atol=1e-6)


def test_without_normalization_it_is_equation_9() -> None:
    image = torch.zeros(1, 1, 2, 2)
    pixel, losses = torch.tensor(0.5), {"a": torch.tensor(0.3), "b": torch.tensor(0.6)}
    mix = balance.Fixed(name="fixed", alpha=0.1).build({"a": 1.0, "b": 2.0})
    total = mix.combine(balance.Step(pixel, lambda: losses, image)).total
    scaled = 0.9 * 0.5 * (1000 / 4072) ** 2 + 0.1 * 0.5
    assert float(total) / balance.PAPER_SCALE == pytest.approx(scaled)


def test_learned_weights_stay_where_each_loss_counts_alike() -> None:
    mix = balance.Uncertainty(name="uncertainty").build({"a": 1.0})
    pixel, task = torch.tensor(6e-4), torch.tensor(0.3)
    mix.combine(balance.Step(pixel, lambda: {"a": task}, torch.zeros(1))).total.backward()
    assert mix.log_scale.grad.abs().max() < 1e-3, "they begin at their optimum, s = log loss"
    mix.log_scale.grad = None
    mix.combine(balance.Step(4 * pixel, lambda: {"a": task}, torch.zeros(1))).total.backward()
    assert mix.log_scale.grad[0] < -1
    assert abs(mix.log_scale.grad[1]) < 1e-3


def test_the_multiplier_rises_while_the_bound_is_broken() -> None:
    mix = balance.Constraint(name="constraint", drop_db=1.0, start=0.0, rate=0.1).build({"a": 1.0})
    bound = mix.bound(torch.tensor(1e-3))
    assert 10 * math.log10(float(bound) / 1e-3) == pytest.approx(1.0)
    task = {"a": torch.tensor(0.3)}
    mix.combine(balance.Step(10 * bound, lambda: task, torch.zeros(1), bound))
    assert float(mix.multiplier) == pytest.approx(0.1 * math.log(10))
    for _ in range(2):
        mix.combine(balance.Step(bound / 10, lambda: task, torch.zeros(1), bound))
    assert float(mix.multiplier) == 0.0


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (adaptive(tasks=[TASK, TASK]), "two tasks are called organs"),
        (adaptive(judges=[TASK]), "no weights"),
        (adaptive(balance={"name": "fixed", "alpha": 1.5}), "less than or equal to 1"),
        (adaptive(balance={"name": "constraint", "psnr_db": 30, "base_weights": "x"}), "not both"),
        ({"name": "joint", "tasks": [{**TASK, "network": {"name": "torchscript", "file": "x"}}]}, "use judges"),
    ],
)
def test_settings_that_cannot_work_are_refused(method: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunConfig.model_validate(run_file(method))
