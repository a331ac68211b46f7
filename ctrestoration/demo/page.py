"""The demonstration's report: which cuts to show, in which windows, and what to say under them."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.evaluate import figures
from ctrestoration.evaluate.figures import BONE, SOFT_TISSUE, Cut
from ctrestoration.evaluate.masks import body_mask, metal_ring
from ctrestoration.evaluate.report import Picture, Section, metrics_table, render

if TYPE_CHECKING:
    from ctrestoration.demo.anatomy import Anatomy
    from ctrestoration.implants import Plan
    from ctrestoration.restoration import Restoration
    from ctrestoration.simulate.metal import MetalSimulation

REFERENCE = "Without metal"
UNCORRECTED = "Uncorrected"
ERROR_HU = 300.0
UNCERTAIN_HU = 60.0
HALF_WIDTH_HU, UNRELIABLE_HU = 300.0, 100.0
"""End of the scale of half-widths, and what is outlined: soft tissues differ by less."""

_LIBRARIES = ("numpy", "scipy", "numba", "SimpleITK", "vtk", "matplotlib")


@dataclass(frozen=True)
class Story:
    """Everything the page shows; images in axial order on one grid.

    Attributes:
        anatomy: the CT and its spine.
        plan: where the screws go.
        construct: RGB picture of the implants in 3D, or None where none could be drawn.
        simulation: with and without metal.
        restorations: method name -> result, without the uncorrected image.
        titles: method name -> what a person calls it, "input" included.
        scores: method name -> metrics, "input" included.
        seconds: how long the whole run took.
    """

    anatomy: Anatomy
    plan: Plan
    construct: NDArray[np.uint8] | None
    simulation: MetalSimulation
    restorations: Mapping[str, Restoration]
    titles: Mapping[str, str]
    scores: Mapping[str, dict[str, Any]]
    seconds: float


def page(story: Story) -> str:
    """The report as one self-contained HTML page."""
    settings = {
        "case": story.anatomy.volume.name,
        **story.anatomy.facts,
        "simulation": story.simulation.settings,
        "methods": {name: result.provenance for name, result in story.restorations.items()},
        "versions": {"ctrestoration": __version__, "python": platform.python_version(), **_versions()},
        "seconds": round(story.seconds, 1),
    }
    sections = [_anatomy(story), _construct(story), *_comparisons(story), _numbers(story), _invented(story)]
    sections += _uncertainty(story)
    return render("CTRestoration: metal artifact reduction, measured", _lead(story), sections, settings)


def _lead(story: Story) -> str:
    before = story.scores["input"]
    gains = []
    for name, scores in story.scores.items():
        if name != "input" and scores["psnr_db"] is not None and before["psnr_db"] is not None:
            gains.append(f"{name.upper()} {scores['psnr_db'] - before['psnr_db']:+.1f} dB")
    screws = len(story.plan.screws)
    return (
        f"{screws} pedicle screws in {story.anatomy.volume.name}, scanned in simulation and corrected. Change of PSNR "
        f"outside the metal against the uncorrected image: {'; '.join(gains)}."
    )


def _anatomy(story: Story) -> Section:
    volume, spine = story.anatomy.volume, story.anatomy.spine
    metal = story.simulation.acquisition.metal
    vertebrae = {
        "vertebrae": np.isin(spine.labels.array, [level.label for level in spine.levels]),
        "canal": spine.canal,
    }
    pictures = [
        Picture(
            figures.overlay(volume.array, vertebrae, cut, volume.grid.spacing, window, f"{cut.plane}, {window}"),
            caption,
        )
        for cut, window, caption in (
            (Cut("axial", _slices(metal)[0]), SOFT_TISSUE, "Axial, through the middle of the construct."),
            (Cut("sagittal", _middle(spine.canal, 2)), BONE, "Sagittal, through the spinal canal."),
            (Cut("coronal", _middle(metal, 1)), BONE, "Coronal, through the pedicles."),
        )
    ]
    names = ", ".join(f"{level.name}{'' if level.complete else ' (cut)'}" for level in spine.levels)
    return Section("1. The CT and its spine", f"{story.anatomy.story} Levels: {names}.", pictures)


def _construct(story: Story) -> Section:
    volume, metal = story.anatomy.volume, story.simulation.acquisition.metal
    pictures = []
    if story.construct is not None:
        pictures.append(
            Picture(figures.rgb_png(story.construct), "The construct in 3D, seen from behind and the left.")
        )
    for cut, window in ((Cut("axial", _slices(metal)[0]), BONE), (Cut("sagittal", _screw_column(metal)), BONE)):
        shapes = {"metal": metal}
        title = f"{cut.plane}, {window}"
        png = figures.overlay(volume.array, shapes, cut, volume.grid.spacing, window, title)
        pictures.append(Picture(png, f"{cut.plane.capitalize()}: outline of the planned metal on the clean CT."))
    rows = "".join(
        f"<tr><td>{html.escape(screw.level)} {screw.side}</td><td>{screw.diameter_mm:g} x {screw.length_mm:.0f} mm</td>"
        f"<td>{screw.grade or '-'}</td><td>{'-' if screw.breach_mm is None else f'{screw.breach_mm:.1f} mm'}</td></tr>"
        for screw in story.plan.screws
    )
    warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in story.plan.warnings)
    body = (
        "<div class='scroll'><table><thead><tr><th>screw</th><th>size</th><th>grade</th><th>breach</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p class='soft'>Grade: Gertzbein-Robbins, on the segmented bone.</p>"
        + (f"<ul>{warnings}</ul>" if warnings else "")
    )
    text = "Entry, target and size of every screw follow from the shape of its own pedicle; rods join the heads."
    if all(screw.grade is None for screw in story.plan.screws):
        text = "A typical construct in the typical place beside the canal; see the notes below the table."
    return Section("2. Plan and construct", text, pictures, body)


def _comparisons(story: Story) -> list[Section]:
    simulation = story.simulation
    metal = simulation.acquisition.metal
    images = {REFERENCE: simulation.reference.array, UNCORRECTED: simulation.acquisition.image.array}
    captions = {REFERENCE: "the same scan, no implants", UNCORRECTED: _caption(story.scores["input"])}
    for name in sorted(story.restorations, key=lambda name: -story.scores[name]["rmse_hu"]):
        images[name.upper()] = story.restorations[name].image.array
        captions[name.upper()] = _caption(story.scores[name])
    spacing = simulation.reference.grid.spacing
    first, second = _slices(metal)
    body = body_mask(simulation.reference.array[[first]])[0]
    near = figures.around(metal[first], round(35.0 / spacing[0]))
    panels = [
        (Cut("axial", first), SOFT_TISSUE, figures.around(body, 4), "Axial, through the screws"),
        (Cut("axial", first), BONE, near, "The same slice near the metal"),
        (Cut("axial", second), SOFT_TISSUE, figures.around(body, 4), "Another axial slice with metal"),
        (Cut("coronal", _middle(metal, 1)), SOFT_TISSUE, None, "Coronal, through the metal"),
    ]
    note = (
        f"All panels of a row in the same window. Lower rows: error against '{REFERENCE}', blue too dark, red too "
        f"bright, metal gray, {-ERROR_HU:g} to {ERROR_HU:g} HU. Numbers are over all slices with metal; methods stand "
        "in the order of falling error."
    )
    sections = []
    for number, (cut, window, crop, caption) in enumerate(panels):
        png = figures.comparison(images, REFERENCE, cut, spacing, window, ERROR_HU, captions, crop, hidden=metal)
        text = note if number == 0 else ""
        title = "3. The artifact and its corrections" if number == 0 else caption
        where = f"{caption}; {cut.plane} index {cut.index}; {window}."
        sections.append(Section(title, text, [Picture(png, where)]))
    return sections


def _numbers(story: Story) -> Section:
    metal = story.simulation.acquisition.metal
    text = (
        f"Over the {int(metal.any(axis=(1, 2)).sum())} slices that hold metal, against the same scan without metal and "
        "with the same photon noise. Higher PSNR, SSIM and Dice are better, lower RMSE is."
    )
    names = {n: title if n == "input" else f"{n.upper()}: {title}" for n, title in story.titles.items()}
    return Section("4. The numbers", text, body=metrics_table(dict(story.scores), names))


def _invented(story: Story) -> Section:
    name = "nmar" if "nmar" in story.restorations else next(iter(story.restorations))
    result = story.restorations[name]
    spacing = result.image.grid.spacing
    cut = Cut("axial", _slices(story.simulation.acquisition.metal)[0])
    masks = {"metal": story.simulation.acquisition.metal}
    if result.synthesized is not None:
        masks["mostly filled in"] = result.synthesized
    png = figures.overlay(result.image.array, masks, cut, spacing, SOFT_TISSUE, f"{name.upper()}, {SOFT_TISSUE}")
    text = (
        "Interpolating methods replace every ray that met metal. Inside the yellow outline more than half of a voxel's "
        "rays were filled in: what is seen there is a guess, however good it looks."
    )
    return Section(
        "5. Where the image is a guess", text, [Picture(png, "Metal, and voxels whose rays were filled in.")]
    )


def _uncertainty(story: Story) -> list[Section]:
    """The uncertainty of the best network, a calibrated one if there is, beside its true error; nothing without any."""
    known = [name for name, result in story.restorations.items() if result.uncertainty is not None]
    known = [name for name in known if story.restorations[name].coverage is not None] or known
    if not known:
        return []
    name = min(known, key=lambda one: story.scores[one]["rmse_hu"])
    result, reference = story.restorations[name], story.simulation.reference
    metal = story.simulation.acquisition.metal
    spread = result.uncertainty.array if result.uncertainty is not None else np.zeros_like(reference.array)
    error = np.abs(result.image.array - reference.array)
    first = _slices(metal)[0]
    crop = figures.around(body_mask(reference.array[[first]])[0], 4)
    calibrated = result.coverage is not None
    high, outline = (HALF_WIDTH_HU, UNRELIABLE_HU) if calibrated else (UNCERTAIN_HU, UNCERTAIN_HU / 2)
    png = figures.uncertainty(
        result.image.array, spread, error, Cut("axial", first), reference.grid.spacing, SOFT_TISSUE, high, crop, metal,
        f"half-width, {result.coverage:.0%} interval" if calibrated else "spread of the ensemble", outline,
    )  # fmt: skip
    agreement = _rank_agreement(spread, error, metal)
    text = (
        f"{name.upper()}: {result.uncertainty_meaning()}. Yellow encloses more than {outline:g} HU. Rank correlation "
        f"with the true error in these slices: {agreement:.2f}."
    )
    if calibrated:
        text += " " + _within(spread, error, reference.array, metal)
    picture = Picture(png, "Uncertainty and true error on one scale.")
    return [Section("6. Where the network is unsure", text, [picture])]


def _within(
    half_width: NDArray[np.float32],
    error: NDArray[np.float32],
    reference: NDArray[np.float32],
    metal: NDArray[np.bool_],
) -> str:
    """What share of this case's errors the intervals cover: in the body of the corrected slices, and near metal."""
    corrected = np.asarray(metal.any(axis=(1, 2)))[:, None, None]
    body = body_mask(reference) & ~metal & corrected
    near = body & metal_ring(metal, 10)
    shares = [f"{np.mean((error <= half_width)[where]):.0%}" if where.any() else "none" for where in (body, near)]
    return (
        f"Here {shares[0]} of the body's pixels in these slices, and {shares[1]} of those within 10 pixels of metal, "
        "are within their interval; one case proves nothing about the next."
    )


