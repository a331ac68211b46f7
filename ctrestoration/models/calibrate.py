"""Making a calibration: a method is applied to stored scans or pairs whose answer is known, patient by patient."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.evaluate.calibration import (
    BANDS_PX,
    COVERAGE,
    ZONES_PX,
    Errors,
    HalfWidth,
    errors_of,
    fit,
    folds,
    measure,
)
from ctrestoration.io import pairs
from ctrestoration.jobs.durable import sha256_of
from ctrestoration.models.calibration import Calibration
from ctrestoration.volume import Grid, Volume

if TYPE_CHECKING:
    from ctrestoration.models.methods import WeightsMethod
    from ctrestoration.training.sources import scans

OUTER_FOLDS = 10
"""Groups of patients that the coverage is measured on, each with a calibration on the others."""

MASK = "body above -300 HU, outside metal"


@dataclass(frozen=True)
class Case:
    """One slice whose answer is known.

    Attributes:
        patient: who was scanned.
        acquisition: of that slice.
        reference: what is right, HU [row, column].
        scanner: name of the preset that it was simulated with.
    """

    patient: str
    acquisition: Acquisition
    reference: NDArray[np.float32]
    scanner: str


@dataclass(frozen=True)
class Run:
    """A method applied to cases.

    Attributes:
        scans: what it said of their pixels.
        facts: patients, scans, sources, scanners, pixel_mm (smallest, largest), ensemble; JSON types.
    """

    scans: list[Errors]
    facts: dict[str, Any]


def calibrate(
    method: WeightsMethod, folders: Sequence[Path], coverage: float = COVERAGE, control: Control = SILENT
) -> Calibration:
    """Calibrate the uncertainty of a method on stored data, and measure the coverage by cross-validation.

    Args:
        method: its weights are calibrated.
        folders: stored scans (`training.data.scan_store`) or pairs (`io.pairs`) of patients that it was not trained on.
        coverage: nominal.
        control: reported to between slices.

    Returns:
        The calibration on all patients. `measured` is of ten groups of patients (as many as there are patients, if
        fewer), each judged by a calibration on the others.

    Raises:
        InputError: the folders hold no such data, a patient was trained on, or there are too few patients.
        DamagedSampleError: a sample is damaged.
        Cancelled: by the control.
    """
    every = [case for folder in folders for case in stored_cases(folder, method)]
    run = apply(method, every, control)
    data = [{"folder": folder.resolve().name, "sha256": sha256_of(folder / "manifest.json")} for folder in folders]
    made = made_of(method, run, coverage, data, {})
    try:
        widths = cross_fitted(run.scans, method.task, coverage)
    except InputError as error:
        patients = run.facts["patients"]
        raise InputError(
            f"{patients} patients are too few to measure the coverage on some that are left out: give one or two more."
        ) from error
    return replace(made, measured=measured_by(run.scans, widths))


def apply(method: WeightsMethod, cases: Sequence[Any], control: Control = SILENT) -> Run:
    """Restore every case with the uncertainty of its ensemble, whatever calibration the method has.

    Args:
        method: as set, up to that.
        cases: functions without arguments that return a `Case`, so that one is in memory at a time.
        control: reported to between cases.

    Raises:
        InputError: see `restore` of the method; there is no case.
    """
    asked = method.with_uncertainty(calibrated=False)
    found: list[Errors] = []
    seen: dict[str, set[Any]] = {"sources": set(), "scanners": set(), "pixel_mm": set(), "ensemble": set()}
    for make in control.track(cases, f"Applying {method.name}"):
        case = make()
        restoration = asked.restore(case.acquisition)
        if restoration.uncertainty is None:
            raise InputError(f"Method {method.name!r} gives no uncertainty: there is nothing to calibrate.")
        image, spread = restoration.image.array[0], restoration.uncertainty.array[0]
        found.append(errors_of(case.patient, image, spread, case.reference, np.array(case.acquisition.metal[0])))
        seen["sources"].add(str(case.acquisition.provenance.get("source", "unknown")))
        seen["scanners"].add(case.scanner)
        seen["pixel_mm"] |= set(case.acquisition.image.grid.spacing[:2])
        seen["ensemble"].add(restoration.provenance["uncertainty"])
    if not found:
        raise InputError("There is no scan to calibrate on.")
    return Run(
        found,
        {
            "patients": len({one.patient for one in found}),
            "scans": len(found),
            "sources": sorted(seen["sources"]),
            "scanners": sorted(seen["scanners"]),
            "pixel_mm": [float(min(seen["pixel_mm"])), float(max(seen["pixel_mm"]))],
            "ensemble": seen["ensemble"].pop(),
        },
    )


def made_of(
    method: WeightsMethod, run: Run, coverage: float, data: list[dict[str, Any]], measured: dict[str, Any]
) -> Calibration:
    """The calibration on all scans of a run; `data` and `measured` go into its file.

    Raises:
        InputError: too few patients.
    """
    metal = method.task == "mar"
    half_width = fit(run.scans, coverage, *((ZONES_PX, BANDS_PX) if metal else ((), ())))
    facts = dict(run.facts)
    ensemble = facts.pop("ensemble")
    scope = {
        "method": method.name,
        "task": method.task,
        "data": data,
        **facts,
        "reference": "the scan without metal, with the same noise" if metal else "the target of the pairs",
        "mask": MASK,
        "date": datetime.date.today().isoformat(),
        "version": __version__,
    }
    largest = max(float(scan.spread.max()) for scan in run.scans)
    return Calibration(half_width, max(largest, 0.01), ensemble, sha256_of(method.path), scope, measured)


def cross_fitted(every: Sequence[Errors], task: str, coverage: float = COVERAGE) -> dict[str, HalfWidth]:
    """For each patient a calibration that neither this patient nor the others of the same group had a part in.

    Raises:
        InputError: too few patients.
    """
    options = (ZONES_PX, BANDS_PX) if task == "mar" else ((), ())
    widths: dict[str, HalfWidth] = {}
    for out in folds([one.patient for one in every], OUTER_FOLDS):
        found = fit([one for one in every if one.patient not in out], coverage, *options)
        widths |= dict.fromkeys(sorted(out), found)
    return widths


def measured_by(every: Sequence[Errors], widths: dict[str, HalfWidth]) -> dict[str, Any]:
    """`measure` with each patient's own calibration, as `cross_fitted` gives them."""
    found = measure(every, [widths[name] for name in sorted({one.patient for one in every})])
    return {"how": f"cross-validated, at most {OUTER_FOLDS} groups of patients", **found}


