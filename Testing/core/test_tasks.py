"""Task networks: heads against their formulas, where networks come from, and that a frozen one does not move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch", reason="task networks need PyTorch")
pytest.importorskip("monai", reason="Dice losses are MONAI's")

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs.outcome import DataRefusedError  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.training.recipes._heads import Classification, Detection, Segmentation  # noqa: E402
from ctrestoration.training.recipes._tasks import Frozen, TaskConfig, state_digest  # noqa: E402

UNET = {"name": "unet", "widths": [2, 4]}


def labels() -> Any:
    """Two slices of 8x8: liver and lesion; liver alone."""
    array = np.zeros((2, 1, 8, 8), dtype=np.float32)
    array[0, 0, 1:5, 1:5] = 1
    array[0, 0, 2:4, 2:4] = 2
    array[1, 0, 4:8, 4:8] = 1
    return torch.from_numpy(array)


def task(**changes: Any) -> TaskConfig:
    return TaskConfig.model_validate({"network": UNET, **changes})


@pytest.mark.parametrize("background", [False, True])
def test_dice_is_equation_7(background: bool) -> None:
    torch.manual_seed(0)
    answer, truth = torch.randn(2, 3, 8, 8), labels()
    probabilities = torch.softmax(answer, 1).numpy()
    scores = []
    for n in range(2):
        for c in range(0 if background else 1, 3):
            p, g = probabilities[n, c], truth[n, 0].numpy() == c
            scores.append((2 * (p * g).sum() + 1e-5) / (p.sum() + g.sum() + 1e-5))
    loss = Segmentation((0, 1, 2), "dice", background).loss(answer, {"labels": truth})
    assert float(loss) == pytest.approx(1 - np.mean(scores), abs=1e-6)


def test_cross_entropy_is_added_over_labeled_pixels() -> None:
    torch.manual_seed(0)
    answer, truth = torch.randn(2, 3, 8, 8), labels()
    batch = {"labels": truth}
    difference = Segmentation((0, 1, 2), "dice_ce").loss(answer, batch) - Segmentation((0, 1, 2), "dice").loss(
        answer, batch
    )
    expected = torch.nn.functional.cross_entropy(answer, truth[:, 0].long())
    assert float(difference) == pytest.approx(float(expected), abs=1e-5)
    # A class that is not labeled adds nothing, whatever the network says about it.
    head = Segmentation((0, 1, None), "dice_ce")
    assert head.counted == [1]


def test_scores_are_hard_and_without_background() -> None:
    truth = labels()
    perfect = torch.nn.functional.one_hot(truth[:, 0].long(), 3).permute(0, 3, 1, 2).float() * 9
    head = Segmentation((0, 1, 2))
    assert head.scores(perfect, {"labels": truth})["dice"].tolist() == [1.0, 1.0]
    nothing = torch.zeros_like(perfect)
    nothing[:, 0] = 9
    assert head.scores(nothing, {"labels": truth})["dice"].tolist() == [0.0, 0.0]
    turned = Segmentation((2, 0, 1))  # a network with its classes in another order
    assert turned.scores(perfect[:, [2, 0, 1]], {"labels": truth})["dice"].tolist() == [1.0, 1.0]


def test_classification_says_which_classes_are_there() -> None:
    head, batch = Classification((1, 2)), {"labels": labels()}
    right = torch.tensor([[5.0, 5.0], [5.0, -5.0]])
    assert head.scores(right, batch)["accuracy"].tolist() == [1.0, 1.0]
    assert head.scores(-right, batch)["accuracy"].tolist() == [0.0, 0.0]
    assert head.loss(right, batch) < 0.01 < head.loss(-right, batch)


def test_detection_finds_centers() -> None:
    head, batch = Detection((2,), reach=1.5), {"labels": labels()}
    answer = torch.full((2, 1, 8, 8), -9.0)
    missed = head.loss(answer, batch)
    assert head.scores(answer, batch)["f1"].tolist() == [0.0, 1.0]
    answer[0, 0, 2, 2] = 9.0
    assert head.scores(answer, batch)["f1"].tolist() == [1.0, 1.0]
    assert head.loss(answer, batch) < 0.1 * missed
    answer[1, 0, 6, 6] = 9.0
    assert head.scores(answer, batch)["f1"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", ["segmentation", "classification", "detection"])
def test_gradients_reach_the_image_through_a_frozen_network(kind: str) -> None:
    torch.manual_seed(0)
    wide = {"name": "unet", "widths": [8, 8]}  # so that not every ReLU is shut by chance
    network = {"name": "classifier", "widths": [8]} if kind == "classification" else wide
    one = task(kind=kind, network=network, labels=(0, 1, 2) if kind == "segmentation" else (1, 2))
    frozen = Frozen(one.build())
    before = state_digest(frozen)
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    image = (100 * torch.randn(2, 1, 8, 8)).requires_grad_(True)
    one.loss_of(frozen, image, {"labels": labels()}).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert state_digest(frozen) == before, "statistics of its batch normalization would have moved in training mode"


def test_the_organs_that_a_dice_loss_is_the_mean_of() -> None:
    assert task(labels=(0, 1, 2)).organs == 2
    assert task(labels=(0, 1, None)).organs == 1, "one is not labeled"
    assert task(labels=(0, 1, 2), background=True).organs == 3
    assert task(kind="detection", labels=(1, 2)).organs == 1


def test_a_window_is_what_the_network_sees() -> None:
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            seen.append(image)
            return image.repeat(1, 3, 1, 1)

    image = torch.tensor([-500.0, -100.0, 100.0, 900.0]).view(1, 1, 2, 2)
    task(window=(-100, 300)).answer(Spy(), image)
    assert seen[0].flatten().tolist() == [0.0, 0.0, 0.5, 1.0]
    with pytest.raises(InputError, match="3 outputs"):
        task().answer(torch.nn.Identity(), image)
    with pytest.raises(InputError, match="rows and columns"):
        task().answer(torch.nn.Conv2d(1, 3, 2, stride=2), image)
    with pytest.raises(InputError, match="answers with a tuple"):
        task().answer(torch.nn.MaxPool2d(2, return_indices=True), image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": (0, 1, 1)}, "names a class twice"),
        ({"kind": "detection", "labels": (0, 1)}, "class numbers from 1 on"),
        ({"kind": "classification", "labels": (1,)}, "do not fit"),
        ({"window": (5, 5)}, "has to rise"),
        ({"network": {"name": "torchscript", "file": "x.pt"}, "weights": "y.safetensors"}, "brings its own"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**changes)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_file_needs_consent(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.script(build_network("classifier", {"widths": [2], "out_channels": 3})).save(str(path))
    network = {"name": "torchscript", "file": str(path)}
    with pytest.raises(InputError, match="i_trust_this_file"):
        task(kind="classification", labels=(1, 2, 3), network=network).build()
    trusted = task(kind="classification", labels=(1, 2, 3), network={**network, "i_trust_this_file": True})
    frozen = Frozen(trusted.build())
    assert trusted.answer(frozen, torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    path.write_bytes(b"no script")
    with pytest.raises(DataRefusedError, match="no TorchScript"):
        trusted.build()


def bundle(folder: Path, network: dict[str, Any]) -> dict[str, Any]:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": network}), encoding="utf-8")
    made = build_network("monai", {"kind": "SegResNet", "arguments": {"init_filters": 8}, "out_channels": 3})
    torch.save(made.inside.state_dict(), folder / "models" / "model.pt")
    return {"name": "monai_bundle", "folder": str(folder)}


PLAIN = {"_target_": "SegResNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "init_filters": 8}


def test_a_bundles_weights_are_taken_without_running_it(tmp_path: Path) -> None:
    network = bundle(tmp_path / "bundle", PLAIN)
    made = Frozen(task(network=network).build())
    answer = made(torch.zeros(1, 1, 17, 40))
    assert answer.shape == (1, 3, 17, 40)
    marker = tmp_path / "ran"
    program = {**PLAIN, "init_filters": f"$__import__('pathlib').Path({str(marker)!r}).touch() or 8"}
    evil = bundle(tmp_path / "evil", program)
    with pytest.raises(InputError, match="not executed"):
        task(network=evil).build()
    given = {**evil, "kind": "SegResNet", "arguments": {"init_filters": 8}}
    assert state_digest(Frozen(task(network=given).build())) != ""
    assert not marker.exists()


def test_a_bundle_of_another_network_or_a_pickle_is_refused(tmp_path: Path) -> None:
    network = bundle(tmp_path / "bundle", {**PLAIN, "init_filters": 16})
    with pytest.raises(InputError, match="does not fit"):
        task(network=network).build()
    (tmp_path / "bundle" / "models" / "model.pt").unlink()
    torch.save({"model": Path("x")}, tmp_path / "bundle" / "models" / "model.pt")
    with pytest.raises(DataRefusedError, match="plain tensors"):
        task(network=network).build()


def test_monai_networks_by_class_name() -> None:
    made = build_network(
        "monai", {"kind": "BasicUNet", "arguments": {"features": [4, 4, 8, 8, 8, 4]}, "out_channels": 2}
    )
    assert made(torch.zeros(1, 1, 20, 33)).shape == (1, 2, 20, 33)
    for kind in ("Nothing", "os.system", "__name__"):
        with pytest.raises(InputError, match="no network"):
            build_network("monai", {"kind": kind})
    with pytest.raises(InputError, match="cannot be built"):
        build_network("monai", {"kind": "BasicUNet", "arguments": {"widths": 3}})
