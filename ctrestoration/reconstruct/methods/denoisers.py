"""Denoisers of the image: non-local means and total variation, as strong as the slice's own noise asks for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.reconstruct.slices import noise_hu, restore_slices
from ctrestoration.registry import Task, register
from ctrestoration.restoration import Restoration

Denoise = Callable[[NDArray[np.float32], float], NDArray[np.floating]]
"""Slice in HU, its noise in HU -> slice in HU."""

NLM_STRENGTH, TV_STRENGTH = 0.8, 1.1
"""Filter strength as a multiple of the noise; see docs/results/low-dose.md."""


class Denoiser:
    """One denoiser, applied slice by slice; a slice without noise comes back unchanged."""

    task: Task = "reconstruction"

    def __init__(self, name: str, title: str, reference: str, denoise: Denoise, settings: dict[str, Any]) -> None:
        self.name, self.title, self.reference = name, title, reference
        self._denoise, self.settings = denoise, settings

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """See `reconstruct.slices.restore_slices`.

        Raises:
            MissingDependencyError: scikit-image is not installed.
            InputError: bm3d is not installed.
        """

        def one(z: int) -> NDArray[np.floating]:
            image = acquisition.image.array[z]
            noise = noise_hu(image)
            return self._denoise(image, noise) if noise > 0 else image

        return restore_slices(acquisition, self.name, one, control, self.settings)


def _nlm(image: NDArray[np.float32], noise: float) -> NDArray[np.floating]:
    restoration = _skimage("Non-local means")
    result: NDArray[np.floating] = restoration.denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=NLM_STRENGTH * noise, sigma=noise, fast_mode=True
    )
    return result


def _tv(image: NDArray[np.float32], noise: float) -> NDArray[np.floating]:
    restoration = _skimage("Total variation denoising")
    # The algorithm's step fits images of about 0..1; noise 1 makes the weight independent of the scale.
    result: NDArray[np.floating] = restoration.denoise_tv_chambolle(image / noise, weight=TV_STRENGTH)
    return result * np.float32(noise)


def _bm3d(image: NDArray[np.float32], noise: float) -> NDArray[np.floating]:
    try:
        library = importlib.import_module("bm3d")
    except ImportError as error:
        raise InputError(
            "BM3D needs the Python package 'bm3d', whose license forbids commercial use, so it is never installed by "
            "us: 'pip install bm3d' where that suits you, or choose nlm or tv."
        ) from error
    result: NDArray[np.floating] = library.bm3d(image, sigma_psd=noise)
    return result


def _skimage(purpose: str) -> Any:
    try:
        return importlib.import_module("skimage.restoration")
    except ImportError as error:
        raise MissingDependencyError("scikit-image", "imaging", purpose) from error


register(
    Denoiser(
        "nlm", "Non-local means",
        "Buades, Coll, Morel: A non-local algorithm for image denoising. CVPR 2005. scikit-image's implementation.",
        _nlm, {"strength": NLM_STRENGTH, "patch": 5, "distance": 6},
    )
)  # fmt: skip
register(
    Denoiser(
        "tv", "Total variation",
        "Chambolle: An algorithm for total variation minimization. J. Math. Imaging Vis. 20 (2004) 89. scikit-image's "
        "implementation.",
        _tv, {"strength": TV_STRENGTH},
    )
)  # fmt: skip
register(
    Denoiser(
        "bm3d", "BM3D (if you have installed it: non-commercial license)",
        "Dabov et al.: Image denoising by sparse 3-D transform-domain collaborative filtering. IEEE TIP 16 (2007) "
        "2080.",
        _bm3d, {},
    )
)  # fmt: skip
