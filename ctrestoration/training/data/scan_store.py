"""Scans simulated once and stored: for studies, whose runs all see the same data, many times.

manifest.json    settings of the simulation, and the digest of every file
00000.npz        one sample of `training.sources.scans`, float32 arrays by name
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file, replace_json, sha256_of, sweep_temporaries
from ctrestoration.training.keys import Key
from ctrestoration.training.processes import in_processes
from ctrestoration.training.sources import DamagedSampleError, Sample, scans

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition

MANIFEST = "manifest.json"
MakeImages = Callable[[int, Sample], Sample]
_ALWAYS = ("input", "target", "metal")
_SHARE = 4
"""Samples made by a process before progress is reported."""


def build_scans(
    folder: Path, settings: scans.Config, seed: int, stage: str, control: Control = SILENT, workers: int = 1
) -> int:
    """Simulate and store the samples of a source, or go on with an interrupted build of the same settings.

    Args:
        folder: new, or of an interrupted build.
        settings: what to simulate; `count` samples.
        seed: of everything random.
        stage: "validation" for data on which is only measured: they have artifacts, always.
        control: reported to between samples; a cancel keeps the finished ones.
        workers: processes; the bits do not depend on it.

    Returns:
        Number of scans.

    Raises:
        InputError: the folder holds something else.
        OSError: it cannot be written.
    """
    wanted = {"settings": settings.model_dump(mode="json"), "seed": seed, "stage": stage}
    _begin(folder, wanted)
    if not (folder / MANIFEST).is_file():
        message = f"Simulating {settings.count} scans"
        _fill(folder, settings.count, partial(_simulate, folder, settings, seed, stage), workers, control, message)
        replace_json(folder / MANIFEST, {**wanted, "files": _digests(folder, settings.count)})
    return settings.count


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of stored scans.

    Raises:
        InputError: the folder holds no finished ones.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder} holds no stored scans: it has no {MANIFEST}.") from error
    except ValueError as error:
        raise InputError(f"{folder / MANIFEST} is damaged: it is not JSON.") from error
    if not isinstance(content, dict) or not {"settings", "files"} <= set(content):
        raise InputError(f"{folder / MANIFEST} describes no stored scans.")
    return content


def read_scan(folder: Path, index: int, names: Collection[str] = ()) -> Sample:
    """One stored sample; its arrays carry checksums.

    Args:
        folder: of the scans.
        index: which one.
        names: only these arrays; empty: all.

    Raises:
        DamagedSampleError: the file is missing or damaged.
    """
    path = _path(folder, index)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedSampleError(f"{path} (sample {index}) cannot be read, the file is damaged: {error}.") from error


def acquisition_of(sample: Sample, settings: scans.Config) -> Acquisition:
    """The acquisition of a stored scan.

    Args:
        sample: with its sinogram.
        settings: what it was simulated with.
    """
    from ctrestoration.acquisition import PROJECTED, Acquisition
    from ctrestoration.correct.completion import SliceData
    from ctrestoration.physics.presets import scanner_preset
    from ctrestoration.physics.projector import Projector
    from ctrestoration.simulate.from_image import MU_WATER
    from ctrestoration.volume import Grid, Volume

    image = sample["input"][0]
    scanner = scanner_preset(settings.preset)
    pixel = (settings.pixel_mm, settings.pixel_mm)
    grid = scanner.image_grid(image.shape, pixel)
    volume = Volume(image[None], Grid.from_parts((1, *image.shape), (*pixel, 1.0)))
    provenance = {
        "source": PROJECTED if settings.projected else "simulated",
        "preset": settings.preset,
    }
    made = Acquisition(
        volume, sample["sinogram"], sample["kept"] < 0.5, sample["metal"] >= 0.5, scanner.geometry(grid), grid,
        MU_WATER, scanner.fbp_mode, "ram-lak" if settings.projected else scanner.fbp_window, provenance,
    )  # fmt: skip
    if settings.projected:
        return made
    # Stored images end at -1024 HU: the artifacts in air that a completion takes away are in the data alone.
    data = SliceData(made, 0, Projector(made.geometry, grid))
    whole = data.reconstruct(data.sinogram) * np.float32(1000.0 / MU_WATER) - np.float32(1000.0)
    return replace(made, image=volume.replaced(whole[None]))


def write_scan(folder: Path, index: int, sample: Sample) -> None:
    """Store one sample, in the place of one that was there; its digest in the manifest is the caller's matter.

    Raises:
        OSError: it cannot be written.
    """

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez(stream, **sample)  # type: ignore[arg-type]

    replace_file(_path(folder, index), write)


def images_in(folder: Path) -> set[str]:
    """Images in HU that the stored samples hold beside "input" and "target", their truth included."""
    manifest = read_manifest(folder)
    settings = scans.Config.model_validate(manifest["settings"])
    return set(manifest.get("images") or settings.images() | ({"truth"} if settings.truth else set()))


def derive_images(
    folder: Path,
    out: Path,
    make: MakeImages,
    facts: dict[str, Any],
    control: Control = SILENT,
    *,
    keep: Collection[str] = (),
    workers: int = 1,
) -> int:
    """Store what is made of every stored scan, images alone, or go on with an interrupted derivation.

    Args:
        folder: stored scans.
        out: new folder, or of a derivation with the same facts.
        make: names and images [1, row, column] in HU, from the number of a scan and its whole sample. They are added
            to "input", "target" and "metal", or take their place.
        facts: JSON types; how the images are made. They stand in the manifest.
        control: reported to between scans.
        keep: further images of the scans that are stored, too.
        workers: processes. With several, `make` is a function of a module, or a `partial` of one.

    Returns:
        Number of scans.

    Raises:
        InputError: `folder` holds no scans, or not those to keep; `out` holds something else.
        DamagedSampleError: a scan is damaged.
        OSError: `out` cannot be written.
    """
    manifest = read_manifest(folder)
    if missing := set(keep) - images_in(folder):
        raise InputError(f"The scans of {folder} hold no image {', '.join(sorted(missing))} that could be kept.")
    count = len(manifest["files"])
    content = {key: manifest[key] for key in ("settings", "seed", "stage")} | json.loads(json.dumps(facts))
    if (out / MANIFEST).is_file():
        derived = read_manifest(out)
        if any(derived.get(key) != value for key, value in content.items()) or not set(keep) <= images_in(out):
            raise InputError(f"{out} holds images that were made otherwise: choose another folder.")
        return count
    _begin(out, {**content, "keep": sorted(keep)})
    names = (*_ALWAYS, *keep)
    _fill(out, count, partial(_derive, folder, out, make, names), workers, control, f"Deriving images of {count} scans")
    found = set[str]()
    for index in range(count):
        with np.load(_path(out, index), allow_pickle=False) as arrays:
            found |= set(arrays.files)
    content["images"] = sorted(found - set(_ALWAYS))
    replace_json(out / MANIFEST, {**content, "files": _digests(out, count)})
    return count


def _begin(folder: Path, wanted: dict[str, Any]) -> None:
    """Note in a new folder what it will hold; refuse one that holds something else."""
    begun = folder / "build.json"
    known = json.loads(begun.read_text(encoding="utf-8")) if begun.is_file() else None
    if known is None and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: choose a new folder for the scans.")
    if known is not None and _with_defaults(known) != _with_defaults(wanted):
        raise InputError(f"{folder} holds scans with other settings: choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if known is None:
        replace_json(begun, wanted)
    sweep_temporaries(folder)


def _with_defaults(wanted: dict[str, Any]) -> dict[str, Any]:
    """Settings that came after a store was begun have their default in it."""
    try:
        settings = scans.Config.model_validate(wanted["settings"]).model_dump(mode="json")
    except (KeyError, ValueError):  # of derived images, or of another version altogether
        return wanted
    return {**wanted, "settings": settings}


def _fill(
    folder: Path, count: int, make: Callable[[list[int]], None], workers: int, control: Control, message: str
) -> None:
    """Make the scans that are missing, some at a time."""
    missing = [index for index in range(count) if not _path(folder, index).is_file()]
    # Neighbors go to one process: each keeps the patients that it has made.
    shares = [missing[start : start + _SHARE] for start in range(0, len(missing), _SHARE)]
    done = 1 - len(missing) / max(count, 1)
    for _ in in_processes(make, shares, workers, control.part(done, 1.0), message):
        pass


def _simulate(folder: Path, settings: scans.Config, seed: int, stage: str, indices: list[int]) -> None:
    source = _source(settings.model_dump_json())
    for index in indices:
        write_scan(folder, index, source.sample(Key(seed, stage, 0, index)))


def _derive(folder: Path, out: Path, make: MakeImages, names: tuple[str, ...], indices: list[int]) -> None:
    for index in indices:
        sample = read_scan(folder, index)
        write_scan(out, index, {name: sample[name] for name in names} | make(index, sample))


@lru_cache(maxsize=1)
def _source(settings: str) -> scans.Scans:
    return scans.Config.model_validate_json(settings).create()


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.npz"


def _digests(folder: Path, count: int) -> dict[str, str]:
    paths = [_path(folder, index) for index in range(count)]
    return {path.name: sha256_of(path) for path in paths}
