"""Building a data set of pairs: one task makes one whole shard and depends on the settings and its number only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ctrestoration.control import SILENT, Control
from ctrestoration.correct.corrected import CORRECTED
from ctrestoration.errors import InputError
from ctrestoration.io.pairs import (
    LOWEST_HU,
    SHARD_PAIRS,
    SPLITS,
    Pair,
    finished_shard,
    read_cases,
    write_manifest,
    write_shard,
)
from ctrestoration.jobs.durable import replace_json, sha256_of, sweep_temporaries
from ctrestoration.jobs.locks import FileLock
from ctrestoration.jobs.rundir import read_json
from ctrestoration.training.data.cases import Patient, phantom_patient, scan_case, short_digest, volume_patient
from ctrestoration.training.keys import derive, generator
from ctrestoration.training.processes import in_processes


@dataclass(frozen=True)
class BuildSettings:
    """What a data set is made of.

    Attributes:
        phantoms: number of procedural phantoms.
        volumes: clean CT files or DICOM folders.
        cases: implant placements for each patient.
        slices: slices with metal scanned in each case.
        size: rows and columns.
        pixel_mm: pixel size.
        preset: scanner preset.
        seed: of everything random.
        shares: shares of patients in train, validation and test.
        clean: share of training pairs without artifact, half of them with a mask; see `cases.scan_case`.
        corrected: classical methods whose images are stored, too.
    """

    phantoms: int = 8
    volumes: tuple[str, ...] = ()
    cases: int = 4
    slices: int = 2
    size: int = 256
    pixel_mm: float = 1.5
    preset: str = "clinical"
    seed: int = 0
    shares: tuple[float, float, float] = field(default=(0.7, 0.15, 0.15))
    clean: float = 0.1
    corrected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        limits = {"cases": (1, 100000), "slices": (1, 100), "size": (32, 1024), "phantoms": (0, 1000000)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"--{name} has to lie in {low}..{high}, not {getattr(self, name)}.")
        if not 0.1 <= self.pixel_mm <= 10:
            raise InputError(f"--pixel has to lie in 0.1..10 mm, not {self.pixel_mm:g}.")
        if not 0 <= self.clean <= 1:
            raise InputError(f"--clean has to lie in 0..1, not {self.clean:g}.")
        if len(set(self.corrected)) < len(self.corrected) or not set(self.corrected) <= set(CORRECTED):
            known = " and ".join(CORRECTED)
            raise InputError(f"--with takes {known}, each once, not {','.join(self.corrected)}.")
        if self.seed < 0:
            raise InputError(f"--seed has to be 0 or more, not {self.seed}.")
        if self.patients < len(SPLITS):
            raise InputError("A data set needs at least 3 patients (phantoms and volumes): one for each split.")
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(
                f"The shares of train, validation and test have to be above 0 and sum to 1, not {self.shares}."
            )

    @property
    def patients(self) -> int:
        """Number of patients."""
        return self.phantoms + len(self.volumes)

    @property
    def lowest_hu(self) -> int:
        """Values below become this."""
        return LOWEST_HU

    def optional(self) -> tuple[str, ...]:
        """Arrays stored beside input, target and metal."""
        return self.corrected

    def check(self) -> None:
        """Refuse what cannot be used, before anything is simulated."""
        _check_volumes(self)

    def splits(self) -> dict[str, list[int]]:
        """Patient numbers by split."""
        return split_patients(self)

    def patient(self, number: int) -> Any:
        """A patient by number, as `simulate` takes it."""
        return _patient(self, number)

    def simulate(self, patient: Any, draw: np.random.Generator, split: str) -> tuple[list[Pair], dict[str, Any]]:
        """Pairs of one case, and what was drawn, with the patient's name."""
        clean = self.clean if split == "train" else 0.0
        scans, facts = scan_case(patient, draw, self.preset, self.slices, clean)
        return [scan.pair(self.corrected) for scan in scans], facts

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON types, files by name and content."""
        return _settings_json(self)


@dataclass(frozen=True)
class Task:
    """One shard to make: its file and whose cases it holds, (patient number, case number)."""

    split: str
    file: str
    cases: tuple[tuple[int, int], ...]


def build_dataset(folder: Path, settings: BuildSettings, workers: int = 1, control: Control = SILENT) -> dict[str, Any]:
    """Build a data set, or go on with an interrupted build of the same settings.

    The bits do not depend on the number of workers or on interruptions.

    Args:
        folder: new, or of an interrupted build.
        settings: what to make.
        workers: processes.
        control: reported to between shards; a cancel keeps the finished ones.

    Returns:
        Split -> number of pairs.

    Raises:
        InputError: the folder holds something else, or a volume cannot be used.
        Cancelled: by the control.
        OSError: the folder cannot be written.
    """
    settings.check()
    _claim(folder, settings)
    with FileLock(folder / "lock", f"The data set {folder}"):
        sweep_temporaries(folder)
        tasks = plan_tasks(settings)
        missing = [task for task in tasks if finished_shard(folder / task.file) is None]
        part = control.part((len(tasks) - len(missing)) / len(tasks), 1.0)
        jobs = [(folder, settings, task) for task in missing]
        if workers > 1:
            for _ in in_processes(_shard, jobs, workers, part, f"Simulating {len(jobs)} shards"):
                pass
        for number, task in enumerate(missing if workers <= 1 else ()):
            make_shard(folder, settings, task, part.part(number / len(missing), (number + 1) / len(missing)))
        splits = _describe(folder, settings, tasks)
        shape = (settings.size, settings.size)
        write_manifest(folder, splits, shape, settings.to_json(), settings.optional(), settings.lowest_hu)
    return {name: split["count"] for name, split in splits.items()}


def plan_tasks(settings: BuildSettings) -> list[Task]:
    """Which shard holds which cases: whole patients in one split, whole cases in one shard."""
    per_shard = max(1, SHARD_PAIRS // settings.slices)
    tasks = []
    for split, patients in settings.splits().items():
        cases = [(patient, case) for patient in patients for case in range(settings.cases)]
        for number, start in enumerate(range(0, len(cases), per_shard)):
            tasks.append(Task(split, f"{split}-{number:05d}.h5", tuple(cases[start : start + per_shard])))
    return tasks


def split_patients(settings: BuildSettings) -> dict[str, list[int]]:
    """Patient numbers by split: shuffled by the seed, at least one patient in each."""
    count = settings.patients
    shuffled = [int(number) for number in generator(settings.seed, "split").permutation(count)]
    rest = [max(1, round(count * share)) for share in settings.shares[1:]]
    first = max(1, count - sum(rest))
    edges = [0, first, min(first + rest[0], count - 1), count]
    return {name: sorted(shuffled[edges[i] : edges[i + 1]]) for i, name in enumerate(SPLITS)}


def make_shard(folder: Path, settings: BuildSettings, task: Task, control: Control = SILENT) -> str:
    """Simulate and write one shard, reporting between cases; returns its file name."""
    pairs, cases = [], []
    patient: tuple[int, Any] | None = None
    for number, case in control.track(task.cases, f"Simulating {task.file}"):
        if patient is None or patient[0] != number:
            patient = number, settings.patient(number)
        draw = generator(settings.seed, "case", number, case)
        made, facts = settings.simulate(patient[1], draw, task.split)
        pairs += made
        cases.append({**facts, "count": len(made)})
    write_shard(folder / task.file, pairs, cases, settings.lowest_hu)
    return task.file


def _shard(job: tuple[Path, BuildSettings, Task]) -> str:
    return make_shard(*job)


def _patient(settings: BuildSettings, number: int) -> Patient:
    if number < settings.phantoms:
        seed = derive(settings.seed, "phantom", number) % 2**31
        return phantom_patient(seed, settings.size, settings.pixel_mm)
    return volume_patient(Path(settings.volumes[number - settings.phantoms]), settings.size, settings.pixel_mm)


def _check_volumes(settings: BuildSettings) -> None:
    """Volumes are simulated last or in the middle: what cannot be used is told before anything is simulated."""
    for path in settings.volumes:
        if not Path(path).exists():
            raise InputError(f"There is no CT volume {path}.")
    for path in settings.volumes:
        volume_patient(Path(path), settings.size, settings.pixel_mm)


def _claim(folder: Path, settings: BuildSettings) -> None:
    """Make the folder this build's own: another build's or other files are refused."""
    wanted = settings.to_json()
    if (folder / "manifest.json").exists():
        raise InputError(f"{folder} already holds a finished data set: choose another folder.")
    known = read_json(folder / "build.json")
    if known is None:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty: choose a new folder for the data set.")
        folder.mkdir(parents=True, exist_ok=True)
        replace_json(folder / "build.json", wanted)
    elif known != wanted:
        raise InputError(f"{folder} holds an interrupted build with other settings: choose another folder.")


def _settings_json(settings: BuildSettings) -> dict[str, Any]:
    content = json.loads(json.dumps(asdict(settings)))
    content["volumes"] = [f"{Path(path).name} {short_digest(Path(path))}" for path in settings.volumes]
    return signed(content)


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON types with their digest."""
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
    return dict(content)


def _describe(folder: Path, settings: BuildSettings, tasks: Sequence[Task]) -> dict[str, Any]:
    splits: dict[str, Any] = {name: {"patients": [], "count": 0, "shards": []} for name in SPLITS}
    for task in tasks:
        path = folder / task.file
        cases = read_cases(path)
        count = sum(int(case["count"]) for case in cases)
        split = splits[task.split]
        split["count"] += count
        split["patients"] = sorted({*split["patients"], *(case["patient"] for case in cases if case["count"])})
        digest, size = sha256_of(path), path.stat().st_size
        split["shards"].append({"file": task.file, "count": count, "bytes": size, "sha256": digest, "cases": cases})
    return splits
