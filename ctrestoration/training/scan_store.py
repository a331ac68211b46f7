"""Scans simulated once and stored: for studies, whose runs all see the same data, many times.

manifest.json    settings of the simulation, and the digest of every file
00000.npz        one sample of `training.sources.scans`, float32 arrays by name
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file, replace_json, sha256_of, sweep_temporaries
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import DamagedSampleError, Sample, scans

MANIFEST = "manifest.json"


def build_scans(folder: Path, settings: scans.Config, seed: int, stage: str, control: Control = SILENT) -> int:
    """Simulate and store the samples of a source, or go on with an interrupted build of the same settings.

    Args:
        folder: new, or of an interrupted build.
        settings: what to simulate; `count` samples.
        seed: of everything random.
        stage: "validation" for data on which is only measured: they have artifacts, always.
        control: reported to between samples; a cancel keeps the finished ones.

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
    source = settings.create()
    for index in control.track(range(settings.count), f"Simulating {settings.count} scans"):
        path = folder / _name(index)
        if not path.is_file():
            sample = source.sample(Key(seed, stage, 0, index))
            replace_file(path, lambda part, sample=sample: _write(part, sample))  # type: ignore[misc]
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


def read_scan(folder: Path, index: int) -> Sample:
    """One stored sample; its arrays carry checksums.

    Raises:
        DamagedSampleError: the file is missing or damaged.
    """
    path = folder / _name(index)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedSampleError(f"{path} (sample {index}) cannot be read, the file is damaged: {error}.") from error


def _name(index: int) -> str:
    return f"{index:05d}.npz"


def _write(path: Path, sample: Sample) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **sample)  # type: ignore[arg-type]
