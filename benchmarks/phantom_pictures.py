"""Draws the pictures of docs/phantom.md.

python benchmarks/phantom_pictures.py OUT [--ct FILE]    (FILE: a real abdominal CT to stand beside the phantom)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ctrestoration.anatomy.phantom import Phantom, PhantomOptions, spine_phantom
from ctrestoration.anatomy.spine import segment_spine
from ctrestoration.io.images import read_volume
from ctrestoration.volume import LabelMap, Volume, axial_orientation

WINDOWS = {"soft": (-160, 240), "bone": (-450, 1050)}
SEED = 31
REAL = "Real CT (TCGA-OV, CC BY 3.0)"


def lps(volume: Volume) -> Volume:
    orientation, grid = axial_orientation(volume.grid)
    return Volume(np.ascontiguousarray(orientation.apply(volume.array)), grid, volume.name)


def near(volume: Volume, point: np.ndarray) -> tuple[int, int, int]:
    return tuple(round(float(value)) for value in volume.grid.to_index(point))  # type: ignore[return-value]


def window(
    image: np.ndarray, center: tuple[float, float], size: tuple[float, float], step: tuple[float, float]
) -> np.ndarray:
    """Part of an image of fixed size in mm, padded with air where the scan ends."""
    half = [int(size[n] / step[n] / 2) for n in (0, 1)]
    padded = np.pad(image, [(half[0], half[0]), (half[1], half[1])], constant_values=-1024)
    row, column = int(center[0]), int(center[1])
    return padded[row : row + 2 * half[0], column : column + 2 * half[1]]


def side_by_side(out: Path, real: Volume, real_points: list, phantom: Phantom) -> None:
    levels = phantom.truth.levels
    points = [np.array(levels["L2"].center) + np.array(levels["L2"].up) * 4, np.array(levels["T11"].center)]
    for name, (low, high) in WINDOWS.items():
        figure, axes = plt.subplots(2, 4, figsize=(16, 7.6), facecolor="black", width_ratios=[1.3, 1.3, 0.9, 1.1])
        for row, (volume, where, title) in enumerate(
            ((real, real_points, REAL), (phantom.volume, points, f"Phantom, seed {phantom.seed}"))
        ):
            sx, sy, sz = volume.grid.spacing
            x, y, z = near(volume, where[0])
            x2, y2, z2 = near(volume, where[1])
            planes = [
                (window(volume.array[z], (y - 45 / sy, x), (300, 390), (sy, sx)), "upper", 1.0),
                (window(volume.array[z2], (y2 - 45 / sy, x2), (300, 390), (sy, sx)), "upper", 1.0),
                (window(volume.array[:, :, x], ((z + z2) / 2, y - 40 / sy), (300, 270), (sz, sy)), "lower", sz / sy),
                (window(volume.array[:, y], ((z + z2) / 2, x), (300, 340), (sz, sx)), "lower", sz / sx),
            ]
            for axis, (image, origin, aspect) in zip(axes[row], planes, strict=True):
                axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin=origin, aspect=aspect)
                axis.axis("off")
            axes[row, 0].set_title(title, color="white", loc="left", fontsize=14)
        caption = f"axial L2, axial T11, sagittal, coronal; window {low}..{high} HU; patient's right on the left"
        figure.text(0.5, 0.008, caption, color="white", ha="center", fontsize=12)
        figure.subplots_adjust(0.005, 0.035, 0.995, 0.955, 0.02, 0.07)
        figure.savefig(out / f"phantom_beside_ct_{name}.png", dpi=75, facecolor="black")
        plt.close(figure)


def patients(out: Path) -> None:
    cases = [
        ("woman of 30", PhantomOptions(age=30, sex="female", fat_mm=14, scoliosis_deg=2)),
        ("man of 58, obese", PhantomOptions(age=58, sex="male", fat_mm=40, scoliosis_deg=-3)),
        (
            "woman of 84, worn",
            PhantomOptions(age=84, sex="female", fat_mm=24, scoliosis_deg=6, kyphosis_deg=44, contrast=False),
        ),
        ("scoliosis of 35 degrees", PhantomOptions(age=45, scoliosis_deg=35, fat_mm=12)),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(15, 11), facecolor="black")
    for n, (title, options) in enumerate(cases):
        phantom = spine_phantom(
            size=(170, 230, 260), spacing=(1.6, 1.6, 3.0), seed=40 + n, region="T9", options=options
        )
        volume = phantom.volume
        line = phantom.truth.canal_line
        height = volume.grid.to_world(np.stack([np.zeros(170), np.zeros(170), np.arange(170)], axis=1))[:, 2]
        order = np.argsort(line[:, 2])
        # The cuts follow the spine, as curved reformats do: x for the sagittal, y for the coronal picture.
        x = np.interp(height, line[order, 2], line[order, 0])
        y = np.interp(height, line[order, 2], line[order, 1]) - 24
        columns = np.rint((x - volume.grid.origin[0]) / 1.6).astype(int)
        rows = np.clip(np.rint((y - volume.grid.origin[1]) / 1.6).astype(int), 0, 229)
        sagittal = np.stack([volume.array[k, :, columns[k]] for k in range(170)])
        coronal = np.stack([volume.array[k, rows[k]] for k in range(170)])
        low, high = WINDOWS["bone"] if n == 3 else (-250, 500)
        for axis, image in zip(axes[:, n], (sagittal, coronal), strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=3 / 1.6)
            axis.axis("off")
        axes[0, n].set_title(title, color="white", fontsize=14)
    figure.text(
        0.5, 0.008, "cuts that follow the spine: sagittal above, coronal below", color="white", ha="center", fontsize=12
    )
    figure.subplots_adjust(0.005, 0.03, 0.995, 0.96, 0.02, 0.02)
    figure.savefig(out / "phantom_patients.png", dpi=65, facecolor="black")
    plt.close(figure)


def overlay(axis: plt.Axes, image: np.ndarray, labels: np.ndarray, origin: str, aspect: float) -> None:
    axis.imshow(image, cmap="gray", vmin=-300, vmax=900, origin=origin, aspect=aspect)
    # The gray of the palette would not show on gray.
    colors = plt.get_cmap("tab10")(np.array([0, 1, 2, 3, 4, 5, 6, 8, 9])[labels % 9])
    colors[..., 3] = np.where(labels > 0, 0.4, 0.0)
    axis.imshow(colors, origin=origin, aspect=aspect, interpolation="nearest")
    axis.axis("off")


def truth(out: Path) -> None:
    phantom = spine_phantom(size=(150, 200, 200), spacing=(0.7, 0.7, 1.0), seed=SEED, options=PhantomOptions(age=55))
    volume, level = phantom.volume, phantom.truth.levels["L3"]
    x, _, z = near(volume, level.pedicles["left"].isthmus)
    figure, axes = plt.subplots(1, 3, figsize=(15, 5.6), facecolor="white")
    overlay(
        axes[0], volume.array[z], np.where(phantom.sublabels.array[z] > 0, phantom.sublabels.array[z], 0), "upper", 1
    )
    overlay(axes[1], volume.array[:, :, x], phantom.sublabels.array[:, :, x], "lower", 1 / 0.7)
    overlay(
        axes[2],
        volume.array[:, near(volume, level.center)[1]],
        _vertebrae(phantom.labels, near(volume, level.center)[1]),
        "lower",
        1 / 0.7,
    )
    for pedicle in level.pedicles.values():
        line = volume.grid.to_index(np.array(pedicle.isthmus) + np.outer([-25, 40], pedicle.direction))
        axes[0].plot(line[:, 0], line[:, 1], "y-", lw=2)
        spot = volume.grid.to_index(np.array([pedicle.isthmus, pedicle.entry]))
        axes[0].plot(spot[:, 0], spot[:, 1], "r.", ms=9)
    line = volume.grid.to_index(
        np.array(level.pedicles["left"].isthmus) + np.outer([-25, 40], level.pedicles["left"].direction)
    )
    axes[1].plot(line[:, 1], line[:, 2], "y-", lw=2)
    for axis, title in zip(
        axes,
        ("parts and pedicle axes of L3 (red: entry, isthmus)", "parts, cut through the left pedicles", "instances"),
        strict=True,
    ):
        axis.set_title(title, fontsize=12)
    axes[0].set_xlim(15, 185)
    axes[0].set_ylim(185, 40)
    figure.tight_layout()
    figure.savefig(out / "phantom_truth.png", dpi=65)
    plt.close(figure)


def _vertebrae(labels: LabelMap, row: int) -> np.ndarray:
    plane = labels.array[:, row]
    return np.where((plane >= 25) & (plane <= 50), plane, 0)


def fallback(out: Path, real: Volume) -> None:
    found = segment_spine(real, method="fallback")
    labels, canal = found.labels.array, found.canal
    shown = np.where(canal, 3, np.where(labels > 0, np.array([1, 2, 4, 5, 6, 7, 8])[labels % 7], 0))
    sx, sy, sz = real.grid.spacing
    x, y, _ = near(real, np.array(found.levels[len(found.levels) // 2].center))
    figure, axes = plt.subplots(1, 5, figsize=(17, 5.6), width_ratios=[0.8, 0.8, 0.8, 1.15, 1.15])
    back = slice(int(y - 95 / sy), int(y + 75 / sy))
    side = slice(int(x - 70 / sx), int(x + 70 / sx))
    overlay(axes[0], real.array[:, back, x], shown[:, back, x], "lower", sz / sy)
    overlay(axes[1], real.array[:, back, x + int(15 / sx)], shown[:, back, x + int(15 / sx)], "lower", sz / sy)
    overlay(axes[2], real.array[:, y - int(15 / sy), side], shown[:, y - int(15 / sy), side], "lower", sz / sx)
    for axis, wanted in zip(axes[3:], (len(found.levels) - 3, len(found.levels) - 6), strict=True):
        z = near(real, np.array(found.levels[wanted].center))[2] + 2
        overlay(axis, real.array[z, back, side], shown[z, back, side], "upper", 1)
        axis.set_title(found.levels[wanted].name, fontsize=12)
    axes[0].set_title("midline", fontsize=12)
    axes[1].set_title("15 mm to the left", fontsize=12)
    axes[2].set_title("coronal", fontsize=12)
    figure.suptitle(f"{REAL}: vertebrae and canal (red) by shape alone", fontsize=13)
    figure.tight_layout()
    figure.savefig(out / "spine_fallback.png", dpi=65)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ct", help="abdominal CT")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    truth(arguments.out)
    patients(arguments.out)
    if arguments.ct:
        real = lps(read_volume(arguments.ct))
        found = segment_spine(real, method="fallback")
        centers = [np.array(level.center) for level in found.levels]
        # Named from below, where the sacrum was seen: the last is L5, so that L2 is the fourth and T11 the seventh.
        points = [centers[-4] + [0, -14, 4], centers[-7] + [0, -14, 0]]
        options = PhantomOptions(fat_mm=26, contrast=True, lesions=3, age=62, noise_hu=16)
        phantom = spine_phantom(size=(110, 440, 440), spacing=(0.9, 0.9, 3.0), seed=SEED, region="T12", options=options)
        side_by_side(arguments.out, real, points, phantom)
        fallback(arguments.out, real)


if __name__ == "__main__":
    main()
