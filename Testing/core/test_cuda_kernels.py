"""Triton's kernels against those of the CPU: on a GPU where there is one, else in Triton's interpreter, else skipped.

The interpreter is chosen by an environment variable that Triton reads when imported, so a child process runs the tests
of this file once more with it. It is slow: scans here are tiny.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these kernels serve torch tensors")

from ctrestoration.errors import CTRestorationWarning  # noqa: E402
from ctrestoration.physics import _torch_choice, _torch_fbp, _torch_kernels  # noqa: E402
from ctrestoration.physics._torch_fbp import ReconstructionOperator  # noqa: E402
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid, ParallelBeam  # noqa: E402
from ctrestoration.physics.presets import scanner_preset  # noqa: E402
from ctrestoration.physics.projector import Projector  # noqa: E402

HAS_TRITON = importlib.util.find_spec("triton") is not None
HAS_GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if HAS_GPU and not INTERPRETED else "cpu"
needs_kernels = pytest.mark.skipif(
    not HAS_TRITON or not (HAS_GPU or INTERPRETED), reason="neither a GPU nor Triton's interpreter (TRITON_INTERPRET=1)"
)
needs_gpu = pytest.mark.skipif(not HAS_GPU or INTERPRETED, reason="no CUDA device on this machine")

GRID = ImageGrid((9, 12), (1.3, 0.8))
GEOMETRIES = [
    ParallelBeam(8, 13, 1.5, offset=0.25),
    FanFlat(9, 14, 2.0, source_distance=40.0, detector_distance=30.0),
    FanArc(8, 12, 0.05, offset=-0.5, source_distance=40.0, detector_distance=20.0),
    FanFlat(5, 40, 0.5, arc=1.4 * math.pi, source_distance=40.0, detector_distance=10.0),
    ParallelBeam(5, 4, 6.0, first_angle=0.3),
]
NAMES = [f"{geometry.kind}-{geometry.n_bins}" for geometry in GEOMETRIES]


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)


def scans(geometry: Geometry, *lead: int) -> torch.Tensor:
    return draw(*lead, geometry.n_views, geometry.n_bins)


def assert_close(ours: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
    assert ours.shape == expected.shape
    assert ours.dtype == torch.float32
    scale = float(expected.abs().max())
    assert float((ours.cpu() - expected.cpu()).abs().max()) <= bound * scale


def assert_transposes(ours: torch.Tensor, y: torch.Tensor, back: torch.Tensor, x: torch.Tensor) -> None:
    one, other = float((ours.double() * y).sum()), float((back.double() * x).sum())
    assert abs(one - other) <= 1e-6 * float(ours.double().norm() * y.norm())


def triton_kernels() -> Any:
    from ctrestoration.physics import _triton_kernels

    return _triton_kernels


def triton_fbp() -> Any:
    from ctrestoration.physics import _triton_fbp

    return _triton_fbp


@needs_kernels
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=NAMES)
def test_projections_are_those_of_the_cpu(geometry: Geometry) -> None:
    projector, kernels = Projector(geometry, GRID), triton_kernels()
    images, sinograms = draw(2, 3, *GRID.shape), scans(geometry, 2, 3)  # 4 slices side by side, and 2 with 2 empty ones
    forward, adjoint = kernels.forward(images, projector), kernels.adjoint(sinograms, projector)
    assert_close(forward, projector.forward(images.cpu()), 2e-5)
    assert_close(adjoint, projector.adjoint(sinograms.cpu()), 2e-5)
    assert_transposes(forward, sinograms, adjoint, images)
    assert_close(kernels.adjoint(sinograms[1, 2], projector), adjoint[1, 2], 1e-6)  # whatever is computed beside it
    assert_close(kernels.forward(images[0, 1], projector), forward[0, 1], 1e-6)


@needs_kernels
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=NAMES)
def test_backprojection_of_the_fbp_and_its_transpose(geometry: Geometry) -> None:
    operator, kernels = ReconstructionOperator(geometry, GRID), triton_fbp()
    images, sinograms = draw(3, *GRID.shape), scans(geometry, 3)
    image, spread = kernels.backproject(sinograms, operator), kernels.spread(images, operator)
    assert_close(image, _torch_fbp._backproject(sinograms.cpu(), operator), 2e-5)
    assert_close(spread, _torch_fbp._spread(images.cpu(), operator), 2e-5)
    assert_transposes(image, images, spread, sinograms)


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 7), (6, 1)])
def test_thin_images_no_images_and_rays_that_miss(shape: tuple[int, int]) -> None:
    geometry = ParallelBeam(4, 31, 1.0)
    projector = Projector(geometry, ImageGrid(shape, (1.0, 1.0)))
    operator = ReconstructionOperator(geometry, projector.grid)
    image, sinogram = draw(*shape), scans(geometry)
    assert_close(triton_kernels().forward(image, projector), projector.forward(image.cpu()), 2e-5)
    assert_close(triton_kernels().adjoint(sinogram, projector), projector.adjoint(sinogram.cpu()), 2e-5)
    assert_close(triton_fbp().backproject(sinogram, operator), _torch_fbp._backproject(sinogram.cpu(), operator), 2e-5)
    assert_close(triton_fbp().spread(image, operator), _torch_fbp._spread(image.cpu(), operator), 2e-5)
    assert triton_kernels().forward(draw(0, *shape), projector).shape == (0, 4, 31)
    assert triton_kernels().adjoint(scans(geometry, 0), projector).shape == (0, *shape)
    assert triton_fbp().spread(draw(0, *shape), operator).shape == (0, 4, 31)


@needs_kernels
def test_a_source_inside_the_image_is_left_to_torch() -> None:
    from ctrestoration.physics._triton_places import supported

    near = FanFlat(4, 9, 1.0, source_distance=5.0, detector_distance=30.0)
    coarse = FanArc(4, 4, 0.3, source_distance=50.0, detector_distance=30.0)
    assert not supported(near, GRID)
    assert not supported(coarse, GRID)
    assert all(supported(geometry, GRID) for geometry in GEOMETRIES)
    for name in ("syndeeplesion-640", "adn-256", "aapm-ctmar", "lodopab", "clinical"):
        grid = scanner_preset(name).image_grid((512, 512), (0.7, 0.7))
        assert supported(scanner_preset(name).geometry(grid), grid)


@needs_kernels
def test_no_candidate_is_missed() -> None:
    """The bound on rays a pixel, for every view and pixel of a scanner, against a count in float64."""
    from ctrestoration.physics._triton_places import places

    for geometry in GEOMETRIES:
        steps = Projector(geometry, GRID)
        touched = np.zeros((geometry.n_views, *GRID.shape), dtype=int)
        unit = np.zeros((1, geometry.n_views, geometry.n_bins), dtype=np.float32)
        for view in range(geometry.n_views):
            for bin_ in range(geometry.n_bins):
                unit[...] = 0
                unit[0, view, bin_] = 1
                touched[view] += steps.adjoint(unit)[0] > 0
        assert touched.max() <= places(geometry, GRID, "cpu").candidates


@pytest.mark.skipif(HAS_GPU or INTERPRETED or not HAS_TRITON, reason="for machines with Triton but without a GPU")
def test_in_the_interpreter() -> None:
    import triton

    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 7) and np.lib.NumpyVersion(
        np.__version__
    ) >= np.lib.NumpyVersion("2.4.0"):
        pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with numpy {np.__version__}")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    child = subprocess.run(words, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout[-4000:]
    assert " passed" in child.stdout


# The choice between kernels, which needs neither Triton nor a GPU.


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torch_choice, "_refused", [])


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> Any:
    """Calls the choice as if for a CUDA tensor, with this kernel for Triton's."""
    module = SimpleNamespace(supported=lambda geometry, grid: True, forward=kernel)
    monkeypatch.setattr(_torch_choice.importlib, "import_module", lambda name: module)
    tensor = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    subject = SimpleNamespace(geometry=None, grid=None)
    return lambda: _torch_choice.on_device("forward", lambda *_: "torch", tensor, subject)


