"""What the demonstration does, step by step."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration import registry
from ctrestoration.control import SILENT, Control
from ctrestoration.demo.anatomy import Anatomy, patient_anatomy, phantom_anatomy
from ctrestoration.demo.page import Story, page
from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError
from ctrestoration.evaluate.metrics import evaluate
from ctrestoration.files import atomic_folder, write_json
from ctrestoration.volume import LabelMap, Volume

if TYPE_CHECKING:
    from ctrestoration.implants import Plan
    from ctrestoration.simulate.metal import MetalSimulation

Implants = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """Where the demonstration's results are, and the numbers a caller may want to show."""

    report: Path
    metrics: dict[str, Any]


def run(
    out: Path,
    ct: Volume | None = None,
    seed: int = 0,
    preset: str = "syndeeplesion-640",
    control: Control = SILENT,
) -> Outcome:
    """Run the main job and write `report.html`, `metrics.json` and every volume into the folder `out`.

    Args:
        out: folder; created where absent, filled only when everything is done.
        ct: a CT of the lumbar spine without implants; None makes the built-in phantom.
        seed: of the phantom, the photon noise, and nothing else.
        preset: scanner preset of the simulation.
        control: reported to all along.

    Returns:
        The paths and numbers.

    Raises:
        InputError: the CT shows no spine that an implant could be placed in.
        OutputError: `out` cannot be written.
        Cancelled: the user stopped it; `out` is as it was before.
    """
    from ctrestoration.simulate.metal import simulate_metal

    started = time.monotonic()
    with atomic_folder(out) as folder:
        anatomy = (
            phantom_anatomy(seed, control.part(0.0, 0.1)) if ct is None else patient_anatomy(ct, control.part(0.0, 0.1))
        )
        plan, implants = _instrument(anatomy, control.part(0.1, 0.15))
        simulation = simulate_metal(
            anatomy.volume, implants, preset=preset, seed=seed, control=control.part(0.15, 0.55)
        )
        # Networks are left out where PyTorch is not installed: the demonstration works everywhere.
        methods = {name: method for name, method in registry.methods("mar").items() if registry.usable(method)}
        restorations = {}
        for number, (name, method) in enumerate(methods.items()):
            share = (0.55 + 0.3 * number / len(methods), 0.55 + 0.3 * (number + 1) / len(methods))
            # An ensemble takes several times as long: worth it here, on a few slices.
            asked = method.with_uncertainty() if hasattr(method, "with_uncertainty") else method
            restorations[name] = asked.restore(simulation.acquisition, control.part(*share))
        control.report(0.86, "Measuring")
        images = {"input": simulation.acquisition.image, **{name: r.image for name, r in restorations.items()}}
        scores = _measure(simulation, images)
        control.report(0.9, "Writing volumes")
        _write_volumes(folder, anatomy, plan, implants, simulation, images)
        metrics = {"cases": [{"name": anatomy.volume.name, "window": scores["input"]["window"], "methods": scores}]}
        write_json(folder / "metrics.json", metrics)
        control.report(0.94, "Drawing the report")
        titles = {"input": "Uncorrected", **{name: method.title for name, method in methods.items()}}
        story = Story(
            anatomy,
            plan,
            _picture(anatomy, plan),
            simulation,
            restorations,
            titles,
            scores,
            time.monotonic() - started,
        )
        (folder / "report.html").write_text(page(story), encoding="utf-8")
        control.report(1.0, "Done")
    return Outcome(out / "report.html", metrics)


def _instrument(anatomy: Anatomy, control: Control) -> tuple[Plan, Implants]:
    """Plan screws on both sides of the complete levels, join them by rods, and put the metal on the CT grid."""
    from ctrestoration.implants import place, plan_screws
    from ctrestoration.implants.sketch import sketch_screws

    levels = anatomy.spine.complete_levels
    if not levels:
        raise InputError(
            f"No complete vertebra was found in {anatomy.volume.name}: give a CT that shows at least one whole lumbar "
            "vertebra, or try the built-in phantom (leave --ct out)."
        )
    plan = plan_screws(anatomy.spine, levels=levels, control=control.part(0.0, 0.7))
    if len(plan.screws) < len(levels):
        # Fewer than half of the screws: this segmentation shows the pedicles too poorly to plan in.
        sketch = sketch_screws(anatomy.spine, levels=levels)
        plan = replace(sketch, warnings=(*sketch.warnings, *(f"The planner: {text}" for text in plan.warnings)))
    implants = place(plan, anatomy.volume.grid)
    control.report(1.0, "Placing the implants")
    return plan, implants


def _picture(anatomy: Anatomy, plan: Plan) -> NDArray[np.uint8] | None:
    """The construct in 3D; None, with a note, where this machine cannot draw it."""
    from ctrestoration.evaluate.scene3d import render_construct
    from ctrestoration.implants import parts_of

    bone = np.isin(anatomy.spine.labels.array, [level.label for level in anatomy.spine.levels])
    try:
        return render_construct(bone, [part.mesh for part in parts_of(plan)], anatomy.volume.grid)
    except MissingDependencyError as error:
        warnings.warn(f"{error} The report is written without the 3D picture.", CTRestorationWarning, 2)
        return None


def _measure(simulation: MetalSimulation, results: dict[str, Volume]) -> dict[str, Any]:
    """Every method against the metal-free scan with the same noise, in the slices that hold metal."""
    metal = simulation.acquisition.metal
    slices = metal.any(axis=(1, 2))
    reference = simulation.reference.array[slices]
    return {name: evaluate(image.array[slices], reference, metal[slices]) for name, image in results.items()}


def _write_volumes(
    folder: Path,
    anatomy: Anatomy,
    plan: Plan,
    implants: Implants,
    simulation: MetalSimulation,
    results: dict[str, Volume],
) -> None:
    from ctrestoration.implants import save_plan
    from ctrestoration.io.images import write_labels, write_volume

    volumes = folder / "volumes"
    volumes.mkdir()
    write_volume(anatomy.volume, volumes / "ct.nii.gz", whole_hu=True)
    write_volume(simulation.reference, volumes / "reference.nii.gz", whole_hu=True)
    for name, image in results.items():
        write_volume(image, volumes / f"{name}.nii.gz", whole_hu=True)
    write_labels(anatomy.spine.labels, volumes / "spine.seg.nrrd")
    write_labels(_metal_labels(anatomy, implants), volumes / "metal.seg.nrrd")
    save_plan(plan, folder / "plan.json")
    simulation.acquisition.save(folder / "acquisition.npz")


def _metal_labels(anatomy: Anatomy, implants: Implants) -> LabelMap:
    labels = np.zeros(anatomy.volume.grid.shape, dtype=np.uint16)
    names = {}
    for number, (material, fraction) in enumerate(sorted(implants.items()), start=1):
        labels[fraction >= 0.5] = number
        names[number] = material
    return LabelMap(labels, anatomy.volume.grid, names, "metal")
