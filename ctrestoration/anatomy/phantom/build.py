"""Builds the whole phantom: `spine_phantom`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.anatomy import labels as names
from ctrestoration.anatomy.phantom import spine as spine_parts
from ctrestoration.anatomy.phantom.abdomen import paint_lesions, paint_organs
from ctrestoration.anatomy.phantom.bowel import paint_bowel
from ctrestoration.anatomy.phantom.canvas import Canvas
from ctrestoration.anatomy.phantom.levels import THORACOLUMBAR
from ctrestoration.anatomy.phantom.options import PhantomOptions
from ctrestoration.anatomy.phantom.patient import Patient, draw_patient, stream
from ctrestoration.anatomy.phantom.pelvis import Sacrum, build_sacrum, paint_hips, paint_sacrum
from ctrestoration.anatomy.phantom.shapes import Array, Shape
from ctrestoration.anatomy.phantom.soft_tissue import paint_muscles, paint_wall
from ctrestoration.anatomy.phantom.spine import Spine, place_spine
from ctrestoration.anatomy.phantom.texture import SolidNoise, blur, scan_noise
from ctrestoration.anatomy.phantom.thorax import paint_chest, paint_ribs
from ctrestoration.anatomy.phantom.trunk import Trunk, build_trunk
from ctrestoration.anatomy.phantom.truth import SpineTruth
from ctrestoration.anatomy.phantom.truth_build import Bone, build_truth
from ctrestoration.anatomy.phantom.vessels import paint_vessels
from ctrestoration.anatomy.phantom.warp import Warp
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU, Grid, LabelMap, Volume

REGIONS: dict[str, str] = {
    "lumbar": "L3",
    "lumbosacral": "L5",
    "thoracolumbar": "T12",
    "thoracic": "T8",
    "upper-thoracic": "T4",
}
"""Region -> the level at the center of the volume; any level T1..S1 may be named as well."""

_BODY_CENTER_Y = -32.0  # of the trunk with its table, behind the center of L3
_BACK_Y = 84.0  # how far back a small field of view must reach to hold the spinous processes


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT and everything that is true about it.

    Attributes:
        volume: HU.
        labels: one value per vertebra (TotalSegmentator's numbers), organ, rib, disc; see `labels.PHANTOM_NAMES`.
        sublabels: vertebral body, pedicle, posterior elements, spinal canal; see `labels.SUBLABEL_NAMES`.
        lesions: one value per liver lesion.
        truth: pedicle axes, frames, distances to bone and canal.
        options: what was asked for.
        seed: what it was drawn from.
    """

    volume: Volume
    labels: LabelMap
    sublabels: LabelMap
    lesions: LabelMap
    truth: SpineTruth
    options: PhantomOptions
    seed: int


def spine_phantom(
    *,
    size: tuple[int, int, int] = (64, 256, 256),
    spacing: tuple[float, float, float] = (1.5, 1.5, 2.0),
    seed: int = 0,
    region: str = "lumbar",
    options: PhantomOptions | None = None,
    control: Control = SILENT,
) -> Phantom:
    """A CT of a trunk that never existed, with known spine, organs and lesions.

    The patient lies supine; the grid's axes are L, P, S. The same seed and options give the same patient on any
    grid, and the same bits on the same grid. A field of view smaller than the trunk is a crop around the spine.

    Args:
        size: voxels (z, y, x).
        spacing: mm (x, y, z), each 0.2..10.
        seed: of everything random, >= 0.
        region: what lies in the center: a key of `REGIONS` or a level "T1".."L5", "S1".
        options: the patient; whatever is None there is drawn.
        control: progress and cancel.

    Raises:
        InputError: a size, spacing, seed or region outside its range.
        Cancelled: where the control asks to stop.
    """
    options = options or PhantomOptions()
    _check(size, spacing, seed, region)
    control.report(0.0, "Drawing the patient")
    patient = draw_patient(seed, options)
    spine = place_spine(seed, patient, options.pedicle_scale)
    warp = Warp.random(stream(seed, "warp"), options.warp_mm)
    grid = _grid(size, spacing, region, spine)
    canvas = Canvas(grid, warp)
    noise = SolidNoise(stream(seed, "texture"))

    trunk = build_trunk(patient, spine)
    sacrum = build_sacrum(spine, patient)
    lesion_labels, lesions = _paint(
        canvas, seed, patient, spine, trunk, sacrum, noise, options, control.part(0.02, 0.85)
    )
    bones = {level: _bone(spine, level) for level in spine.vertebrae} | {"S1": _sacral_bone(sacrum)}
    parameters = {
        "seed": seed, "region": region, "options": asdict(options), "patient": patient.to_json(),
        "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
    }  # fmt: skip
    control.report(0.9, "Measuring the truth")
    truth = build_truth(grid, warp, spine, bones, _placed(lesions, warp), parameters)
    hu = blur(canvas.hu, grid.spacing)
    if options.noise_hu > 0:
        hu += scan_noise(grid.shape, grid.spacing, options.noise_hu, stream(seed, "noise"))
    np.maximum(hu, AIR_HU, out=hu)
    control.report(1.0, "Phantom done")
    return _assemble(canvas, hu, lesion_labels, truth, options, seed)