def test_a_failure_of_triton_is_told_once(undecided: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    call = on_a_gpu(monkeypatch, kernel)
    with pytest.warns(CTRestorationWarning, match="Failed to find C compiler"):
        assert call() == "torch"
    assert not _torch_choice.uses_triton()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call() == "torch"


def test_no_triton_at_all(undecided: None, monkeypatch: pytest.MonkeyPatch) -> None:
    call = on_a_gpu(monkeypatch, None)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "ctrestoration.physics._triton_places", raising=False)
    monkeypatch.setattr(_torch_choice.importlib, "import_module", lambda name: __import__(name))
    with pytest.warns(CTRestorationWarning, match="triton"):
        assert call() == "torch"


def test_out_of_memory_is_no_failure_of_triton(undecided: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    call = on_a_gpu(monkeypatch, kernel)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        call()
    assert _torch_choice.uses_triton()


def test_torch_can_be_asked_for(undecided: None, monkeypatch: pytest.MonkeyPatch) -> None:
    call = on_a_gpu(monkeypatch, lambda *_: "triton")
    assert call() == "triton"
    with _torch_choice.without_triton():
        assert call() == "torch"
    assert call() == "triton"


# What only a GPU can tell.


@needs_gpu
@pytest.mark.skipif(
    not HAS_TRITON or not any(shutil.which(name) for name in ("cc", "gcc", "clang")),
    reason="Triton needs a C compiler",
)
def test_triton_serves_this_gpu(recwarn: pytest.WarningsRecorder) -> None:
    projector = Projector(GEOMETRIES[1], GRID)
    projector.adjoint(projector.forward(draw(*GRID.shape)))
    operator = ReconstructionOperator(GEOMETRIES[1], GRID)
    operator.transposed(operator.reconstruct(scans(GEOMETRIES[1])))
    assert _torch_choice.uses_triton(), [str(warning.message) for warning in recwarn]


@needs_gpu
def test_full_size_scan_on_the_gpu() -> None:
    """SynDeepLesion's scan: the CPU's numbers, exact transposes, and the same bits twice, without and with Triton."""
    preset = scanner_preset("syndeeplesion-640")
    grid = preset.image_grid((416, 416), (1.0, 1.0))
    projector = Projector(preset.geometry(grid), grid)
    operator = ReconstructionOperator(projector.geometry, grid)
    images, sinograms = draw(2, 416, 416), scans(projector.geometry, 2)
    expected = projector.forward(images.cpu()), projector.adjoint(sinograms.cpu())
    expected += operator.reconstruct(sinograms.cpu()), operator.transposed(images.cpu())
    operations = [(projector.forward, images), (projector.adjoint, sinograms)]
    operations += [(operator.reconstruct, sinograms), (operator.transposed, images)]
    results = [operation(tensor) for operation, tensor in operations]
    # Places on the detector are single precision, and a gradient through the FBP adds up many of them.
    bounds = (1e-4, 1e-4, 1e-4, 5e-4)
    for (operation, tensor), result, on_cpu, bound in zip(operations, results, expected, bounds, strict=True):
        assert result.is_cuda
        assert_close(result, on_cpu, bound)
        if _torch_choice.uses_triton():
            assert torch.equal(operation(tensor), result)
        with _torch_choice.without_triton():
            assert_close(operation(tensor), on_cpu, bound)
    forward, adjoint, image, transposed = results
    assert_transposes(forward, sinograms, adjoint, images)
    assert_transposes(image, images, transposed, sinograms)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with _torch_choice.without_triton():
            assert torch.equal(projector.adjoint(sinograms), projector.adjoint(sinograms))
            assert torch.equal(operator.transposed(images), operator.transposed(images))
    finally:
        torch.use_deterministic_algorithms(before)


@needs_gpu
def test_derivatives_on_the_gpu() -> None:
    geometry, grid = FanFlat(6, 9, 2.0, source_distance=40.0, detector_distance=30.0), ImageGrid((7, 6), (1.0, 1.2))
    projector, operator = Projector(geometry, grid), ReconstructionOperator(geometry, grid)
    image = draw(7, 6).double().requires_grad_()
    sinogram = draw(6, 9).double().requires_grad_()
    settings = {"eps": 0.1, "atol": 1e-3, "rtol": 1e-3, "nondet_tol": 0.0 if _torch_choice.uses_triton() else 1e-5}
    for operation, tensor in (
        (projector.forward, image), (projector.adjoint, sinogram),
        (operator.reconstruct, sinogram), (operator.transposed, image),
    ):  # fmt: skip
        assert torch.autograd.gradcheck(operation, (tensor,), **settings)
        assert torch.autograd.gradgradcheck(operation, (tensor,), **settings)


@needs_gpu
def test_half_precision_and_strided_tensors_on_the_gpu() -> None:
    projector = Projector(GEOMETRIES[1], GRID)
    strided = draw(GRID.shape[1], GRID.shape[0], 2).permute(2, 1, 0)
    assert torch.equal(projector.forward(strided), projector.forward(strided.contiguous()))
    half = projector.forward(strided.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), projector.forward(strided), rtol=0.02, atol=0.1)
    assert _torch_kernels.forward(strided, projector).shape == half.shape
