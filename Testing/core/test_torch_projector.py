"""The projector inside torch: the same numbers, and derivatives of any order."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.physics.geometry import FanFlat, ImageGrid
from ctrestoration.physics.projector import Projector

torch = pytest.importorskip("torch", reason="differentiable projection needs torch")

GRID = ImageGrid((12, 10), (1.0, 1.2))
PROJECTOR = Projector(FanFlat(14, 16, 2.0, source_distance=40.0, detector_distance=30.0), GRID)


def test_same_numbers_as_numpy() -> None:
    image = np.random.default_rng(0).random((2, 3, *GRID.shape), dtype=np.float32)
    sinogram = PROJECTOR.forward(torch.from_numpy(image))
    assert np.array_equal(sinogram.numpy(), PROJECTOR.forward(image))
    assert np.array_equal(PROJECTOR.adjoint(sinogram).numpy(), PROJECTOR.adjoint(sinogram.numpy()))


def test_gradient_of_a_linear_operation_is_its_adjoint() -> None:
    image = torch.rand(GRID.shape, requires_grad=True)
    weights = torch.rand(14, 16)
    (PROJECTOR.forward(image) * weights).sum().backward()
    assert torch.equal(image.grad, PROJECTOR.adjoint(weights))


def test_gradcheck_in_both_directions() -> None:
    """float32 inside: perturbations of 0.1 make finite differences of a linear map exact enough."""
    image = torch.rand(GRID.shape, dtype=torch.float64, requires_grad=True)
    sinogram = torch.rand((14, 16), dtype=torch.float64, requires_grad=True)
    settings = {"eps": 0.1, "atol": 1e-3, "rtol": 1e-3, "nondet_tol": 0.0}
    assert torch.autograd.gradcheck(PROJECTOR.forward, (image,), **settings)
    assert torch.autograd.gradcheck(PROJECTOR.adjoint, (sinogram,), **settings)
    assert torch.autograd.gradgradcheck(PROJECTOR.forward, (image,), **settings)


def test_double_backward_of_a_data_consistency_step() -> None:
    measured = PROJECTOR.forward(torch.rand(GRID.shape))
    image = torch.rand(GRID.shape, requires_grad=True)
    residual = PROJECTOR.forward(image) - measured
    (gradient,) = torch.autograd.grad((residual**2).sum(), image, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), image)
    expected = 2 * PROJECTOR.adjoint(PROJECTOR.forward(torch.ones(GRID.shape)))
    assert torch.allclose(second, expected, rtol=1e-4)
