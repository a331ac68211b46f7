"""Stored training pairs: HDF5 shards with checksums inside, a manifest with checksums outside, split by patient.

    manifest.json             what is in it, by split; digest of each shard
    train-00000.h5            "input", "target" int16 HU, "metal" uint8 percent: (pair, row, column); "cases" JSON;
                              where asked for, "nmar" and "li" int16 HU: the same slices corrected;
                              "labels" uint8 class numbers, of low-dose pairs, which have no metal
    train-00000.h5.sha256     written with the shard, so that an interrupted build trusts only whole shards

One chunk holds one pair, uncompressed, with Fletcher-32: a flipped bit in a plain HDF5 file is read without a word, and
compression costs more time than it saves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import replace_file, replace_json, replace_text, sha256_of
from ctrestoration.jobs.outcome import DataRefusedError

SCHEMA = 1
SPLITS = ("train", "validation", "test")
SHARD_PAIRS = 64
LOWEST_HU, _HIGHEST = -1024, 32767
_TYPES = {"input": "int16", "target": "int16", "metal": "uint8"}
_OPTIONAL = {"nmar": "int16", "li": "int16", "labels": "uint8"}

Pair = dict[str, NDArray[np.float32]]
"""input and target in HU, metal as fraction 0..1; each float32 [row, column]. Optional: nmar and li in HU, labels."""


class DamagedPairError(DataRefusedError):
    """One pair cannot be read; the message names the file and the index."""


def write_shard(
    path: Path, pairs: Sequence[Pair], cases: Sequence[Mapping[str, Any]], lowest_hu: int = LOWEST_HU
) -> str:
    """Write one shard and, after it, its digest.

    Args:
        path: ends in .h5; an older shard is replaced whole.
        pairs: all of one shape, and with the same names; without any the shard holds its cases alone.
        cases: what was simulated, in the order of the pairs; JSON types, with "patient" and "count" (of pairs).
        lowest_hu: values below become this; the noise of low-dose images reaches below air.

    Returns:
        SHA-256 of the shard.

    Raises:
        ValueError: NaN or infinity, or arrays of unequal shape (a defect of the simulation).
        OSError: it cannot be written; nothing half-written stays.
    """
    import h5py

    names = [*_TYPES, *(name for name in _OPTIONAL if name in pairs[0])] if pairs else []
    stored = {name: np.stack([_to_stored(name, pair[name], lowest_hu) for pair in pairs]) for name in names}

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            for name, array in stored.items():
                file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), fletcher32=True, track_times=False)
            text = json.dumps(list(cases), allow_nan=False).encode("utf-8")
            content = np.frombuffer(text, dtype=np.uint8)
            file.create_dataset("cases", data=content, chunks=content.shape, fletcher32=True, track_times=False)

    replace_file(path, write)
    digest = sha256_of(path)
    replace_text(path.with_name(path.name + ".sha256"), f"{digest} {path.stat().st_size} {path.name}\n")
    return digest


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The cases of a shard, as they were given to `write_shard`.

    Raises:
        OSError: the shard cannot be read.
    """
    import h5py

    with h5py.File(path, "r") as file:
        cases: list[dict[str, Any]] = json.loads(file["cases"][:].tobytes())
    return cases


def finished_shard(path: Path) -> str | None:
    """The digest of a shard that was written to its end and is unchanged, else None."""
    try:
        digest = path.with_name(path.name + ".sha256").read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return None
    return digest if path.is_file() and sha256_of(path) == digest else None


def write_manifest(
    folder: Path,
    splits: Mapping[str, Any],
    shape: tuple[int, int],
    settings: dict[str, Any],
    optional: Sequence[str] = (),
    lowest_hu: int = LOWEST_HU,
) -> None:
    """Write the manifest, the last file of a build: a folder without it is no data set."""
    types = {**_TYPES, **{name: _OPTIONAL[name] for name in optional}}
    content = {"schema": SCHEMA, "shape": list(shape), "types": types, "settings": settings, "splits": dict(splits)}
    if lowest_hu != LOWEST_HU:
        content["lowest_hu"] = lowest_hu
    replace_json(folder / "manifest.json", content)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data set.

    Raises:
        InputError: the folder is no finished data set, or of another version.
    """
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder} is no data set: it has no manifest.json ('ctrestoration dataset build' makes one)."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path} has another format than version {SCHEMA}: build the data set again.")
    return content


def stored_types(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The arrays of every pair and their types, as a manifest says; those that every data set has come first."""
    known = {**_TYPES, **_OPTIONAL}
    return {name: kind for name, kind in known.items() if name in _TYPES or name in manifest.get("types", {})}


