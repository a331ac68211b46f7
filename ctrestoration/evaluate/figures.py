"""Pictures of slices as a radiologist expects them: fixed window stated, sides marked, true pixel aspect, a scale bar.

Axial pictures follow the radiological convention: the patient's right is on the left of the picture. All functions
take arrays in axial order (`Volume.axial()`) and return PNG bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Plane = Literal["axial", "coronal", "sagittal"]
_SIDES: dict[Plane, tuple[str, str, str, str]] = {  # left, right, top, bottom of the picture
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
INK = "#e8e8e8"
PAPER = "#101214"


@dataclass(frozen=True)
class Window:
    """A display window in HU, as radiologists name it."""

    name: str
    level: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """(low, high) in HU."""
        return self.level - self.width / 2, self.level + self.width / 2

    def __str__(self) -> str:
        return f"{self.name}, L {self.level:g} W {self.width:g} HU"


SOFT_TISSUE = Window("soft tissue", 40, 500)
BONE = Window("bone", 400, 2000)


@dataclass(frozen=True)
class Cut:
    """One plane through a volume: which, and at which index along its normal (axial: z, coronal: y, sagittal: x)."""

    plane: Plane
    index: int

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The 2D picture, top row first, of an axially ordered array [z, y, x]."""
        if self.plane == "axial":
            return array[self.index]
        if self.plane == "coronal":
            return array[::-1, self.index, :]
        return array[::-1, :, self.index]

    def aspect(self, spacing: tuple[float, float, float]) -> tuple[float, float]:
        """(vertical, horizontal) pixel size in mm for spacing (x, y, z)."""
        x, y, z = spacing
        return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[self.plane]


def comparison(
    volumes: Mapping[str, NDArray[np.float32]],
    reference: str,
    cut: Cut,
    spacing: tuple[float, float, float],
    window: Window,
    error_hu: float = 300.0,
    captions: Mapping[str, str] | None = None,
    crop: tuple[slice, slice] | None = None,
    with_errors: bool = True,
    hidden: NDArray[np.bool_] | None = None,
    change: bool = False,
) -> bytes:
    """Panels side by side in one window, and under each its error against the reference with a shared color bar.

    Args:
        volumes: name -> HU [z, y, x], in the order of the panels; the reference is one of them.
        reference: the name of the panel that the others are compared with.
        cut: which plane.
        spacing: (x, y, z) in mm.
        window: display window of the upper row.
        error_hu: range of the error maps, minus to plus.
        captions: a line of numbers under each panel's name.
        crop: rows and columns of the cut to show; None shows all.
        with_errors: leave the row of error maps out where False.
        hidden: bool [z, y, x], grayed out in the error maps: what the numbers leave out.
        change: the reference is no truth but the image before: call the difference a change, not an error.

    Returns:
        PNG.
    """
    area = crop or (slice(None), slice(None))
    pictures = {name: cut.of(array)[area] for name, array in volumes.items()}
    vertical, horizontal = cut.aspect(spacing)
    height, width = next(iter(pictures.values())).shape
    outside = np.zeros((height, width), dtype=bool) if hidden is None else cut.of(hidden)[area]
    sheet = _Sheet(len(pictures), 2 if with_errors else 1, (height * vertical) / (width * horizontal))
    for column, (name, picture) in enumerate(pictures.items()):
        axes = sheet.panel(0, column)
        shades = _show(axes, picture, window.limits, "gray", vertical / horizontal)
        caption = (captions or {}).get(name)
        axes.set_title(name + (f"\n{caption}" if caption else ""), color=INK, fontsize=10, pad=4)
        _mark_sides(axes, cut.plane)
        if column == 0:
            _scale_bar(axes, horizontal)
        if with_errors and name != reference:
            difference = np.ma.masked_array(picture - pictures[reference], mask=outside)
            errors = _show(sheet.panel(1, column), difference, (-error_hu, error_hu), "RdBu_r", vertical / horizontal)
    sheet.color_bar(0, shades, f"HU ({window.name})")
    if with_errors:
        sheet.color_bar(1, errors, f"{'change' if change else 'error'} against\n{reference}, HU")
    return _png(sheet.figure)


