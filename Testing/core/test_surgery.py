"""Gradient surgery: what each rule does with gradients that do not agree, against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("monai", reason="Dice losses are MONAI's")

from core.lowdose_slices import TASK, run_file  # noqa: E402

from ctrestoration.errors import InputError, MissingDependencyError  # noqa: E402
from ctrestoration.training.recipes import _surgery  # noqa: E402
from ctrestoration.training.recipes._balance import PAPER_SCALE, Step, Surgery  # noqa: E402
from ctrestoration.training.runfile import RunConfig  # noqa: E402


@pytest.fixture(autouse=True)
def _torchjd() -> None:
    pytest.importorskip("torchjd", reason="gradient surgery is torchjd's")


def pushed(settings: dict[str, Any], first: Any, *others: Any) -> Any:
    """The gradient in parameters whose losses have the given gradients there; all losses are 1."""
    parameters = torch.zeros(len(first), requires_grad=True)
    image = (2.0 * parameters).view(1, 1, 1, -1)  # a network whose gradients are twice those in the image
    losses = [1 + 0.5 * (image.flatten() * torch.tensor(one)).sum() for one in (first, *others)]
    names = [f"task{n}" for n in range(len(others))]
    mix = Surgery.model_validate({"name": "surgery", **settings}).build(dict.fromkeys(names, 1.0))
    tasks = dict(zip(names, losses[1:], strict=True))
    answer = mix.combine(Step(losses[0], lambda: tasks, image, parameters=[parameters]))
    answer.total.backward()
    return answer, parameters.grad


@pytest.mark.parametrize("method", ["upgrad", "pcgrad"])
@pytest.mark.parametrize("normalize", ["none", "initial", "gradient"])
def test_where_nothing_conflicts_it_is_the_weighted_sum(method: str, normalize: str) -> None:
    pixel, task = [3.0, 0.0, 4.0], [1.0, 2.0, 2.0]
    answer, push = pushed({"method": method, "alpha": 0.25, "normalize": normalize}, pixel, task)
    scale = {"none": (1, PAPER_SCALE), "initial": (1, 1), "gradient": (1 / 5, 1 / 3)}[normalize]
    expected = 0.75 * scale[0] * np.array(pixel) + 0.25 * scale[1] * np.array(task)
    assert np.allclose(push.numpy(), expected, rtol=1e-4)
    assert float(answer.values["cosine_task0"]) == pytest.approx(11 / 15)
    if normalize == "initial":
        assert float(answer.total.detach()) == pytest.approx(1.0), "shown is the weighted sum of the losses"


@pytest.mark.parametrize("method", ["upgrad", "pcgrad"])
def test_two_that_conflict_are_each_projected_on_the_normal_plane_of_the_other(method: str) -> None:
    pixel, task = np.array([1.0, 0.0]), np.array([-1.0, 1.0])
    _, push = pushed({"method": method}, pixel.tolist(), task.tolist())
    without = [a - (a @ b) / (b @ b) * b for a, b in ((pixel, task), (task, pixel))]
    assert np.allclose(push.numpy(), 0.5 * without[0] + 0.5 * without[1], atol=1e-3)
    assert push.numpy() @ pixel > -1e-3
    assert push.numpy() @ task > -1e-3


def test_upgrad_hinders_no_loss_of_four() -> None:
    draw = np.random.default_rng(4)
    conflicts = 0
    for _ in range(20):
        gradients = draw.normal(size=(4, 6)).astype(np.float32)
        conflicts += bool((gradients @ gradients.sum(axis=0) < 0).any())
        _, push = pushed({"normalize": "none"}, *(1e-5 * gradients).tolist())
        found = push.numpy()
        assert (gradients @ found >= -1e-3 * np.linalg.norm(found)).all()
        assert np.linalg.norm(found) > 1e-7
    assert conflicts > 3, "the plain sum would hinder some"


def test_mgda_is_the_shortest_weighted_mean() -> None:
    long, short = np.array([4.0, 0.0]), np.array([0.0, 1.0])
    _, push = pushed({"method": "mgda"}, long.tolist(), short.tolist())
    share = 1 / 17  # of the long one: least |s long + (1 - s) short|
    assert np.allclose(push.numpy(), share * long + (1 - share) * short, atol=0.02)
    assert np.linalg.norm(push) < 1


def test_a_loss_without_gradient_has_no_say() -> None:
    for method in ("upgrad", "mgda", "pcgrad"):
        _, push = pushed({"method": method, "normalize": "none"}, [2.0, 0.0], [0.0, 0.0])
        assert push[0] > 0.9
        _, push = pushed({"method": method}, [0.0, 0.0], [0.0, 0.0])
        assert not push.any()


def test_first_losses_are_kept_for_checkpoints() -> None:
    mix = Surgery.model_validate({"name": "surgery"}).build({"a": 1.0})
    weight = torch.ones(1, requires_grad=True)
    image = weight * torch.ones(1, 1, 2, 2)
    for pixel, task in ((image**2, 0.25 * image), (9 * image**2, image)):
        mix.combine(Step(pixel.mean(), lambda task=task: {"a": task.mean()}, image, parameters=[weight]))
    assert mix.state_dict()["first"].tolist() == [1.0, 0.25]


def test_a_compiled_network_is_refused() -> None:
    content = run_file({"name": "task_adaptive", "tasks": [TASK], "balance": {"name": "surgery"}})
    content["hardware"] = {**content["hardware"], "compile": True}
    config = RunConfig.model_validate(content)
    with pytest.raises(InputError, match=r"set hardware\.compile to false"):
        config.method.create(config)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="leave alpha out"):
        Surgery.model_validate({"name": "surgery", "method": "mgda", "alpha": 0.5})
    with pytest.raises(ValidationError, match="lengths of gradients"):
        Surgery.model_validate({"name": "surgery", "method": "mgda", "normalize": "gradient"})
    monkeypatch.setattr(_surgery, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"'torchjd'.*pip install 'ctrestoration\[surgery\]'"):
        Surgery.model_validate({"name": "surgery"}).build({"a": 1.0})
