"""Scores of the rows of the task-adaptive study on its test slices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import Control
from ctrestoration.evaluate.circle import circle_mask, circle_scores
from ctrestoration.evaluate.noise_power import noise_power, region_around
from ctrestoration.evaluate.task_scores import full_dose_drift, lesions_found, mean_dice, volume_dice
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.studies.task_adaptive_tables import Row

if TYPE_CHECKING:
    from torch import nn

    from ctrestoration.acquisition import Acquisition

CLASSES = (1, 2)
BIASES = ("liver_bias_hu", "lesion_bias_hu")
Images = NDArray[np.float32]


@dataclass(frozen=True)
class TestSlices:
    """The test slices of a study.

    Attributes:
        low_dose: HU [slice, row, column].
        full_dose: HU, same shape.
        labels: class numbers, same shape.
        patients: whose slice it is.
        pixel_mm: pixel size.
    """

    __test__ = False  # no test class, whatever pytest thinks of its name

    low_dose: Images
    full_dose: Images
    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    pixel_mm: float

    @classmethod
    def read(cls, folder: Path) -> TestSlices:
        """From the stored pairs of a study."""
        from ctrestoration.io.pairs import PairReader, read_manifest

        reader, manifest = PairReader(folder, "test"), read_manifest(folder)
        pairs = [reader.read(index) for index in range(len(reader))]
        shards = manifest["splits"]["test"]["shards"]
        patients = [case["patient"] for shard in shards for case in shard["cases"] for _ in range(case["count"])]
        low, full, labels = (np.stack([pair[name] for pair in pairs]) for name in ("input", "target", "labels"))
        return cls(low, full, labels.astype(np.int64), tuple(patients), float(manifest["settings"]["pixel_mm"]))


@dataclass(frozen=True)
class Judges:
    """The segmenters that score, both trained on full-dose images."""

    frozen: nn.Module
    heldout: nn.Module

    @classmethod
    def read(cls, runs: Path, seed: int) -> Judges:
        """Those of a seed."""
        from ctrestoration.models.weights import load_network

        return cls(*(load_network(runs / f"{name}_{seed}/weights/t.safetensors")[0] for name in ("segment", "heldout")))


def score_images(images: Images, test: TestSlices, judges: Judges, images_too: bool = True) -> dict[str, Any]:
    """Scores of a row.

    Args:
        images: HU [slice, row, column].
        test: the truth.
        judges: the segmenters.
        images_too: with PSNR and SSIM; they mean nothing for the full dose itself.

    Returns:
        "row": scores of every slice; "lesions": those that the frozen segmenter found, see `lesion_counts`; "volumes":
        its Dice over all slices of every patient at once, mean of the classes there are.
    """
    found, other = segment(judges.frozen, images), segment(judges.heldout, images)
    row: Row = {"dice": _dice(found, test), "heldout_dice": _dice(other, test)}
    if images_too:
        scores = [circle_scores(a, b) for a, b in zip(images, test.full_dose, strict=True)]
        row["psnr_db"] = [float(one["psnr_db"] or "inf") for one in scores]
        row["ssim"] = [one["ssim"] for one in scores]
        row |= {name: _biases(images, test, number) for number, name in enumerate(BIASES, start=1)}
        slices = zip(images, test.full_dose, test.labels, strict=True)
        row["error_per_mm"] = [_error_frequency(*one, test.pixel_mm) for one in slices]
    return {"row": row, "lesions": lesion_counts(found, test), "volumes": volumes(found, test)}


def _dice(segmented: NDArray[np.int64], test: TestSlices) -> list[float | None]:
    return [_known(mean_dice(a, b, CLASSES)) for a, b in zip(segmented, test.labels, strict=True)]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _biases(images: Images, test: TestSlices, number: int) -> list[float | None]:
    """Mean difference to the full dose in HU within a class, by slice; None where there is none of it."""
    found: list[float | None] = []
    for image, full, labels in zip(images, test.full_dose, test.labels, strict=True):
        where = labels == number
        found.append(float((image[where].astype(np.float64) - full[where]).mean()) if where.any() else None)
    return found


def _error_frequency(image: Images, full: Images, labels: NDArray[np.int64], pixel_mm: float) -> float | None:
    """Mean spatial frequency of the error in 1/mm, in a square around the liver: high for noise, low for blur."""
    size = max(8, len(image) // 6)
    region = region_around(labels > 0, size)
    return None if region is None else _known(noise_power(image[region] - full[region], pixel_mm).mean_frequency)


def volumes(segmented: NDArray[np.int64], test: TestSlices) -> dict[str, float]:
    """Dice over all slices of each patient at once, mean of the classes that truth or segmentation have.

    Args:
        segmented: class numbers [slice, row, column].
        test: the truth.
    """
    found = {}
    for patient in sorted(set(test.patients)):
        mine = np.array([name == patient for name in test.patients])
        known = [one for one in volume_dice(segmented[mine], test.labels[mine], CLASSES) if one is not None]
        if known:
            found[patient] = float(np.mean(known))
    return found


def lesion_counts(segmented: NDArray[np.int64], test: TestSlices) -> dict[str, Any]:
    """Lesions that were found, by size, and false findings, over all slices.

    Args:
        segmented: class numbers [slice, row, column].
        test: the truth.
    """
    total: dict[str, Any] = {"sizes": {}, "false": 0}
    for found, truth in zip(segmented, test.labels, strict=True):
        one = lesions_found(found == CLASSES[-1], truth == CLASSES[-1], test.pixel_mm)
        total["false"] += one["false"]
        for size, counts in one["sizes"].items():
            known = total["sizes"].setdefault(size, [0, 0])
            known[:] = [a + b for a, b in zip(known, counts, strict=True)]
    return total


def validation_scores(folder: Path) -> dict[str, float]:
    """Of the weights that a run ended with: "psnr_db" and, where a frozen segmenter was asked, its "dice"."""
    run = RunDirectory(folder)
    step = ((run.read_status() or {}).get("best") or {}).get("step")
    if step is None:
        return {}
    records = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    values = [one["values"] for one in records if one["kind"] == "val" and one["step"] == step][-1]
    return {name: values[key] for name, key in (("psnr_db", "psnr_db"), ("dice", "organs_dice")) if key in values}


def score_network(folder: Path, test: TestSlices, judges: Judges) -> dict[str, Any]:
    """Scores of a trained reconstruction network: its images, what it does to the full dose, its own task network.

    Returns:
        As `score_images`.
    """
    from ctrestoration.models.weights import load_network

    network, about = load_network(folder / "weights" / "g.safetensors")
    output = about["reconstruction"]
    images = reconstruct(network, output, test.low_dose)
    drifted = reconstruct(network, output, test.full_dose)
    scored = score_images(images, test, judges)
    row = scored["row"]
    inside = circle_mask(images.shape[1:])
    row["drift_hu"] = [full_dose_drift(a, b, inside) for a, b in zip(drifted, test.full_dose, strict=True)]
    again = segment(judges.frozen, drifted)
    row["full_dose_dice"] = _dice(again, test)
    own = folder / "weights" / "t_organs.safetensors"
    if own.is_file():
        mine = segment(load_network(own)[0], images)
        row["own_dice"] = _dice(mine, test)
    return scored


def classical_images(name: str, test: TestSlices, control: Control) -> Images | None:
    """The test slices through a classical method of the registry; None where it is not installed.

    "fbp" is FBP of the reprojected image, as the paper's row most likely is: 513 bins over the diagonal at 512 pixels,
    and as many for each pixel at other sizes. Much finer bins than pixels would show the projector's interpolation.
    """
    from importlib.util import find_spec

    from ctrestoration import registry
    from ctrestoration.reconstruct.slices import acquisition_of_image
    from ctrestoration.volume import Grid, Volume

    if name == "bm3d" and find_spec("bm3d") is None:
        return None
    grid = Grid.from_parts(test.low_dose.shape, (test.pixel_mm, test.pixel_mm, 1.0))
    method = registry.get("reconstruction", "fbp-reproject" if name == "fbp" else name)
    acquisition = acquisition_of_image(Volume(test.low_dose, grid, "test slices"))
    if name == "fbp":
        acquisition = _with_pixel_sized_bins(acquisition)
    restored = method.restore(acquisition, control).image.array
    # The circle is all that was scanned.
    return np.where(circle_mask(restored.shape[1:]), restored, test.low_dose).astype(np.float32)


def _with_pixel_sized_bins(acquisition: Acquisition) -> Acquisition:
    """An acquisition of an image only, on the detector of the paper's data set scaled to the image's size."""
    from ctrestoration.physics.geometry import ParallelBeam
    from ctrestoration.simulate.lowdose import BINS, FULL_VIEWS

    rows, columns = acquisition.image_grid.shape
    extent = max(rows * acquisition.image_grid.spacing[0], columns * acquisition.image_grid.spacing[1])
    bins = -(-max(rows, columns) * BINS // 512)
    step = math.pi / FULL_VIEWS
    geometry = ParallelBeam(FULL_VIEWS, bins, extent * math.sqrt(2.0) / bins, first_angle=0.5 * step, arc=math.pi)
    shape = (len(acquisition.image.array), FULL_VIEWS, bins)
    nothing = np.broadcast_to(np.float32(0.0), shape), np.broadcast_to(np.False_, shape)
    return replace(acquisition, geometry=geometry, sinogram=nothing[0], trace=nothing[1])


def reconstruct(network: nn.Module, output: Any, images: Images) -> Images:
    """Images in HU through a reconstruction network, slice by slice."""
    import torch

    from ctrestoration.networks._lowdose import reconstruct_image

    with _one_thread(), torch.inference_mode():
        return np.stack(
            [
                reconstruct_image(network, torch.from_numpy(np.array(one))[None, None], output)[0, 0].numpy()
                for one in images
            ]
        )


def segment(network: nn.Module, images: Images) -> NDArray[np.int64]:
    """Class numbers of images in HU, slice by slice."""
    import torch

    from ctrestoration.networks._images import HU_SCALE

    with _one_thread(), torch.inference_mode():
        return np.stack(
            [network(torch.from_numpy(np.array(one))[None, None] / HU_SCALE).argmax(dim=1)[0].numpy() for one in images]
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: images are small, and numba's parallel loops set the number anew for all of OpenMP."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
