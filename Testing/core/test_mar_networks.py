"""The unrolled networks of metal artifact reduction: published sizes, equations at fixed points, symmetry, slopes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the networks are not tested")

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.networks._blocks import DualDomain, ResidualStack, split  # noqa: E402
from ctrestoration.networks._operator import NetworkOperator, to_network_image  # noqa: E402
from ctrestoration.networks._rotated import (  # noqa: E402
    GroupConvolution,
    LiftingConvolution,
    rotated_basis,
)
from ctrestoration.networks.dicdnet import DICDNet, analyze, synthesize  # noqa: E402
from ctrestoration.networks.indudonet import InDuDoNet  # noqa: E402
from ctrestoration.networks.mepnet import EquivariantStep, MEPNet  # noqa: E402
from ctrestoration.networks.oscnet import OSCNet  # noqa: E402
from ctrestoration.physics.geometry import FanFlat, ImageGrid  # noqa: E402
from ctrestoration.physics.projector import Projector  # noqa: E402

SIZE = 24


@pytest.fixture(scope="module")
def operator() -> NetworkOperator:
    geometry = FanFlat(n_views=30, n_bins=37, pitch=2.0, source_distance=100.0, detector_distance=100.0)
    return NetworkOperator(Projector(geometry, ImageGrid((SIZE, SIZE), (1.0, 1.0))))


def scan(operator: NetworkOperator) -> DualDomain:
    generator = torch.Generator().manual_seed(3)
    image = 49.0 + 5.0 * torch.randn(2, 1, SIZE, SIZE, generator=generator)
    sinogram = operator.forward(image)
    kept = torch.ones_like(sinogram)
    kept[..., 15:20] = 0
    return DualDomain(image, image, sinogram, sinogram * kept, kept, prior=image)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("indudonet", {}, 5_094_977),
        ("indudonet", {"prior": "nmar"}, 1_752_929),
        ("dicdnet", {}, 1_277_332),
        ("unet", {"in_channels": 2}, 3_351_969),
    ],
)
def test_sizes_are_the_published_ones(name: str, options: dict[str, object], parameters: int) -> None:
    network = build_network(name, options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_operator_keeps_units_and_knows_its_strength(operator: NetworkOperator) -> None:
    mu = torch.full((1, 1, SIZE, SIZE), 0.0192)
    assert float(to_network_image(mu).mean()) == pytest.approx(0.192 * 255, rel=1e-5)
    line = torch.from_numpy(operator.projector.forward(mu.numpy()))
    assert torch.allclose(operator.forward(to_network_image(mu)), operator.to_network(line), rtol=1e-5)
    image = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for _ in range(60):
        image = operator.adjoint(operator.forward(image / image.norm()))
    assert operator.strength == pytest.approx(float(image.norm()), rel=1e-3)


@pytest.mark.parametrize("network", [InDuDoNet, MEPNet])
def test_dual_domain_networks_move_by_the_published_gradients(
    network: type[InDuDoNet], operator: NetworkOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With proximal networks that change nothing, one stage is one gradient step on both domains."""
    torch.manual_seed(0)
    model = network(stages=1, blocks=1).eval()
    data = scan(operator)
    for name in ("image_start", "sinogram_start"):
        getattr(model, name).step = torch.nn.Identity()
    model.image_steps[0] = torch.nn.Identity()
    model.sinogram_steps[0] = torch.nn.Identity()
    result = model(data, operator)
    norm = operator.forward(torch.relu(model.norm(model.prior_image(data))))
    s = data.sinogram_li
    projected = operator.forward(data.image_li)
    s = s - 0.1 * (norm * (norm * s - projected) + 0.5 * data.kept * norm * (norm * s - data.sinogram))
    assert torch.allclose(result.sinograms[0], norm * s, rtol=1e-4, atol=1e-3)
    x = data.image_li - 0.37 / operator.strength * operator.adjoint(projected - norm * s)
    assert torch.allclose(result.images[0], x, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("network", [InDuDoNet, MEPNet])
def test_every_parameter_of_a_dual_domain_network_learns(network: type[InDuDoNet], operator: NetworkOperator) -> None:
    model = network(stages=2, blocks=2)
    result = model(scan(operator), operator)
    assert [image.shape for image in result.images] == [(2, 1, SIZE, SIZE)] * 2
    assert [sinogram.shape for sinogram in result.sinograms] == [(2, 1, 30, 37)] * 2
    (result.images[-1].square().mean() + result.sinograms[-1].square().mean()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("network", [InDuDoNet, MEPNet])
def test_the_memory_layout_changes_no_result(network: type[InDuDoNet], operator: NetworkOperator) -> None:
    """Channels next to each other or one after the other: the same values and gradients, but for rounding."""
    torch.manual_seed(0)
    model = network(stages=1, blocks=2).double().eval()
    data = scan(operator)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=layout).zero_grad()
        # The operator computes in single precision.
        result = model(DualDomain(*(None if one is None else one.double() for one in data)), operator).images[-1]
        result.square().mean().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        found.append([result.detach(), *gradients])
    for first, last in zip(*found, strict=True):
        torch.testing.assert_close(last, first, rtol=1e-3, atol=1e-4 * float(first.abs().max()))


def test_what_meets_in_a_layer_has_one_memory_layout() -> None:
    """A slice of a larger tensor and the gradient of one come channels first; normalization of both is slow."""
    stack = ResidualStack(33, 2).to(memory_format=torch.channels_last)
    seen = []

    def look(module: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        seen.append(given[0])
        made.register_hook(seen.append)

    for block in stack.blocks:
        block[0].register_forward_hook(look)
        block[3].register_forward_hook(look)
    image, dual = torch.randn(2, 1, 8, 9, requires_grad=True), torch.randn(2, 34, 8, 9)[:, 1:-1]
    out, _ = split(stack(torch.cat([image, dual], dim=1)))
    out.sum().backward()
    assert len(seen) == 8, "what each of four convolutions is given, and the gradient of what it makes"
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)


def test_the_plus_variant_wants_its_prior(operator: NetworkOperator) -> None:
    model = InDuDoNet(stages=1, blocks=1, prior="nmar")
    data = scan(operator)
    assert model(data, operator).images[0].shape == (2, 1, SIZE, SIZE)
    with pytest.raises(InputError, match="NMAR prior"):
        model(data._replace(prior=None), operator)


@pytest.mark.parametrize("options", [{"stages": 0}, {"blocks": 0}, {"prior": "lung"}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="InDuDoNet takes"):
        build_network("indudonet", options)


@pytest.mark.parametrize("filters", [1, 2])
def test_synthesis_and_analysis_are_transposes(filters: int) -> None:
    generator = torch.Generator().manual_seed(1)
    bank = torch.randn(filters, 32, 9, 9, generator=generator, dtype=torch.float64)
    maps = torch.randn(2, 32, 15, 13, generator=generator, dtype=torch.float64)
    image = torch.randn(2, 1, 15, 13, generator=generator, dtype=torch.float64)
    left, right = (synthesize(bank, maps) * image).sum(), (maps * analyze(bank, image)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-10)


@pytest.mark.parametrize("model", [DICDNet(stages=2, blocks=1), OSCNet(2, 1), OSCNet(2, 1, adaptive=True)])
def test_image_domain_networks_use_all_their_weights_and_only_what_lies_outside_metal(model: DICDNet) -> None:
    generator = torch.Generator().manual_seed(2)
    image = 49 + 10 * torch.randn(2, 1, 20, 20, generator=generator)
    outside = torch.ones_like(image)
    outside[..., 8:12, 8:12] = 0
    result = model(image, image.flip(3), outside)
    assert len(result.images) == 4
    assert len(result.artifacts) == 2
    (sum(x.square().mean() for x in result.images)).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    model.eval()
    if not getattr(model, "_adaptive", False):
        with torch.no_grad():
            same = model(image + 1000 * (1 - outside), image.flip(3), outside).images[-1]
            assert torch.equal(same, model(image, image.flip(3), outside).images[-1])


def test_the_shapes_of_oscnet_plus_are_not_negative_and_of_unit_length() -> None:
    generator = torch.Generator().manual_seed(6)
    network = OSCNet(1, 1, adaptive=True).shapes
    image, artifact = (255 * torch.rand(2, 1, 9, 9, generator=generator) for _ in range(2))
    found = network(image, artifact)
    raw = network.head(torch.zeros(1, 6))  # the bias alone has both signs
    assert float(raw.detach().min()) < 0
    assert float(found.detach().min()) >= 0
    assert torch.allclose(found.norm(dim=2), torch.ones(2, 4), atol=1e-5)
    with torch.no_grad():
        network.head.bias.fill_(-100.0)
    dead = network(image, artifact)
    assert torch.allclose(dead.norm(dim=2), torch.ones(2, 4), atol=1e-5), "no shape vanishes"
    dead.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_the_first_artifact_is_what_the_dictionary_makes_of_the_bright_difference() -> None:
    torch.manual_seed(0)
    model = DICDNet(stages=1, blocks=1).eval()
    model.start.step = torch.nn.Identity()
    model.map_steps[0] = torch.nn.Identity()
    image, li = 60 + torch.rand(1, 1, 12, 12), torch.full((1, 1, 12, 12), 50.0)
    outside = torch.ones_like(image)
    maps = torch.relu(analyze(model.first_filters / 10, image - li - 1.0) - 0.5)
    artifact = model(image, li, outside).artifacts[0]
    assert torch.allclose(artifact, synthesize(model.filters / 10, maps), atol=1e-3)


def test_rotated_filters_turn() -> None:
    basis = rotated_basis(9)
    assert basis.shape == (8, 9, 9, 25)
    flat = basis.reshape(-1, 25).double()
    assert torch.allclose(flat.T @ flat / 8, torch.eye(25, dtype=torch.float64), atol=1e-5)
    for number in range(8):  # two steps of 45 degrees are a quarter turn
        turned = torch.rot90(basis[number], -1, (0, 1))
        assert torch.allclose(turned, basis[(number + 2) % 8], atol=1e-5)


def test_lifting_and_group_convolutions_turn_with_the_image() -> None:
    torch.manual_seed(0)
    lift, group = LiftingConvolution(2, 3), GroupConvolution(3, 2)
    step = EquivariantStep(3, 2).eval()
    image = torch.randn(1, 2, 15, 15)
    turned = group(lift(torch.rot90(image, 1, (2, 3)))).unflatten(1, (2, 8))
    expected = torch.rot90(group(lift(image)).unflatten(1, (2, 8)), 1, (3, 4))
    shifts = [n for n in range(8) if torch.allclose(turned, expected.roll(n, dims=2), atol=1e-5)]
    assert len(shifts) == 1
    assert shifts[0] in (2, 6), "a quarter turn is two orientations"
    features = torch.randn(1, 3, 15, 15)
    expected = torch.rot90(step.equivariant(features), 1, (2, 3))
    assert torch.allclose(step.equivariant(torch.rot90(features, 1, (2, 3))), expected, atol=1e-5)
