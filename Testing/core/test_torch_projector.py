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
    small = Projector(FanFlat(6, 9, 2.0, source_distance=40.0, detector_distance=30.0), ImageGrid((7, 6), (1.0, 1.2)))
    image = torch.rand((7, 6), dtype=torch.float64, requires_grad=True)
    sinogram = torch.rand((6, 9), dtype=torch.float64, requires_grad=True)
    settings = {"eps": 0.1, "atol": 1e-3, "rtol": 1e-3, "nondet_tol": 0.0}
    assert torch.autograd.gradcheck(small.forward, (image,), **settings)
    assert torch.autograd.gradcheck(small.adjoint, (sinogram,), **settings)
    assert torch.autograd.gradgradcheck(small.forward, (image,), **settings)


def test_double_backward_of_a_data_consistency_step() -> None:
    measured = PROJECTOR.forward(torch.rand(GRID.shape))
    image = torch.rand(GRID.shape, requires_grad=True)
    residual = PROJECTOR.forward(image) - measured
    (gradient,) = torch.autograd.grad((residual**2).sum(), image, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), image)
    expected = 2 * PROJECTOR.adjoint(PROJECTOR.forward(torch.ones(GRID.shape)))
    assert torch.allclose(second, expected, rtol=1e-4)


def test_device_kernels_equal_the_compiled_ones() -> None:
    """What a GPU runs, run on the CPU: same sums, no copies through the host."""
    from ctrestoration.physics import _torch_kernels

    for projector in (
        PROJECTOR,
        Projector(FanFlat(40, 60, 1.5, source_distance=60.0, detector_distance=50.0), ImageGrid((30, 44), (1.3, 0.8))),
    ):
        image = torch.rand((2, *projector.grid.shape))
        expected = projector.forward(image)
        torch.testing.assert_close(_torch_kernels.forward(image, projector), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            _torch_kernels.adjoint(expected, projector), projector.adjoint(expected), rtol=1e-4, atol=1e-3
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_equals_cpu() -> None:
    image = torch.rand((2, *GRID.shape))
    on_gpu = PROJECTOR.forward(image.cuda())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), PROJECTOR.forward(image), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(PROJECTOR.adjoint(on_gpu).cpu(), PROJECTOR.adjoint(on_gpu.cpu()), rtol=1e-4, atol=1e-4)
