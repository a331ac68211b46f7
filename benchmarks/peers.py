"""Other CT engines behind small functions: each returns something to run, or None where the engine is not installed.

Used by benchmarks and, as oracles, by tests; never at run time. astra-toolbox (GPLv3), itk-rtk, deepinv and
scikit-image compute on one CPU thread here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from ctrestoration.physics.geometry import FanFlat, ImageGrid, ParallelBeam
from ctrestoration.physics.projector import Projector
from ctrestoration.physics.steps import PAD

Work = Callable[[], Any]


def there(name: str) -> bool:
    """Whether a library can be imported; rtk is a part of itk that only its distribution tells of."""
    if name != "rtk":
        return importlib.util.find_spec(name) is not None
    return any((found.name or "").lower() in ("itk-rtk", "itk_rtk") for found in importlib.metadata.distributions())


def astra(
    geometry: FanFlat, grid: ImageGrid, image: np.ndarray, sinogram: np.ndarray, what: str, projector: str
) -> Work | None:
    """astra's CPU projectors in pixels of the image: `what` FP or BP, `projector` line_fanflat or strip_fanflat."""
    if not there("astra"):
        return None
    import astra

    pixel = grid.spacing[0]
    volume = astra.create_vol_geom(*grid.shape)
    scan = astra.create_proj_geom(
        "fanflat", geometry.pitch / pixel, geometry.n_bins, geometry.angles,
        geometry.source_distance / pixel, geometry.detector_distance / pixel,
    )  # fmt: skip
    images, scans = astra.data2d.create("-vol", volume, image), astra.data2d.create("-sino", scan, sinogram)
    settings = astra.astra_dict(what)
    settings["ProjectorId"] = astra.create_projector(projector, scan, volume)
    settings["ProjectionDataId"] = scans
    settings["VolumeDataId" if what == "FP" else "ReconstructionDataId"] = images
    algorithm = astra.algorithm.create(settings)
    return lambda: astra.algorithm.run(algorithm)


def astra_fbp(geometry: ParallelBeam, grid: ImageGrid, sinogram: np.ndarray) -> Work | None:
    """astra's CPU FBP, which exists for parallel beams only."""
    if not there("astra"):
        return None
    import astra

    volume = astra.create_vol_geom(*grid.shape)
    scan = astra.create_proj_geom("parallel", geometry.pitch, geometry.n_bins, geometry.angles)
    settings = astra.astra_dict("FBP")
    settings["ProjectorId"] = astra.create_projector("linear", scan, volume)
    settings["ProjectionDataId"] = astra.data2d.create("-sino", scan, sinogram)
    settings["ReconstructionDataId"] = astra.data2d.create("-vol", volume)
    algorithm = astra.algorithm.create(settings)
    return lambda: astra.algorithm.run(algorithm)


