"""Organs of a CT by a trained segmentation network, on the pixel size that it was trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.models.catalog import find_model, read_header
from ctrestoration.models.methods import inference, require_torch, usable_device
from ctrestoration.volume import LabelMap, Volume

DEFAULT_WEIGHTS = "liver-segmenter"
_BLOCK = 16


@dataclass(frozen=True)
class OrganSegmentation:
    """What a network found.

    Attributes:
        labels: on the grid of the CT.
        volumes_ml: name of each class that the network knows -> its volume; 0 where it was not found.
        weights: name of the weights.
        pixel_mm: pixel size on which the network looked.
        resampled: False where the weights do not say what they were trained on: it looked at the CT's own pixels.
    """

    labels: LabelMap
    volumes_ml: dict[str, float]
    weights: str
    pixel_mm: float
    resampled: bool

    def to_json(self) -> dict[str, Any]:
        """Plain facts."""
        return {
            "weights": self.weights,
            "pixel_mm": round(self.pixel_mm, 4),
            "resampled": self.resampled,
            "volumes_ml": {name: round(volume, 3) for name, volume in self.volumes_ml.items()},
            "labels": {name: value for value, name in self.labels.names.items()},
        }


def segment_organs(
    volume: Volume, weights: str | Path = DEFAULT_WEIGHTS, device: str = "auto", control: Control = SILENT
) -> OrganSegmentation:
    """Segment a CT slice by slice.

    Slices are resampled to the pixel size of the training, where the weights say it, and the classes come back to the
    CT's voxels by their nearest neighbor; slices themselves are neither moved nor mixed.

    Args:
        volume: CT in HU, any orientation.
        weights: name of shipped weights, or the path of a .safetensors file with the task "segmentation".
        device: "auto", "cpu" or "cuda".
        control: reported to between slices.

    Raises:
        InputError: no such weights, weights for something else, no body in the CT, or no usable GPU.
        DataRefusedError: the weights are damaged or not ours.
        MissingDependencyError: torch or safetensors is not installed.
        Cancelled: where the control asks to stop.
    """
    path = find_model(str(weights))
    about = segmenter_header(path)
    window = _window(path, about)
    require_torch()
    device = usable_device(device)
    import torch

    from ctrestoration.models.weights import load_network
    from ctrestoration.networks._lowdose import task_input
    from ctrestoration.training.data.resampling import labels_on

    control.report(0.0, "Reading the network")
    network = load_network(path)[0].to(device).requires_grad_(False)
    numbers = np.array([label or 0 for label in about["labels"]], dtype=np.uint16)
    control.report(0.02, "Resampling to the pixels that the network knows")
    seen = resampled_for(volume, about)
    found = np.zeros(seen.grid.shape, dtype=np.uint16)
    with inference():
        for z in control.part(0.1, 0.9).track(range(len(found)), f"Segmenting with {about.get('name', path.stem)}"):
            image = torch.from_numpy(np.array(seen.array[z]))[None, None].to(device)
            answer = network(task_input(image, window))
            if answer.ndim != 4 or answer.shape[1] != len(numbers):
                raise InputError(
                    f"{path} does not fit its header: {len(numbers)} classes, "
                    f"the network answers {tuple(answer.shape)}."
                )
            found[z] = numbers[answer[0].argmax(dim=0).cpu().numpy()]
    control.report(0.95, "Bringing the classes back to the CT's voxels")
    names = class_names(about)
    array: NDArray[np.uint16] = labels_on(LabelMap(found, seen.grid), volume.grid).astype(np.uint16)
    counts = np.bincount(array.ravel(), minlength=int(numbers.max()) + 1)
    volumes = {name: float(counts[value]) * volume.grid.voxel_mm3 / 1000 for value, name in names.items()}
    labels = LabelMap(array, volume.grid, names, "organs")
    return OrganSegmentation(
        labels, volumes, str(about.get("name", path.stem)), seen.grid.spacing[0], training_pixel_mm(about) is not None
    )


def segmenter_header(path: Path) -> dict[str, Any]:
    """The header of segmentation weights.

    Raises:
        InputError: there is no such file, or it holds weights for something else.
        DataRefusedError: it is damaged, or not ours.
    """
    if not path.is_file():
        raise InputError(f"There is no weights file {path}.")
    about = read_header(path)
    if "network" not in about:
        raise DataRefusedError(f"{path} was not written by ctrestoration: its header does not say which network it is.")
    if about.get("task") != "segmentation" or not about.get("labels"):
        raise InputError(
            f"{path} holds weights for the task {about.get('task')!r}, not 'segmentation': it segments no organs."
        )
    return about


def training_pixel_mm(about: dict[str, Any]) -> float | None:
    """The pixel size that weights were trained on, in mm, as their header says; None where it does not."""
    value = _simulation(about).get("pixel_mm")
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def resampled_for(volume: Volume, about: dict[str, Any]) -> Volume:
    """A CT on the pixels that weights were trained on: square axial slices; its own where their header does not say."""
    pixel_mm = training_pixel_mm(about)
    return volume.axial() if pixel_mm is None else _resampled(volume, pixel_mm, int(_simulation(about).get("size", 0)))


def scanner_of(about: dict[str, Any], size: int) -> dict[str, Any]:
    """Settings of `simulate_lowdose` with which weights were trained, for slices of so many rows and columns.

    A larger image has a larger detector, of bins as wide as before.
    """
    made = _simulation(about)
    known: dict[str, Any] = {
        name: made[name] for name in ("preset", "photons", "views", "bins", "fine_pixels") if name in made
    }
    for name in ("bins", "fine_pixels"):
        if name in known:
            known[name] = round(known[name] * size / int(made.get("size", size)))
    return known


def class_names(about: dict[str, Any]) -> dict[int, str]:
    """Name of each class number that a network answers, background excluded.

    Weights from before their header listed the classes in order are named where their classes have the numbers
    1, 2, ... in the segmentations, too; else by number.
    """
    listed = about.get("classes")
    if not isinstance(listed, list):
        numbers = {str(name): values for name, values in _simulation(about).get("classes", {}).items()}
        listed = sorted(numbers, key=lambda name: tuple(numbers[name]))
        if [list(numbers[name]) for name in listed] != [[number] for number in range(1, len(listed) + 1)]:
            listed = []
    values = sorted({int(label) for label in about["labels"] if label})
    return {value: str(listed[value - 1]) if value <= len(listed) else f"class_{value}" for value in values}


def _simulation(about: dict[str, Any]) -> dict[str, Any]:
    """How the training data were made: as the stored pairs say, or the settings of data simulated while training."""
    stored = about.get("provenance", {}).get("data", {}).get("simulation")
    return stored or about.get("training", {}).get("data", {}).get("train") or {}


def _window(path: Path, about: dict[str, Any]) -> tuple[float, float] | None:
    """HU that the network sees as 0 and 1; None for HU / 1000."""
    window = about.get("window")
    if window is None:
        # Before the header held the numbers it told them in words.
        told = re.search(r"image, \(([-\d.e]+), ([-\d.e]+)\) HU", str(about.get("input", "")))
        window = told.groups() if told else None
    if window is None:
        return None
    low, high = (float(value) for value in window)
    if not low < high:
        raise DataRefusedError(f"{path} names the window {low:g} to {high:g} HU, which does not rise.")
    return low, high


def _resampled(volume: Volume, pixel_mm: float, least: int) -> Volume:
    """Square slices of that pixel size that hold the whole body, at least as large as those of the training."""
    from ctrestoration.training.data.resampling import BODY_HU, square_slices

    axial = volume.axial()
    body = (axial.array > BODY_HU).any(axis=0)
    extents = [np.ptp(where) + 1 if len(where) else 1 for where in np.nonzero(body)]
    widest = max(extents[0] * axial.grid.spacing[1], extents[1] * axial.grid.spacing[0]) / pixel_mm
    return square_slices(volume, _BLOCK * int(np.ceil(max(widest + 2, least) / _BLOCK)), pixel_mm)
