"""FBP with autograd: the numbers of `fbp`, an exact transpose, on compiled and on torch kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="autograd needs PyTorch")

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.physics import _torch_fbp  # noqa: E402
from ctrestoration.physics._torch_fbp import ReconstructionOperator  # noqa: E402
from ctrestoration.physics.fbp import fbp  # noqa: E402
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid, ParallelBeam  # noqa: E402

GRID = ImageGrid((21, 24), (2.0, 2.5))
GEOMETRIES = [
    ParallelBeam(30, 41, 2.0),
    FanFlat(32, 45, 3.0, offset=0.25, source_distance=300.0, detector_distance=200.0),
    FanArc(36, 43, 0.008, source_distance=300.0, detector_distance=200.0),
    FanFlat(40, 45, 3.0, arc=1.3 * math.pi, source_distance=300.0, detector_distance=200.0),
]


@pytest.fixture(params=GEOMETRIES, ids=lambda geometry: f"{geometry.kind}-{geometry.arc:.1f}")
def operator(request: pytest.FixtureRequest) -> ReconstructionOperator:
    geometry: Geometry = request.param
    return ReconstructionOperator(geometry, GRID, "hann")


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def on_torch(operator: ReconstructionOperator, sinograms: torch.Tensor) -> torch.Tensor:
    """The way that other devices take, on the CPU."""
    weighted = sinograms * _torch_fbp._constants(operator, sinograms)[0]
    return _torch_fbp._backproject(_torch_fbp._filtered(weighted, operator), operator)


def test_the_numbers_are_those_of_fbp(operator: ReconstructionOperator) -> None:
    sinograms = draw(2, 1, operator.geometry.n_views, operator.geometry.n_bins)
    expected = fbp(sinograms.numpy(), operator.geometry, GRID, window="hann")
    assert np.array_equal(operator.reconstruct(sinograms).numpy(), expected)
    close = float(np.abs(expected).max()) * 1e-4
    np.testing.assert_allclose(on_torch(operator, sinograms).numpy(), expected, atol=close)


def test_the_transpose_is_exact(operator: ReconstructionOperator) -> None:
    sinograms, images = draw(operator.geometry.n_views, operator.geometry.n_bins), draw(*GRID.shape)
    forward, backward = operator.reconstruct(sinograms), operator.transposed(images)
    one, other = (forward.double() * images).sum(), (backward.double() * sinograms).sum()
    scale = float(forward.norm() * images.norm())
    assert abs(float(one - other)) < 1e-5 * scale
    spread = _torch_fbp._spread(images, operator)
    on_device = _torch_fbp._filtered(spread, operator) * _torch_fbp._constants(operator, spread)[0]
    assert torch.allclose(on_device, backward, atol=float(backward.abs().max()) * 1e-4)


def test_gradients_flow_both_ways(operator: ReconstructionOperator) -> None:
    sinograms = draw(operator.geometry.n_views, operator.geometry.n_bins).requires_grad_()
    image = operator.reconstruct(sinograms)
    (gradient,) = torch.autograd.grad(0.5 * (image**2).sum(), sinograms, create_graph=True)
    assert torch.allclose(gradient, operator.transposed(image), rtol=1e-5)
    (second,) = torch.autograd.grad(0.5 * (gradient**2).sum(), sinograms)
    assert torch.allclose(second, operator.transposed(operator.reconstruct(gradient)), rtol=1e-4)


def test_other_shapes_are_refused(operator: ReconstructionOperator) -> None:
    with pytest.raises(InputError, match="the geometry expects"):
        operator.reconstruct(torch.zeros(3, 3))
    with pytest.raises(InputError, match="the geometry expects"):
        operator.transposed(torch.zeros(3, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_equals_cpu(operator: ReconstructionOperator) -> None:
    sinograms, images = draw(3, operator.geometry.n_views, operator.geometry.n_bins), draw(3, *GRID.shape)
    # As in test_cuda_kernels.py: only the gradient through the FBP adds up many places in single precision.
    image_bound, gradient_bound = 1e-4, 5e-4
    for operation, tensor, back, bound, back_bound in (
        (operator.reconstruct, sinograms, operator.transposed, image_bound, gradient_bound),
        (operator.transposed, images, operator.reconstruct, gradient_bound, image_bound),
    ):
        expected, leaf = operation(tensor), tensor.cuda().requires_grad_()
        result = operation(leaf)
        assert result.is_cuda
        np.testing.assert_allclose(
            result.detach().cpu().numpy(), expected.numpy(), atol=float(expected.abs().max()) * bound
        )
        (gradient,) = torch.autograd.grad(result, leaf, expected.cuda())
        assert torch.allclose(gradient.cpu(), back(expected), atol=float(back(expected).abs().max()) * back_bound)