def _rank_agreement(spread: NDArray[np.float32], error: NDArray[np.float32], metal: NDArray[np.bool_]) -> float:
    """Spearman's correlation in the body of the slices with metal, outside the metal."""
    from scipy.stats import spearmanr

    where = ~metal & (spread > 0)  # a spread there is in the slices that were corrected
    return float(spearmanr(spread[where], error[where]).statistic) if where.sum() > 2 else float("nan")


def _caption(scores: dict[str, Any]) -> str:
    psnr = "infinite" if scores["psnr_db"] is None else f"{scores['psnr_db']:.1f} dB"
    return f"PSNR {psnr}, RMSE {scores['rmse_hu']:.0f} HU"


def _slices(metal: NDArray[np.bool_]) -> tuple[int, int]:
    """The slice with most metal, and one with a typical amount well away from it."""
    amount = metal.sum(axis=(1, 2))
    first = int(amount.argmax())
    others = [z for z in np.flatnonzero(amount) if abs(z - first) >= 3]
    if not others:
        return first, first
    others.sort(key=lambda z: amount[z])
    return first, int(others[len(others) // 2])


def _middle(mask: NDArray[np.bool_], axis: int) -> int:
    """Index along an axis of the plane that holds most of the mask; the middle where the mask is empty."""
    other = tuple(a for a in range(3) if a != axis)
    amount = mask.sum(axis=other)
    return int(amount.argmax()) if amount.any() else mask.shape[axis] // 2


def _screw_column(metal: NDArray[np.bool_]) -> int:
    return _middle(metal, 2)


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found
