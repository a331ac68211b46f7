"""Scans simulated once and stored: for studies, whose runs all see the same data, many times.

manifest.json    settings of the simulation, and the digest of every file
00000.npz        one sample of `training.sources.scans`, float32 arrays by name
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file, replace_json, sha256_of, sweep_temporaries
from ctrestoration.training.keys import Key
from ctrestoration.training.processes import in_processes
from ctrestoration.training.sources import DamagedSampleError, Sample, scans

MANIFEST = "manifest.json"
MakeImages = Callable[[Sample], Sample]
_SHARE = 4
"""Samples simulated by a process before progress is reported."""


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
    begun = folder / "build.json"
    known = json.loads(begun.read_text(encoding="utf-8")) if begun.is_file() else None
    if known is None and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: choose a new folder for the scans.")
    if known not in (None, wanted):
        raise InputError(f"{folder} holds scans with other settings: choose another folder.")
    if (folder / MANIFEST).is_file():
        return settings.count
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(begun, wanted)
    sweep_temporaries(folder)
    missing = [index for index in range(settings.count) if not (folder / _name(index)).is_file()]
    # Neighbors go to one process: each keeps the patients that it has made.
    shares = [missing[start : start + _SHARE] for start in range(0, len(missing), _SHARE)]
    jobs = [(folder, settings, seed, stage, share) for share in shares]
    done = 1 - len(missing) / settings.count
    for _ in in_processes(_simulate, jobs, workers, control.part(done, 1.0), f"Simulating {settings.count} scans"):
        pass
    digests = {_name(index): sha256_of(folder / _name(index)) for index in range(settings.count)}
    replace_json(folder / MANIFEST, {**wanted, "files": digests})
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
    path = folder / _name(index)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedSampleError(f"{path} (sample {index}) cannot be read, the file is damaged: {error}.") from error


def images_in(folder: Path) -> set[str]:
    """Images in HU that the stored samples hold beside "input" and "target"."""
    manifest = read_manifest(folder)
    return set(manifest.get("images") or scans.Config.model_validate(manifest["settings"]).images())


def derive_images(folder: Path, out: Path, make: MakeImages, facts: dict[str, Any], control: Control = SILENT) -> int:
    """Store what is made of every stored scan, images alone, or go on with an interrupted derivation.

    Args:
        folder: stored scans.
        out: new folder, or of an interrupted derivation.
        make: names and images [1, row, column] in HU, added to "input", "target" and "metal", from a whole sample.
        facts: JSON types; how the images are made. They stand in the manifest.
        control: reported to between scans.

    Returns:
        Number of scans.

    Raises:
        InputError: `folder` holds no scans.
        DamagedSampleError: a scan is damaged.
        OSError: `out` cannot be written.
    """
    manifest = read_manifest(folder)
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    count, names = len(manifest["files"]), set[str]()
    for index in control.track(range(count), f"Deriving images of {count} scans"):
        path = out / _name(index)
        if not path.is_file():
            sample = read_scan(folder, index)
            made = {name: sample[name] for name in ("input", "target", "metal")} | make(sample)
            replace_file(path, lambda part, made=made: _write(part, made))  # type: ignore[misc]
        names |= set(read_scan(out, index))
    digests = {_name(index): sha256_of(out / _name(index)) for index in range(count)}
    content = {key: manifest[key] for key in ("settings", "seed", "stage")} | facts
    images = sorted(names - {"input", "target", "metal"})
    replace_json(out / MANIFEST, {**content, "images": images, "files": digests})
    return count


def _simulate(job: tuple[Path, scans.Config, int, str, list[int]]) -> None:
    """Simulate and store some samples; a process of its own makes each patient once."""
    folder, settings, seed, stage, indices = job
    source = _source(settings.model_dump_json())
    for index in indices:
        sample = source.sample(Key(seed, stage, 0, index))
        replace_file(folder / _name(index), lambda part, sample=sample: _write(part, sample))  # type: ignore[misc]


@lru_cache(maxsize=1)
def _source(settings: str) -> scans.Scans:
    return scans.Config.model_validate_json(settings).create()


def _name(index: int) -> str:
    return f"{index:05d}.npz"


def _write(path: Path, sample: Sample) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **sample)  # type: ignore[arg-type]
