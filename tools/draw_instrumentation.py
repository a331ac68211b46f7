"""Draws the pictures of docs/instrumentation.md from the folder that `ctrestoration demo` wrote.

python tools/draw_instrumentation.py DEMO_FOLDER docs/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from ctrestoration.evaluate.scene3d import render_construct
from ctrestoration.implants import load_plan, parts_of, place
from ctrestoration.io.images import read_volume
from ctrestoration.io.labels import read_labels

WINDOW = (-200.0, 700.0)


def main() -> int:
    """Draw the story: CT, spine, plan, construct, artifact."""
    folder, out = (Path(word) for word in sys.argv[1:3])
    ct, artifact = (read_volume(folder / "volumes" / f"{name}.nii.gz") for name in ("ct", "input"))
    spine = read_labels(folder / "volumes" / "spine.seg.nrrd", ct.grid)
    plan = load_plan(folder / "plan.json")
    metal = np.sum(list(place(plan, ct.grid).values()), axis=0, dtype=np.float32)
    screw = plan.screws[len(plan.screws) // 2]
    middle = 0.5 * (np.array(screw.entry) + screw.target)
    i, _, k = np.rint(ct.grid.to_index(middle)).astype(int)
    spacing = ct.grid.spacing
    views = (
        (lambda array: array[k], "upper", spacing[1] / spacing[0]),
        (lambda array: array[:, :, i], "lower", spacing[2] / spacing[1]),
    )
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.2), facecolor="black")
    bone = np.where((spine.array >= 26) & (spine.array <= 50), spine.array, 0)
    for row, (cut, origin, aspect) in enumerate(views):
        titles = ("CT", "Spine", "Metal (slab)", "Artifact")
        for column, title in enumerate(titles):
            cell = axes[row, column]
            cell.axis("off")
            cell.set_title(title if row == 0 else "", color="white")
            image = artifact if column == 3 else ct
            look = {"origin": origin, "aspect": aspect}
            cell.imshow(cut(image.array), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], **look)
            if column == 1:
                shown = np.ma.masked_equal(cut(bone) % 8 + (cut(bone) > 0), 0)
                cell.imshow(shown, cmap="Set2", alpha=0.55, interpolation="nearest", **look)
            if column == 2:  # a slab of metal: no single plane holds a whole screw
                slab = metal[k - 3 : k + 4].max(axis=0) if row == 0 else metal[:, :, i - 5 : i + 6].max(axis=2)
                shown = np.ma.masked_less(slab, 0.3)
                cell.imshow(shown, cmap=ListedColormap(["#ffb347"]), interpolation="nearest", **look)
            inside = np.argwhere(cut(bone) > 0)
            low, high = inside.min(axis=0) - 25, inside.max(axis=0) + 25
            cell.set_xlim(max(low[1], 0), min(high[1], cut(bone).shape[1] - 1))
            rows = (max(low[0], 0), min(high[0], cut(bone).shape[0] - 1))
            cell.set_ylim(rows if origin == "lower" else rows[::-1])
    figure.tight_layout(pad=0.3)
    figure.savefig(out / "instrumentation_story.png", dpi=90, facecolor="black")
    picture = render_construct(bone > 0, [part.mesh for part in parts_of(plan)], ct.grid, size=(760, 620))
    plt.imsave(out / "instrumentation_construct.png", picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
