"""Draws every planned screw of a file of vertebra masks, in two cuts along the screw: axial and sagittal.

python tools/draw_planner.py VERTEBRA_SEG OUT.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import map_coordinates

from ctrestoration.anatomy.labels import LEVEL_ID
from ctrestoration.anatomy.spine.from_labels import segment_from_labels
from ctrestoration.implants.plan import Screw
from ctrestoration.implants.planner import plan_screws
from ctrestoration.io.labels import read_labels
from ctrestoration.volume import LabelMap

HALF_MM, STEP_MM = 42.0, 0.5


def cut(labels: LabelMap, value: int, screw: Screw, across: np.ndarray) -> np.ndarray:
    """Bone in the plane through the screw's axis and `across`: rows along `across`, columns along the screw."""
    entry, target = np.array(screw.entry), np.array(screw.target)
    axis = (target - entry) / screw.length_mm
    steps = np.arange(-HALF_MM, HALF_MM + 0.01, STEP_MM)
    middle = 0.5 * (entry + target)
    points = middle + steps[:, None, None] * across + steps[:, None] * axis
    index = np.moveaxis(labels.grid.to_index(points)[..., ::-1], -1, 0)
    bone = map_coordinates((labels.array == value).astype(np.float32), index, order=1)
    other = map_coordinates(((labels.array > 0) & (labels.array != value)).astype(np.float32), index, order=1)
    return bone + 0.45 * other


def main() -> int:
    """Draw."""
    path, out = sys.argv[1:3]
    labels = read_labels(path)
    spine = segment_from_labels(labels.grid, labels)
    plan = plan_screws(spine)
    levels = list(dict.fromkeys(screw.level for screw in plan.screws))
    figure, axes = plt.subplots(len(levels), 4, figsize=(8.6, 2.15 * len(levels)), facecolor="white", squeeze=False)
    for cell in axes.ravel():
        cell.axis("off")
    for screw in plan.screws:
        row, first = levels.index(screw.level), 0 if screw.side == "right" else 2
        axis = (np.array(screw.target) - screw.entry) / screw.length_mm
        sideways = np.cross(axis, [0.0, 0.0, 1.0])
        sideways *= np.sign(sideways[0]) / np.linalg.norm(sideways)
        upward = np.cross(sideways, axis)
        upward *= np.sign(upward[2])
        for n, (name, across) in enumerate((("axial", sideways), ("sagittal", upward))):
            cell = axes[row, first + n]
            image = cut(spine.labels, LEVEL_ID[screw.level], screw, across)
            cell.imshow(image, cmap="bone", vmin=0, vmax=1.15, origin="lower", extent=[-HALF_MM, HALF_MM] * 2)
            half, radius = screw.length_mm / 2, screw.diameter_mm / 2
            cell.add_patch(plt.Rectangle((-half, -radius), 2 * half, 2 * radius, fill=False, ec="tab:red", lw=1.3))
            cell.plot([-half], [0], "o", color="tab:orange", ms=3)
            size = f"{screw.diameter_mm:g} x {screw.length_mm:.0f} mm, {screw.grade}"
            cell.set_title(f"{screw.level} {screw.side}, {name}\n{size}", fontsize=7, pad=2)
    figure.tight_layout(pad=0.4)
    figure.savefig(Path(out), dpi=80)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
