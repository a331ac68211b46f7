"""Draws a patient: everything random about the phantom, from one seed, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctrestoration.anatomy.phantom.options import PhantomOptions, Sex

STREAMS = ("patient", "vertebrae", "warp", "texture", "organs", "bowel", "lungs", "noise", "lesions", "muscle")


def stream(seed: int, name: str) -> np.random.Generator:
    """The random generator of one part of the phantom: adding draws to one part never shifts another."""
    key = np.random.SeedSequence((int(seed), STREAMS.index(name)))
    return np.random.Generator(np.random.Philox(key))


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        age: years.
        sex: "female" or "male".
        bone_scale: factor on the lengths of bones.
        scoliosis_deg: Cobb angle, positive = convex to the left.
        scoliosis_apex: apex, mm above the sacral endplate.
        scoliosis_length: wavelength of the coronal curve, mm.
        kyphosis_deg: T1 to T12.
        lordosis_deg: L1 to S1.
        sacral_slope_deg: of the sacral endplate.
        trabecular_hu: mean of the spongiosa.
        osteophyte: 0..1.
        calcification: of the aorta, 0..1.
        fat_mm: subcutaneous, at the flank.
        belly: factor on the depth of the trunk.
        contrast: portal venous contrast agent.
        lesions: number of liver lesions.
        muscle_fat: share of fat in the back muscles, 0..0.4.
    """

    age: float
    sex: Sex
    bone_scale: float
    scoliosis_deg: float
    scoliosis_apex: float
    scoliosis_length: float
    kyphosis_deg: float
    lordosis_deg: float
    sacral_slope_deg: float
    trabecular_hu: float
    osteophyte: float
    calcification: float
    fat_mm: float
    belly: float
    contrast: bool
    lesions: int
    muscle_fat: float

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON types."""
        return {name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(self).items()}


def draw_patient(seed: int, options: PhantomOptions) -> Patient:
    """The patient of a seed; what the options fix replaces the draw without shifting the others."""
    g = stream(seed, "patient")

    def pick(fixed: float | None, drawn: float) -> float:
        return float(drawn if fixed is None else fixed)

    age = pick(options.age, g.uniform(28, 84))
    drawn_sex: Sex = "female" if g.random() < 0.5 else "male"
    sex = options.sex or drawn_sex
    scale = float((1.045 if sex == "male" else 0.945) * np.clip(g.normal(1, 0.03), 0.93, 1.07))
    lordosis = pick(options.lordosis_deg, np.clip(g.normal(50, 6), 40, 60))
    aging = float(np.clip((age - 40) / 45, 0, 1))
    return Patient(
        age=age,
        sex=sex,
        bone_scale=scale,
        scoliosis_deg=pick(options.scoliosis_deg, g.normal(0, 5)),
        scoliosis_apex=float(g.uniform(110, 230)),
        scoliosis_length=float(g.uniform(260, 340)),
        kyphosis_deg=pick(options.kyphosis_deg, np.clip(g.normal(34, 6), 20, 45)),
        lordosis_deg=lordosis,
        sacral_slope_deg=float(0.72 * lordosis + g.normal(0, 3)),
        trabecular_hu=float(np.clip(285 - 2.1 * age + g.normal(0, 18), 80, 270)),
        osteophyte=float(np.clip(aging * g.uniform(0.3, 1.2), 0, 1)),
        calcification=float(np.clip(aging * g.uniform(0.2, 1.3), 0, 1)),
        fat_mm=pick(options.fat_mm, np.clip(g.gamma(5.0, 3.4), 8, 40)),
        belly=float(g.normal(1, 0.05)),
        contrast=bool(g.random() < 0.75) if options.contrast is None else options.contrast,
        lesions=int(g.integers(0, 6)) if options.lesions is None else int(options.lesions),
        muscle_fat=float(np.clip(0.04 + 0.22 * aging * g.uniform(0.4, 1.3), 0, 0.35)),
    )