def _paint(
    canvas: Canvas,
    seed: int,
    patient: Patient,
    spine: Spine,
    trunk: Trunk,
    sacrum: Sacrum,
    noise: SolidNoise,
    options: PhantomOptions,
    control: Control,
) -> tuple[NDArray[np.uint16], tuple[dict[str, Any], ...]]:
    """Paint everything, back to front."""
    organs = stream(seed, "organs")
    control.report(0.0, "Painting the trunk")
    if options.table:
        paint_table(canvas, trunk)
    paint_wall(canvas, trunk, noise)
    control.report(0.35, "Painting muscles and organs")
    paint_muscles(canvas, trunk, patient, noise)
    liver = paint_organs(canvas, trunk, patient, noise, organs)
    lesion_labels, lesions = paint_lesions(canvas, liver, patient, noise, stream(seed, "lesions"))
    control.report(0.5, "Painting bowel and vessels")
    paint_bowel(canvas, trunk, patient, noise, stream(seed, "bowel"))
    paint_vessels(canvas, trunk, patient, organs)
    paint_chest(canvas, trunk, patient, noise, stream(seed, "lungs"))
    control.report(0.7, "Painting the bones")
    paint_ribs(canvas, trunk, patient, spine, noise)
    paint_hips(canvas, patient, trunk, noise)
    spine_parts.paint_discs(canvas, spine)
    spine_parts.paint_canal(canvas, spine)
    paint_sacrum(canvas, sacrum, patient, noise)
    spine_parts.paint_vertebrae(canvas, spine, noise)
    return lesion_labels, lesions


def paint_table(canvas: Canvas, trunk: Trunk) -> None:
    """Paint the scanner's table: a curved carbon shell with a foam core under the patient."""
    top = float(max(trunk.skin.at(z)[2] for z in range(-150, 260, 10))) + 9.0

    def shell(inset: float) -> Shape:
        def distance(x: Array, y: Array, z: Array) -> Array:
            sag = np.float32(0.0011) * x * x
            inside = np.abs(y + sag - np.float32(top + 16)) - np.float32(14 - inset)
            return np.maximum(inside, np.abs(x) - np.float32(215 - inset))

        return Shape(distance, np.array([-220.0, top - 60, -1e4]), np.array([220.0, top + 40, 1e4]))

    canvas.paint(shell(0.0), 70.0, names.NAME_ID["table"])
    canvas.paint(shell(1.3), -930.0, names.NAME_ID["table"])


def _placed(lesions: tuple[dict[str, Any], ...], warp: Warp) -> tuple[dict[str, Any], ...]:
    placed = []
    for lesion in lesions:
        center = warp.to_patient(lesion["_center"])
        facts = {key: value for key, value in lesion.items() if key != "_center"}
        placed.append({**facts, "center": [round(float(value), 3) for value in center]})
    return tuple(placed)


def _sacral_bone(sacrum: Sacrum) -> Bone:
    return Bone(
        sacrum.shape, sacrum.center, sacrum.axes, sacrum.pedicles, sacrum.body_size, sacrum.canal, sacrum.first_segment
    )


def _assemble(
    canvas: Canvas,
    hu: NDArray[np.float32],
    lesions: NDArray[np.uint16],
    truth: SpineTruth,
    options: PhantomOptions,
    seed: int,
) -> Phantom:
    grid = canvas.grid
    present = np.flatnonzero(np.bincount(canvas.labels.ravel()))
    return Phantom(
        Volume(hu, grid, f"phantom {seed}", {"source": "procedural spine phantom", "seed": seed}),
        LabelMap(canvas.labels, grid, {int(n): names.PHANTOM_NAMES[int(n)] for n in present if n}, "phantom labels"),
        LabelMap(canvas.sublabels, grid, dict(names.SUBLABEL_NAMES), "phantom vertebra parts"),
        LabelMap(lesions, grid, {n + 1: f"liver_lesion_{n + 1}" for n in range(len(truth.lesions))}, "phantom lesions"),
        truth,
        options,
        seed,
    )


def _bone(spine: Spine, level: str) -> Bone:
    vertebra, body = spine.vertebrae[level], spine.vertebrae[level].body
    size = (body.width, body.depth, body.height)
    shape = vertebra.shape
    return Bone(shape, vertebra.center, vertebra.axes, vertebra.pedicles, size, vertebra.canal, shape)


def _grid(size: tuple[int, int, int], spacing: tuple[float, float, float], region: str, spine: Spine) -> Grid:
    level = REGIONS.get(region, region)
    s = 0.0 if level == "S1" else spine.centers[level]
    middle = spine.curve.frame(s)[0]
    extent = np.array(spacing) * np.array(size[::-1])
    y = max(_BODY_CENTER_Y, middle[1] + _BACK_Y - extent[1] / 2)
    x = 0.0 if extent[0] > 300 else middle[0]
    center = np.array([x, y, middle[2]])
    origin = center - np.array(spacing) * (np.array(size[::-1]) - 1) / 2
    return Grid.from_parts(size, spacing, (float(origin[0]), float(origin[1]), float(origin[2])))


def _check(size: tuple[int, int, int], spacing: tuple[float, float, float], seed: int, region: str) -> None:
    if len(size) != 3 or min(size) < 1 or max(size) > 2048:
        raise InputError(f"The phantom's size must be three numbers of voxels (z, y, x) in 1..2048, not {tuple(size)}.")
    if len(spacing) != 3 or not all(0.2 <= value <= 10 for value in spacing):
        raise InputError(f"The phantom's spacing must be three lengths (x, y, z) in 0.2..10 mm, not {tuple(spacing)}.")
    if int(seed) != seed or not 0 <= seed < 2**63:
        raise InputError(f"The phantom's seed must be an integer from 0 on, not {seed}.")
    if region not in REGIONS and region not in (*THORACOLUMBAR, "S1"):
        raise InputError(
            f"Unknown region {region!r}: choose one of {', '.join(REGIONS)}, or a level T1..T12, L1..L5, S1."
        )