def rtk(geometry: FanFlat, grid: ImageGrid, array: np.ndarray, what: str) -> Work | None:
    """itk-rtk's Joseph projector, its transpose and its FDK, for square pixels and no detector offset.

    Args:
        geometry: the scanner.
        grid: square pixels.
        array: the image for "fp", the sinogram for "bp" and "fdk".
        what: "fp", "bp" or "fdk".

    Returns:
        Something that returns the result as we lay it out, [view, bin] or [row, column].
    """
    if not (there("itk") and there("rtk")):
        return None
    import itk
    from itk import RTK

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    kind = itk.Image[itk.F, 3]
    scan = RTK.ThreeDCircularProjectionGeometry.New()
    for angle in np.degrees(geometry.angles):
        scan.AddProjection(
            geometry.source_distance, geometry.source_distance + geometry.detector_distance, float(angle)
        )
    pixel = grid.spacing[0]
    # RTK turns around y. Three slices or detector rows, so that its interpolation across them is never at a border.
    rows = 3 if what == "fdk" else 1
    views = np.zeros((geometry.n_views, geometry.n_bins), dtype=np.float32) if what == "fp" else array
    slices = np.zeros(grid.shape, dtype=np.float32) if what != "fp" else array
    thickness = 1 if what == "fdk" else 3
    filters = {
        "fp": lambda: RTK.JosephForwardProjectionImageFilter[kind, kind].New(),
        "bp": lambda: RTK.JosephBackProjectionImageFilter[kind, kind].New(),
        "fdk": lambda: RTK.FDKConeBeamReconstructionFilter[kind].New(),
    }

    def run() -> np.ndarray:
        # Anew every time: the filters take their inputs' memory.
        projections = _itk(views, rows, (geometry.pitch, geometry.pitch, 1.0))
        projections.SetOrigin((-(geometry.n_bins - 1) / 2 * geometry.pitch, (1 - rows) / 2 * geometry.pitch, 0.0))
        volume = _itk(slices, thickness, (pixel, pixel, pixel))
        corner = [(1 - count) / 2 * pixel for count in (grid.shape[1], thickness, grid.shape[0])]
        volume.SetOrigin(corner)
        chain = filters[what]()
        first, second = (projections, volume) if what == "fp" else (volume, projections)
        chain.SetInput(0, first)
        chain.SetInput(1, second)
        chain.SetGeometry(scan)
        chain.Update()
        result = itk.array_from_image(chain.GetOutput())
        return np.asarray(result[:, result.shape[1] // 2])

    return run


def _itk(array: np.ndarray, thickness: int, spacing: tuple[float, float, float]) -> Any:
    import itk

    stacked = np.ascontiguousarray(np.repeat(array[:, None, :], thickness, axis=1), dtype=np.float32)
    image = itk.image_from_array(stacked)
    image.SetSpacing(spacing)
    return image


def deepinv(geometry: FanFlat, grid: ImageGrid, image: np.ndarray, what: str) -> Work | None:
    """deepinv's fan-beam Radon transform: "fp", or "step", forward and backward."""
    if not there("deepinv"):
        return None
    import torch
    from deepinv.physics import Tomography

    torch.set_num_threads(1)
    pixel = grid.spacing[0]
    fan = {
        "pixel_spacing": pixel,
        "source_radius": geometry.source_distance,
        "detector_radius": geometry.detector_distance,
        "n_detector_pixels": geometry.n_bins,
        "detector_spacing": geometry.pitch,
    }
    angles = torch.tensor(np.degrees(geometry.angles), dtype=torch.float32)
    physics = Tomography(
        angles, img_width=grid.shape[0], fan_beam=True, fan_parameters=fan, normalize=False, circle=False
    )
    leaf = torch.from_numpy(image)[None, None].clone()

    def forward() -> Any:
        with torch.no_grad():
            return physics.A(leaf)

    def step() -> None:
        leaf.requires_grad_(True).grad = None
        physics.A(leaf).sum().backward()

    return forward if what == "fp" else step


def scikit(geometry: ParallelBeam, sinogram: np.ndarray, size: int) -> Work | None:
    """scikit-image's iradon."""
    if not there("skimage"):
        return None
    from skimage.transform import iradon

    angles = np.degrees(geometry.angles)
    return lambda: iradon(sinogram.T, angles, output_size=size, filter_name="ramp", circle=False)


def scikit_radon(geometry: ParallelBeam, image: np.ndarray) -> Work | None:
    """scikit-image's radon, which needs as many bins as the image's diagonal."""
    if not there("skimage"):
        return None
    from skimage.transform import radon

    angles = np.degrees(geometry.angles)
    return lambda: radon(image, angles, circle=False)


def plain_numba(projector: Projector, image: np.ndarray) -> Work:
    """The anchor: Joseph's method in numba as one writes it down, float64 positions, one ray after the other."""
    import numba

    @numba.njit
    def forward(rows: np.ndarray, columns: np.ndarray, steps: np.ndarray, ranges: np.ndarray, out: np.ndarray) -> None:
        for ray in range(len(steps)):
            picture = rows if ranges[ray, 0] else columns
            total = np.float32(0.0)
            position = steps[ray, 0]
            for k in range(picture.shape[1]):
                if 1.0 <= position < picture.shape[0] - 2:
                    low = int(position)
                    share = np.float32(position - low)
                    total += picture[low, k] + share * (picture[low + 1, k] - picture[low, k])
                position += steps[ray, 1]
            out[ray] = total * steps[ray, 2]

    rows, columns = (np.pad(part, ((PAD, PAD), (0, 0))) for part in (image, np.ascontiguousarray(image.T)))
    out = np.empty(len(projector.steps), dtype=np.float32)

    def run() -> np.ndarray:
        forward(rows, columns, projector.steps, projector.ranges, out)
        return out

    return run


def csr_matrix(projector: Projector) -> scipy.sparse.csr_matrix:
    """The projector as a sparse matrix [ray, pixel], from its own table of steps."""
    (rows, columns), steps, ranges = projector.grid.shape, projector.steps, projector.ranges
    counts = np.maximum(ranges[:, 2] - ranges[:, 1], 0)
    ray = np.repeat(np.arange(len(steps)), counts)
    k = np.arange(len(ray)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(ranges[:, 1], counts)
    position = steps[ray, 0] + k * steps[ray, 1] - PAD
    low = np.floor(position).astype(np.int64)
    share = (position - low).astype(np.float32)
    over_columns = ranges[ray, 0] == 1
    entries = []
    for across, weight in ((low, 1 - share), (low + 1, share)):
        inside = (across >= 0) & (across < np.where(over_columns, rows, columns))
        pixel = np.where(over_columns, across * columns + k, k * columns + across)
        entries.append((ray[inside], pixel[inside], (weight * steps[ray, 2]).astype(np.float32)[inside]))
    r, p, w = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return scipy.sparse.csr_matrix((w, (r, p)), shape=(len(steps), rows * columns))


def ellipses(geometry: Any, grid: ImageGrid) -> tuple[np.ndarray, np.ndarray]:
    """Three ellipses and their exact line integrals: image [row, column] from 4x4 samples a pixel, [view, bin].

    Kak and Slaney, "Principles of Computerized Tomographic Imaging" (1988), Eq. 3.5.
    """
    reach = 0.5 * grid.shape[0] * grid.spacing[0]
    shapes = (  # center x, center y, semi-axes a, b in shares of the field; angle; value
        (0.0, 0.0, 0.62, 0.45, 0.3, 0.02),
        (0.2, -0.1, 0.12, 0.25, 1.1, 0.01),
        (-0.25, 0.15, 0.15, 0.08, -0.5, -0.008),
    )
    cosine, sine, s = np.moveaxis(geometry.rays(), -1, 0)
    x, y = grid.coordinates()
    offsets = (np.arange(4) - 1.5) / 4
    xs = (x[:, None] + offsets * grid.spacing[1]).ravel()[None, :]
    ys = (y[:, None] - offsets * grid.spacing[0]).ravel()[:, None]
    image, exact = np.zeros(grid.shape), np.zeros(s.shape)
    for cx, cy, a, b, turn, value in shapes:
        cx, cy, a, b = cx * reach, cy * reach, a * reach, b * reach
        u = (xs - cx) * math.cos(turn) + (ys - cy) * math.sin(turn)
        v = (ys - cy) * math.cos(turn) - (xs - cx) * math.sin(turn)
        inside = (u / a) ** 2 + (v / b) ** 2 < 1
        image += value * inside.reshape(grid.shape[0], 4, grid.shape[1], 4).mean(axis=(1, 3))
        along = cosine * math.cos(turn) + sine * math.sin(turn)
        square = (a * along) ** 2 + b**2 * (1 - along**2)
        away = s - cx * cosine - cy * sine
        exact += value * 2 * a * b * np.sqrt(np.maximum(square - away**2, 0)) / square
    return image.astype(np.float32), exact