def stored_cases(folder: Path, method: WeightsMethod) -> list[Any]:
    """Functions that return the cases of a folder, see `apply`: scans with an artifact, and no patient trained on.

    Args:
        folder: stored scans, or a data set of pairs; of the data set that the network was trained on the split "test"
            alone, of others all.
        method: whose training is looked at.

    Raises:
        InputError: neither of them, or a patient that was trained on.
    """
    from ctrestoration.training.data.scan_store import read_manifest

    if not (folder / "manifest.json").is_file():
        raise InputError(
            f"{folder} holds neither stored scans nor pairs: it has no manifest.json ('ctrestoration dataset build' "
            "makes pairs)."
        )
    try:
        manifest = pairs.read_manifest(folder)
    except InputError:
        return _scans(folder, read_manifest(folder), method)
    lowdose = manifest["settings"].get("task") == "lowdose"
    if lowdose != (method.task == "reconstruction"):
        raise InputError(f"{folder} holds {'low-dose' if lowdose else 'metal'} pairs, and {method.name} is for others.")
    return _pairs(folder, manifest, method)


def trained_on(about: dict[str, Any]) -> set[str]:
    """Names of the patients that the header of weights says it was trained on, as `patients_of` gives them."""
    simulation = (about.get("provenance", {}).get("data") or {}).get("simulation") or {}
    folders = simulation.get("folders", [simulation])
    return {name for one in folders for name in patients_of(one.get("settings", {}))}


