"""The uncertainty-constraint loss: its maps, its weights, and that it plugs into a network it was not written for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: losses are not tested")

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.losses.uncertainty import (  # noqa: E402
    Snapshots,
    error_map,
    gradient_map,
    pixel_weights,
    shuffled,
    squared_error_factor,
    uncertainty_map,
    weighted_rmse,
)


def test_the_map_is_the_scaled_population_spread() -> None:
    outputs = torch.tensor([[[[[0.0, 1.0], [5.0, 9.0]]]], [[[[0.0, 3.0], [5.0, 1.0]]]]])
    assert torch.allclose(uncertainty_map(outputs), torch.tensor([[[[0.0, 0.25], [0.0, 1.0]]]]))
    metal = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    assert torch.allclose(uncertainty_map(outputs, metal), torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]))


def test_each_image_is_scaled_by_itself_and_an_even_one_is_zero() -> None:
    outputs = torch.stack([torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)])
    outputs[1, 0, 0, 1, 2] = 1.0
    outputs[1, 1, 0, 1, 2] = 100.0
    found = uncertainty_map(outputs)
    assert torch.equal(found[0], found[1])
    assert float(found[0].sum()) == 1.0
    assert not found[2].any()
    assert torch.isfinite(uncertainty_map(outputs, torch.ones(3, 1, 4, 4))).all(), "all metal"


def test_a_quantile_clips_single_bright_pixels() -> None:
    spread = torch.linspace(0, 1, 100).reshape(1, 1, 10, 10).clone()
    spread[0, 0, 9, 9] = 1000
    outputs = torch.stack([spread, -spread])
    assert float(uncertainty_map(outputs)[0, 0, 5, 0]) < 0.01
    assert float(uncertainty_map(outputs, clip=0.95)[0, 0, 5, 0]) > 0.5


@pytest.mark.parametrize("weighting", ["u", "one_plus_u", "rmse_plus_u"])
def test_normalized_weights_have_mean_one_where_pixels_count(weighting: str) -> None:
    u = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    counted = torch.ones(2, 1, 6, 6)
    counted[..., :2] = 0
    strength = 3.0 if weighting == "one_plus_u" else 1.0
    weights = pixel_weights(u, weighting, strength, counted=counted)  # type: ignore[arg-type]
    means = (weights * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)
    assert torch.allclose(means, torch.ones(2), atol=1e-6)


@pytest.mark.parametrize("normalized", [True, False])
def test_lambda_changes_every_loss_that_takes_it_and_is_refused_by_the_others(normalized: bool) -> None:
    u = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(4))
    assert not torch.allclose(pixel_weights(u, strength=2.0, normalized=normalized), pixel_weights(u, strength=1.0))
    for weighting in ("u", "rmse_plus_u"):
        with pytest.raises(InputError, match="has none"):
            pixel_weights(u, weighting, 2.0, normalized)  # type: ignore[arg-type]


def test_an_even_image_is_weighted_evenly() -> None:
    u = torch.zeros(1, 1, 3, 3)
    assert torch.equal(pixel_weights(u), torch.ones_like(u))
    assert torch.equal(pixel_weights(u, "u"), u), "the literal weight supervises nothing there, and says so"


def test_the_loss_is_the_equation() -> None:
    generator = torch.Generator().manual_seed(1)
    y, target, w = (torch.rand(2, 1, 5, 5, generator=generator) for _ in range(3))
    squared = (y - target) ** 2
    expected = torch.sqrt((w * squared).flatten(1).mean(1))
    assert torch.allclose(weighted_rmse(y, target, w), expected)
    on_residual = torch.sqrt((w**2 * squared).flatten(1).mean(1))
    assert torch.allclose(weighted_rmse(y, target, w, on="residual"), on_residual)
    plain = torch.sqrt(squared.flatten(1).mean(1))
    assert torch.allclose(weighted_rmse(y, target, w, beside_plain=1.0), expected + plain)
    assert torch.allclose(weighted_rmse(y, target, w, beside_plain=4.0), plain + 4.0 * expected)
    mse = (squared_error_factor(w, "residual", 4.0) * squared).flatten(1).mean(1)
    assert torch.allclose(mse, plain**2 + 4.0 * on_residual**2)
    metal = torch.zeros(2, 1, 5, 5)
    metal[..., 0] = 1
    worse = y + 1000 * metal
    assert torch.allclose(weighted_rmse(worse, target, w, 1 - metal), weighted_rmse(y, target, w, 1 - metal))
    perfect = target.clone().requires_grad_()
    weighted_rmse(perfect, target, w).sum().backward()
    assert torch.isfinite(perfect.grad).all()  # type: ignore[union-attr]


def test_controls_hold_the_same_values_elsewhere() -> None:
    u = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    mixed = shuffled(u, [5, 6])
    assert not torch.equal(mixed, u)
    assert torch.equal(mixed.flatten(1).sort().values, u.flatten(1).sort().values)
    assert torch.equal(mixed, shuffled(u, [5, 6]))
    edge = torch.zeros(1, 1, 7, 7)
    edge[..., 4:] = 100.0
    assert float(gradient_map(edge)[0, 0, 3, 3]) == 1.0
    assert float(gradient_map(edge)[0, 0, 3, 0]) == 0.0
    assert float(error_map(edge, torch.zeros_like(edge))[0, 0, 0, 5]) == 1.0


def test_snapshots_leave_the_network_alone_and_need_two_epochs() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.BatchNorm2d(1)).train()
    snapshots = Snapshots(network)
    snapshots.take()
    x = torch.randn(1, 1, 6, 6)
    with pytest.raises(InputError, match="two epochs"):
        snapshots.uncertainty(x)
    with pytest.raises(InputError, match="two epochs, not 1"):
        uncertainty_map(x[None])
    with torch.no_grad():
        network[0].weight.mul_(2)
    snapshots.take()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = snapshots.uncertainty(x)
    assert float(found.max()) == 1.0
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_lines_of_the_documentation_train_a_network_taken_as_it_is() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")
    text = (Path(__file__).parents[2] / "docs" / "uncertainty-loss.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    y = torch.zeros(4, 1, 32, 32)
    y[..., 8:24, 8:24] = 1.0
    x = y + 0.3 * torch.randn(y.shape, generator=generator)
    losses: list[float] = []
    optimizers: dict[int, torch.optim.Optimizer] = {}

    def train(network: torch.nn.Module, loss_of: Callable[..., torch.Tensor]) -> None:
        optimizer = optimizers.setdefault(id(network), torch.optim.Adam(network.parameters(), lr=3e-3))
        optimizer.zero_grad()
        loss = loss_of(network(x), x, y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    exec(code, {"BasicUNet": nets.BasicUNet, "train": train})  # noqa: S102 - the documentation's own lines
    assert len(losses) == 25
    assert losses[-1] < 0.8 * losses[5]
