"""What a caller may fix about the phantom's patient; everything left None is drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ctrestoration.errors import InputError

Sex = Literal["female", "male"]

_RANGES: dict[str, tuple[float, float]] = {
    "age": (18, 95),
    "scoliosis_deg": (-60, 60),
    "kyphosis_deg": (5, 70),
    "lordosis_deg": (10, 75),
    "fat_mm": (4, 60),
    "lesions": (0, 8),
    "warp_mm": (0, 4),
    "noise_hu": (0, 200),
    "pedicle_scale": (0.3, 1.5),
}


@dataclass(frozen=True)
class PhantomOptions:
    """Patient and scan of the phantom.

    Attributes:
        age: years, 18..95; older means less trabecular bone, more osteophytes and calcified vessels.
        sex: "female" or "male"; sets the size of the bones.
        scoliosis_deg: Cobb angle of the thoracolumbar curve, -60..60, positive = convex to the left; N(0, 5) if None.
        kyphosis_deg: T1 to T12, 5..70.
        lordosis_deg: L1 to S1, 10..75.
        fat_mm: thickness of the abdominal subcutaneous fat, 4..60.
        contrast: portal venous contrast agent in vessels, liver, spleen and kidneys.
        lesions: number of liver lesions, 0..8.
        warp_mm: standard deviation of the smooth displacement, 0..4; 0 leaves the design undeformed.
        noise_hu: standard deviation of the image noise, shaped like filtered back projection's; 0 for none.
        table: whether the scanner's table is in the image.
        pedicle_scale: factor on all pedicle widths, 0.3..1.5, to make patients with narrow pedicles.
    """

    age: float | None = None
    sex: Sex | None = None
    scoliosis_deg: float | None = None
    kyphosis_deg: float | None = None
    lordosis_deg: float | None = None
    fat_mm: float | None = None
    contrast: bool | None = None
    lesions: int | None = None
    warp_mm: float = 2.5
    noise_hu: float = 12.0
    table: bool = True
    pedicle_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= float(value) <= high:
                raise InputError(f"The phantom's {name} must lie in {low:g}..{high:g}, not {value:g}.")
        if self.sex not in (None, "female", "male"):
            raise InputError(f"The phantom's sex must be 'female' or 'male', not {self.sex!r}.")