def uncertainty(
    image: NDArray[np.float32],
    spread: NDArray[np.float32],
    error: NDArray[np.float32],
    cut: Cut,
    spacing: tuple[float, float, float],
    window: Window,
    high_hu: float = 60.0,
    crop: tuple[slice, slice] | None = None,
    hidden: NDArray[np.bool_] | None = None,
    meaning: str = "spread of the ensemble",
    outline_hu: float | None = None,
) -> bytes:
    """A corrected image with an outline where its uncertainty is high, that uncertainty, and the true error beside it.

    Args:
        image: HU [z, y, x].
        spread: uncertainty in HU, same shape.
        error: absolute error in HU, same shape; shown on the same scale, so that both can be compared.
        cut: which plane.
        spacing: (x, y, z) in mm.
        window: display window of the image.
        high_hu: end of the scale.
        crop: rows and columns of the cut to show; None shows all.
        hidden: bool [z, y, x], grayed out in the maps.
        meaning: of the uncertainty, written over it.
        outline_hu: what the outline encloses has more; None: half of `high_hu`.

    Returns:
        PNG.
    """
    area = crop or (slice(None), slice(None))
    vertical, horizontal = cut.aspect(spacing)
    pictures = {name: cut.of(array)[area] for name, array in (("", image), ("u", spread), ("e", error))}
    height, width = pictures[""].shape
    outside = np.zeros((height, width), dtype=bool) if hidden is None else cut.of(hidden)[area]
    sheet = _Sheet(3, 1, (height * vertical) / (width * horizontal))
    axes = sheet.panel(0, 0)
    _show(axes, pictures[""], window.limits, "gray", vertical / horizontal)
    axes.set_title(f"Corrected\n{window}", color=INK, fontsize=10, pad=4)
    unsure = (pictures["u"] > (high_hu / 2 if outline_hu is None else outline_hu)) & ~outside
    if unsure.any() and not unsure.all():
        axes.contour(unsure, levels=[0.5], colors=["#ffd400"], linewidths=0.8)
    _scale_bar(axes, horizontal)
    _mark_sides(axes, cut.plane)
    for column, (key, title) in enumerate((("u", f"Uncertainty\n{meaning}"), ("e", "True error\nabsolute"))):
        axes = sheet.panel(0, column + 1)
        shown = np.ma.masked_array(pictures[key], mask=outside)
        colors = _show(axes, shown, (0.0, high_hu), "inferno", vertical / horizontal)
        axes.set_title(title, color=INK, fontsize=10, pad=4)
    sheet.color_bar(0, colors, f"HU, up to {high_hu:g} and more")
    return _png(sheet.figure)