def patients_of(settings: dict[str, Any]) -> list[str]:
    """Names of the patients of a simulated source: phantoms by their seeds, then volumes by their file names."""
    from ctrestoration.training.data.cases import phantom_name

    phantoms = range(int(settings.get("phantoms", 0)))
    names = [phantom_name(int(settings.get("first_seed", 0)) + number) for number in phantoms]
    return names + [Path(str(volume)).name for volume in settings.get("volumes", ())]


def _scans(folder: Path, manifest: dict[str, Any], method: WeightsMethod) -> list[Any]:
    from ctrestoration.training.keys import Key
    from ctrestoration.training.sources import scans

    if method.task != "mar":
        raise InputError(f"{folder} holds scans with metal, and {method.name} corrects none.")
    settings = scans.Config.model_validate(manifest["settings"])
    names = patients_of(manifest["settings"])
    known = sorted(set(names) & trained_on(dict(method.about)))
    if known:
        raise InputError(f"{folder} holds {known[0]}, which {method.name} was trained on: errors there are too small.")
    cases = []
    for index in range(len(manifest["files"])):
        # As `Patients.drawn` draws it.
        draw = Key(manifest["seed"], manifest["stage"], 0, index).generator("case")
        patient = names[int(draw.integers(len(names)))]
        cases.append(_Scan(folder, index, patient, settings))
    return [case for case in cases if case.usable()]


@dataclass(frozen=True)
class _Scan:
    folder: Path
    index: int
    patient: str
    settings: scans.Config

    def usable(self) -> bool:
        """Whether it has an artifact; scans without one are there for training."""
        from ctrestoration.training.data.scan_store import read_scan

        sample = read_scan(self.folder, self.index, ("input", "target", "metal"))
        return bool((sample["metal"] >= 0.5).any()) and not np.array_equal(sample["input"], sample["target"])

    def __call__(self) -> Case:
        from ctrestoration.training.data.scan_store import acquisition_of, read_scan

        sample = read_scan(self.folder, self.index)
        if not {"sinogram", "kept"} <= set(sample):
            raise InputError(f"{self.folder} holds images alone: give the scans that they were made from.")
        return Case(self.patient, acquisition_of(sample, self.settings), sample["target"][0], self.settings.preset)


def _pairs(folder: Path, manifest: dict[str, Any], method: WeightsMethod) -> list[Any]:
    trained = (method.about.get("provenance", {}).get("data") or {}).get("train")
    splits = ("test",) if trained == sha256_of(folder / "manifest.json") else pairs.SPLITS
    cases: list[Any] = []
    for split in splits:
        shards = manifest["splits"].get(split, {}).get("shards", [])
        if not shards:
            continue
        reader = pairs.PairReader(folder, split)
        owners: list[dict[str, Any]] = []
        for shard in shards:
            for case in pairs.read_cases(folder / shard["file"]):
                owners += [case] * int(case["count"])
        cases += [_Pair(reader, index, owner, manifest["settings"]) for index, owner in enumerate(owners)]
    return [case for case in cases if case.usable()]


@dataclass(frozen=True)
class _Pair:
    reader: pairs.PairReader
    index: int
    owner: dict[str, Any]
    settings: dict[str, Any]

    @property
    def lowdose(self) -> bool:
        return self.settings.get("task") == "lowdose"

    def usable(self) -> bool:
        """Whether it has an artifact, or is a low-dose image, which always has."""
        if self.lowdose:
            return True
        pair = self.reader.read(self.index)
        return bool((pair["metal"] >= 0.5).any()) and not np.array_equal(pair["input"], pair["target"])

    def __call__(self) -> Case:
        from ctrestoration.reconstruct.slices import acquisition_of_image

        pair = self.reader.read(self.index)
        pixel = float(self.owner.get("pixel_mm", self.settings.get("pixel_mm", 1.0)))
        image = pair["input"]
        volume = Volume(image[None], Grid.from_parts((1, *image.shape), (pixel, pixel, 1.0)))
        if self.lowdose:
            acquisition = acquisition_of_image(volume)
        else:
            acquisition = Acquisition.from_image(volume, pair["metal"][None] >= 0.5)
        return Case(str(self.owner["patient"]), acquisition, pair["target"], str(self.settings.get("preset")))
