"""From CT numbers to materials: how much of every voxel's attenuation each tissue gives."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics.materials import material
from ctrestoration.physics.polychromatic import REFERENCE_KEV

WATER_HU, BONE_HU = 100.0, 1500.0
"""Below: water; above: cortical bone; between: a mixture (confirmed on the benchmark's stored sinograms)."""

TissueModel = Literal["water-bone", "four-tissues"]
_FOUR = ("adipose", "muscle", "trabecular bone", "cortical bone")


def tissues(
    hu: NDArray[np.floating], mu_water: float, model: TissueModel = "water-bone"
) -> dict[str, NDArray[np.float32]]:
    """Attenuation in 1/mm at 70 keV that each tissue gives to a CT.

    Args:
        hu: any shape.
        mu_water: attenuation of water in 1/mm that stands for 0 HU.
        model: "water-bone" is that of the public benchmark (Yu et al., IEEE TMI 40 (2021) 228): water up to 100 HU,
            cortical bone from 1500 HU. "four-tissues" mixes the two of adipose, muscle, trabecular and cortical bone
            whose CT numbers enclose the voxel's; thinner than adipose is thinned adipose, denser than cortical bone
            condensed cortical bone.

    Returns:
        Material name -> float32 of the same shape; they sum to the attenuation of the CT, air clipped at -1000 HU.

    Raises:
        InputError: unknown model.
    """
    mu = (mu_water * (1.0 + np.maximum(hu, -1000.0) / 1000.0)).astype(np.float32)
    if model == "water-bone":
        low, high = (np.float32(mu_water * (1.0 + limit / 1000.0)) for limit in (WATER_HU, BONE_HU))
        bone = mu * np.clip((mu - low) / (high - low), 0.0, 1.0)
        return {"water": mu - bone, "cortical bone": bone}
    if model != "four-tissues":
        raise InputError(f"Unknown tissue model {model!r}: choose {', '.join(get_args(TissueModel))}.")
    water = float(material("water").attenuation(REFERENCE_KEV)[0])
    anchors = [np.float32(mu_water * material(name).attenuation(REFERENCE_KEV)[0] / water) for name in _FOUR]
    parts = {name: np.zeros_like(mu) for name in _FOUR}
    for (low_name, low), (high_name, high) in zip(
        zip(_FOUR, anchors, strict=True), list(zip(_FOUR, anchors, strict=True))[1:], strict=False
    ):
        between = (mu >= low) & (mu < high)
        share = (mu[between] - low) / (high - low)
        parts[high_name][between] = share * high
        parts[low_name][between] += mu[between] - share * high
    thin, dense = mu < anchors[0], mu >= anchors[-1]
    parts[_FOUR[0]][thin] = mu[thin]
    parts[_FOUR[-1]][dense] = mu[dense]
    return parts
