"""What the demonstration works on: a few lumbar levels of the built-in phantom or of a patient's CT."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ctrestoration.control import Control
from ctrestoration.volume import Volume

if TYPE_CHECKING:
    from ctrestoration.anatomy.spine import SpineSegmentation

SLAB_MM = 130.0
"""Height of the part of a patient's CT that the demonstration works on: about three lumbar levels."""

PHANTOM_SIZE = (52, 320, 320)
PHANTOM_SPACING = (1.2, 1.2, 2.5)


@dataclass(frozen=True)
class Anatomy:
    """What the demonstration works on: a CT slab in axial order and its segmented spine."""

    volume: Volume
    spine: SpineSegmentation
    story: str
    facts: dict[str, Any] = field(default_factory=dict)


def phantom_anatomy(seed: int, control: Control) -> Anatomy:
    """A few levels of the built-in phantom."""
    from ctrestoration.anatomy.phantom import spine_phantom
    from ctrestoration.anatomy.spine import segment_spine

    phantom = spine_phantom(size=PHANTOM_SIZE, spacing=PHANTOM_SPACING, seed=seed, region="L4", control=control)
    volume = phantom.volume.axial()
    spine = segment_spine(volume, method="labels", labels=phantom.labels)
    story = f"The built-in phantom of seed {seed}, a patient who never existed, with vertebrae known from its making."
    return Anatomy(volume, spine, story, {"phantom_seed": seed})


def patient_anatomy(ct: Volume, control: Control) -> Anatomy:
    """A few lumbar levels of a patient's CT.

    Raises:
        InputError: it shows no spine that an implant could be placed in.
    """
    from ctrestoration.anatomy.metal import segment_metal
    from ctrestoration.anatomy.spine import choose_lumbar_slab, segment_spine

    whole = ct.axial()
    start, stop, sentence = choose_lumbar_slab(whole, thickness_mm=SLAB_MM, control=control.part(0.0, 0.2))
    part = whole.part((slice(start, stop), slice(None), slice(None)))
    slab = part.replaced(part.array, slab=sentence)
    # The whole CT is segmented, because the sacrum that names the levels lies outside the slab.
    spine = segment_spine(whole, control=control.part(0.2, 0.6))
    if spine.above_sacrum is not None and spine.method == "fallback":
        spine = segment_spine(whole, named=(spine.above_sacrum, "L5"), control=control.part(0.6, 1.0))
        sentence += " The vertebra on the sacrum is taken for L5, as in most people."
    spine = spine.cropped(start, stop)
    metal = segment_metal(slab)
    already = ""
    if metal.mask.any():
        volume_ml = metal.mask.sum() * slab.grid.voxel_mm3 / 1000
        already = (
            f" This CT already holds {volume_ml:.2f} ml of metal, which counts as anatomy here: its own streaks stay."
        )
    story = f"{ct.name}. {sentence} {' '.join(spine.notes)}{already}"
    return Anatomy(slab, spine, story, {"slab": [start, stop]})