def overlay(
    picture: NDArray[np.float32],
    masks: Mapping[str, NDArray[np.bool_]],
    cut: Cut,
    spacing: tuple[float, float, float],
    window: Window,
    title: str,
) -> bytes:
    """One cut of a volume with the outlines of masks drawn over it, each in its own color with a legend.

    Args:
        picture: HU [z, y, x].
        masks: name -> bool [z, y, x].
        cut: which plane.
        spacing: (x, y, z) in mm.
        window: display window.
        title: caption.

    Returns:
        PNG.
    """
    vertical, horizontal = cut.aspect(spacing)
    base = cut.of(picture)
    tall = 4.6 * base.shape[0] * vertical / (base.shape[1] * horizontal)
    figure = _figure(4.6, tall + 0.4)
    axes = figure.add_axes((0.0, 0.0, 1.0, tall / (tall + 0.4)))
    _show(axes, base, window.limits, "gray", vertical / horizontal)
    for color, (name, mask) in zip(("#ff5c5c", "#ffd166", "#4cc9f0", "#80ed99"), masks.items(), strict=False):
        shape = cut.of(mask)
        if shape.any():
            axes.contour(shape, levels=[0.5], colors=[color], linewidths=1.0)
            axes.plot([], [], color=color, label=name)
    axes.set_title(title, color=INK, fontsize=10, pad=4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", fontsize=8, framealpha=0.6)
    _mark_sides(axes, cut.plane)
    _scale_bar(axes, horizontal)
    return _png(figure)


def rgb_png(image: NDArray[np.uint8]) -> bytes:
    """PNG of an RGB picture, uint8 [row, column, 3]."""
    figure = _figure(image.shape[1] / 110, image.shape[0] / 110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    axes.axis("off")
    return _png(figure)


def around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Rows and columns of the box around a 2D mask, with a margin; the whole picture where the mask is empty."""
    if not mask.any():
        return slice(None), slice(None)
    box = []
    for axis in (1, 0):
        where = np.flatnonzero(mask.any(axis=axis))
        box.append(slice(max(int(where[0]) - margin, 0), int(where[-1]) + margin + 1))
    return box[0], box[1]


class _Sheet:
    """Panels of one size in rows, each row with its color bar at the right; sizes in inches."""

    WIDTH, GAP, TITLE, BAR = 2.7, 0.06, 0.48, 1.0

    def __init__(self, columns: int, rows: int, ratio: float) -> None:
        self._height = self.WIDTH * ratio
        self._size = (
            columns * (self.WIDTH + self.GAP) + self.BAR,
            self.TITLE + rows * (self._height + self.GAP),
        )
        self._columns = columns
        self.figure = _figure(*self._size)

    def panel(self, row: int, column: int) -> Axes:
        """Axes of one panel; row 0 is on top."""
        return self._axes(column * (self.WIDTH + self.GAP), row, self.WIDTH, self._height)

    def color_bar(self, row: int, shown: Any, label: str) -> None:
        """The color bar of a row."""
        axes = self._axes(self._columns * (self.WIDTH + self.GAP) + 0.05, row, 0.12, self._height)
        bar = self.figure.colorbar(shown, cax=axes)
        bar.set_label(label, color=INK, fontsize=8)
        bar.ax.tick_params(colors=INK, labelsize=7)
        bar.outline.set_visible(False)  # type: ignore[operator]

    def _axes(self, left: float, row: int, width: float, height: float) -> Axes:
        wide, tall = self._size
        bottom = tall - self.TITLE - row * (self._height + self.GAP) - self._height
        return self.figure.add_axes((left / wide, bottom / tall, width / wide, height / tall))


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "imaging", "Drawing a report") from error
    figure = Figure(figsize=(width, height), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def _show(axes: Axes, picture: NDArray[Any], limits: tuple[float, float], colors: str, aspect: float) -> Any:
    shown = axes.imshow(picture, cmap=colors, vmin=limits[0], vmax=limits[1], aspect=aspect, interpolation="nearest")
    axes.set_facecolor("#8a8f94")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def _mark_sides(axes: Axes, plane: Plane) -> None:
    places: Sequence[tuple[float, float, str, str]] = (
        (0.015, 0.5, "left", "center"),
        (0.985, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for text, (x, y, horizontal, vertical) in zip(_SIDES[plane], places, strict=True):
        axes.text(x, y, text, transform=axes.transAxes, color="#ffd166", fontsize=8, ha=horizontal, va=vertical)


def _scale_bar(axes: Axes, pixel_mm: float, length_mm: float = 50.0) -> None:
    rows = axes.get_images()[0].get_size()[0]
    start, row = 0.04 * rows, 0.95 * rows
    axes.plot([start, start + length_mm / pixel_mm], [row, row], color=INK, linewidth=2)
    axes.text(start, row - 0.015 * rows, f"{length_mm / 10:g} cm", color=INK, fontsize=7, va="bottom")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=PAPER, metadata={"Software": None})
    return stream.getvalue()
