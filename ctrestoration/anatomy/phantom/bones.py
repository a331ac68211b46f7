"""Paints bones other than vertebrae: a cortical shell around spongiosa."""

from __future__ import annotations

import numpy as np

from ctrestoration.anatomy.phantom.canvas import Canvas
from ctrestoration.anatomy.phantom.shapes import Shape
from ctrestoration.anatomy.phantom.spine import CORTEX_HU, spongiosa
from ctrestoration.anatomy.phantom.texture import SolidNoise


def paint_bone(canvas: Canvas, shape: Shape, marrow_hu: float, shell_mm: float, noise: SolidNoise, label: int) -> None:
    """Paint a bone with a cortex of constant thickness.

    Args:
        canvas: to paint on.
        shape: the bone.
        marrow_hu: mean HU of its spongiosa.
        shell_mm: thickness of its cortex.
        noise: texture.
        label: value in the label map.
    """
    for box in canvas.boxes(shape.low, shape.high):
        distance = canvas.distance(shape, box)
        if not (distance < 1.5 * max(canvas.grid.spacing)).any():
            continue
        outer, inner = canvas.coverage(distance), canvas.coverage(distance + np.float32(shell_mm))
        mask = outer > 0
        content = spongiosa(noise, canvas, box.masked(mask), marrow_hu, 1.0)
        hu = canvas.hu[box.where]
        bone = np.float32(CORTEX_HU) * (outer[mask] - inner[mask]) + content * inner[mask]
        hu[mask] = hu[mask] * (1 - outer[mask]) + bone
        canvas.labels[box.where][distance <= 0] = label