class PairReader:
    """Random access to the pairs of one split; files are opened when first read, in the process that reads.

    Raises:
        InputError: no data set, or an empty split.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        manifest = read_manifest(folder)
        self._shape = tuple(manifest["shape"])
        self._types = stored_types(manifest)
        shards = manifest["splits"].get(split, {}).get("shards", [])
        self._shards = [(str(shard["file"]), int(shard["count"])) for shard in shards]
        self._length = sum(count for _, count in self._shards)
        if self._length == 0:
            raise InputError(f"{folder} has no pairs in its split {split!r}.")
        self.fingerprint = sha256_of(folder / "manifest.json")
        self._files: dict[str, Any] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def read(self, index: int) -> Pair:
        """Pair number `index` of the split.

        Raises:
            IndexError: outside the split.
            DamagedPairError: checksum, shape or file are wrong.
        """
        name, position = self._locate(index)
        try:
            file = self._open(name)
            arrays = {key: file[key][position] for key in self._types}
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise DamagedPairError(
                f"{self.folder / name}, pair {position}: cannot be read, the file is damaged ({_brief(error)})."
            ) from error
        for key, array in arrays.items():
            if array.shape != self._shape or str(array.dtype) != self._types[key]:
                raise DamagedPairError(
                    f"{self.folder / name}, pair {position}: {key} is {array.dtype} {array.shape}, "
                    f"not {self._types[key]} {self._shape}."
                )
        return {key: _from_stored(key, array) for key, array in arrays.items()}

    def _locate(self, index: int) -> tuple[str, int]:
        if not 0 <= index < self._length:
            raise IndexError(index)
        for name, count in self._shards:
            if index < count:
                return name, index
            index -= count
        raise AssertionError("the shards hold as many pairs as the split")

    def _open(self, name: str) -> Any:
        import h5py

        if self._process != os.getpid():  # a handle inherited by fork would share its file position
            self._files, self._process = {}, os.getpid()
        if name not in self._files:
            self._files[name] = h5py.File(self.folder / name, "r")
        return self._files[name]


def verify_pairs(folder: Path, control: Control = SILENT) -> list[str]:
    """Read every shard again and say what is wrong: digests, shapes, types, counts, HU range, patients in two splits.

    Args:
        folder: of the data set.
        control: reported to between shards.

    Returns:
        One sentence for each fault; empty where all is well.

    Raises:
        InputError: there is no data set.
    """
    manifest = read_manifest(folder)
    faults = list(_shared_patients(manifest))
    shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    for shard in control.track(shards, "Verifying"):
        shape, types = tuple(manifest["shape"]), stored_types(manifest)
        faults += _verify_shard(folder / shard["file"], shard, shape, types, int(manifest.get("lowest_hu", LOWEST_HU)))
    return faults


def _verify_shard(
    path: Path, shard: dict[str, Any], shape: tuple[int, ...], types: Mapping[str, str], lowest_hu: int
) -> Iterator[str]:
    import h5py

    if not path.is_file():
        yield f"{path} is missing."
        return
    if path.stat().st_size != shard["bytes"]:
        yield f"{path} has {path.stat().st_size} bytes instead of {shard['bytes']}: it is truncated or another file."
    elif sha256_of(path) != shard["sha256"]:
        yield f"{path} is damaged: its SHA-256 is not the one in the manifest."
    try:
        with h5py.File(path, "r") as file:
            for name, kind in types.items() if shard["count"] else ():
                yield from _verify_array(path, name, kind, file, (shard["count"], *shape), lowest_hu)
    except (OSError, RuntimeError) as error:
        yield f"{path} cannot be opened: {_brief(error)}."


def _verify_array(path: Path, name: str, kind: str, file: Any, shape: tuple[int, ...], lowest_hu: int) -> Iterator[str]:
    if name not in file:
        yield f"{path} has no array {name!r}."
        return
    array = file[name]
    if array.shape != shape or str(array.dtype) != kind:
        yield f"{path}: {name} is {array.dtype} {array.shape}, not {kind} {shape}."
    for index in range(array.shape[0]):
        try:
            values = array[index]
        except OSError as error:
            yield f"{path}, pair {index}: {name} cannot be read ({_brief(error)})."
            continue
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{path}, pair {index}: {name} holds NaN or infinity."
        elif kind == "int16" and values.size and values.min() < lowest_hu:
            yield f"{path}, pair {index}: {name} goes down to {values.min()} HU, below {lowest_hu}."
        elif name == "metal" and values.size and values.max() > 100:
            yield f"{path}, pair {index}: metal is {values.max()} %, above 100."


def _shared_patients(manifest: dict[str, Any]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for split, content in manifest["splits"].items():
        for patient in content["patients"]:
            if patient in seen:
                yield f"Patient {patient} is in both {seen[patient]} and {split}: results would be too good."
            seen[patient] = split


def _to_stored(name: str, array: NDArray[np.float32], lowest_hu: int) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if name == "metal":
        return np.rint(np.clip(array, 0, 1) * 100).astype(np.uint8)
    if name == "labels":
        return np.rint(np.clip(array, 0, 255)).astype(np.uint8)
    return np.rint(np.clip(array, lowest_hu, _HIGHEST)).astype(np.int16)


def _from_stored(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32) / np.float32(100) if name == "metal" else array.astype(np.float32)


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:120].strip("'\" .") if str(error) else type(error).__name__
