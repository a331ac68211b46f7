"""LoDoPaB-CT: `ground_truth_{part}_NNN.hdf5` and `observation_{part}_NNN.hdf5`, 128 slices a file."""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.acquisition import Acquisition
from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import ImageGrid
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.simulate.lowdose import MU_AIR, MU_MAX, MU_WATER
from ctrestoration.volume import Grid, Volume

NAME = "lodopab"
TITLE = "LoDoPaB-CT"
SOURCE = "Leuschner et al., Scientific Data 8 (2021) 109; CC BY 4.0 (Zenodo 3384092)."

EXTENT_MM = 260.0
PER_FILE = 128
_FILE = re.compile(r"^ground_truth_(train|validation|test)_(\d{3})\.hdf5$")


def survey(folder: Path) -> Survey:
    """See `Importer.survey`. A slice is a case: its neighbors were not published."""
    folder = checked_folder(folder)
    draft = Draft()
    known_patients = {part: _patients(folder, part) for part in ("train", "validation", "test")}
    for path in sorted(folder.rglob("ground_truth_*.hdf5")):
        match = _FILE.match(path.name)
        if match is None:
            continue
        part, number = match[1], int(match[2])
        patients = known_patients[part]
        observation = path.with_name(path.name.replace("ground_truth", "observation"))
        if not observation.is_file():
            draft.skip(path, f"has no {observation.name} beside it")
            continue
        try:
            count = _count(path, observation)
        except InputError as error:
            draft.skip(path, str(error))
            continue
        for index in range(count):
            position = number * PER_FILE + index
            known = position < len(patients)
            patient = f"lodopab-{part}-{patients[position]}" if known else f"lodopab-{part}-slice-{position}"
            notes: tuple[str, ...] = (
                () if known else ("its patient is unknown: patient_ids_rand_*.csv is missing or short",)
            )
            name = f"{part}-{position:05d}"
            load = partial(_load, path, observation, index, name)
            draft.cases.append(Case(name, patient, load, notes, split=part))
    about = (
        "Every image is taken as 260 mm wide, whatever the patient's true size.",
        "PSNR of papers on it uses max - min of each truth as data range.",
    )
    return draft.finish(NAME, folder, "ground_truth_train_000.hdf5 beside observation_train_000.hdf5", about)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "fast", "Reading LoDoPaB-CT") from error
    return h5py


def _count(truth: Path, observation: Path) -> int:
    h5py = _h5py()
    try:
        with h5py.File(truth) as first, h5py.File(observation) as second:
            shapes = first["data"].shape, second["data"].shape
    except (OSError, KeyError, AttributeError) as error:
        raise InputError(f"{truth.name} or {observation.name} is damaged or has no array 'data'") from error
    if shapes[0][:1] != shapes[1][:1] or shapes[0][1:] != (362, 362) or shapes[1][1:] != (1000, 513):
        raise InputError(
            f"holds {shapes[0]} images and {shapes[1]} sinograms: (n, 362, 362) and (n, 1000, 513) expected"
        )
    return int(shapes[0][0])


def _patients(folder: Path, part: str) -> list[str]:
    path = next(iter(sorted(folder.rglob(f"patient_ids_rand_{part}.csv"))), None)
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [row[0] for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no readable CSV file: {error}.") from error


def _load(truth: Path, observation: Path, index: int, name: str) -> Imported:
    h5py = _h5py()
    try:
        with h5py.File(truth) as first, h5py.File(observation) as second:
            image, sinogram = np.asarray(first["data"][index]), np.asarray(second["data"][index])
    except (OSError, KeyError) as error:
        raise InputError(f"{truth.name} or {observation.name} cannot be read at slice {index}: {error}.") from error
    side = image.shape[0]
    pixel = EXTENT_MM / side
    grid = Grid.from_parts((1, *image.shape), (pixel, pixel, 1.0))
    # Stored images are transposed DICOM slices, and the published geometry has y along their second axis, downwards in
    # the slice. Mirroring y turns angle a into pi - a and bin s into -s: both axes of the sinogram run backwards.
    volume = Volume(_hu(image.T)[None], grid, name, {"source": "LoDoPaB-CT"})
    pixels = ImageGrid((side, side), (pixel, pixel))
    geometry = scanner_preset("lodopab").geometry(pixels)
    views = np.ascontiguousarray(sinogram[::-1, ::-1] * MU_MAX, dtype=np.float32)
    low = Volume(_hu(fbp(views, geometry, pixels) / MU_MAX)[None], grid, f"{name} low dose", {"source": "LoDoPaB-CT"})
    nothing = np.zeros((1, *views.shape), dtype=bool)
    acquisition = Acquisition(
        low, views[None], nothing, np.zeros(grid.shape, dtype=bool), geometry, pixels, MU_WATER,
        provenance={"source": "measured", "data": "LoDoPaB-CT"},
    )  # fmt: skip
    return Imported(volume, low_dose=low, acquisition=acquisition)


def _hu(image: np.ndarray) -> np.ndarray:
    return np.asarray((image * MU_MAX - MU_WATER) * (1000.0 / (MU_WATER - MU_AIR)), dtype=np.float32)
