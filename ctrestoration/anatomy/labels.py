"""Names and numbers of anatomical labels: TotalSegmentator's where they exist, own ones from 200 on.

Source: class table of TotalSegmentator v2, task "total" (Wasserthal et al., Radiology: AI 2023); VerSe numbering of
vertebrae (Sekuboyina et al., Medical Image Analysis 2021): 1..7 = C1..C7, 8..19 = T1..T12, 20..24 = L1..L5,
25 = L6, 26 = sacrum, 27 = coccyx, 28 = T13.
"""

from __future__ import annotations

LEVELS: tuple[str, ...] = (
    *(f"C{n}" for n in range(1, 8)),
    *(f"T{n}" for n in range(1, 13)),
    *(f"L{n}" for n in range(1, 6)),
    "S1",
)
"""Vertebral levels from cranial to caudal."""

LEVEL_ID: dict[str, int] = {level: 50 - index for index, level in enumerate(LEVELS)}
"""TotalSegmentator's number of each level: C1 = 50, T1 = 43, T12 = 32, L1 = 31, L5 = 27, S1 = 26."""

SACRUM_ID = 25

UNKNOWN_LEVEL_BASE = 300
"""The nth vertebra from the top, where nobody knows its level, is 300 + n: no scheme reads that as a level."""

VERSE_LEVEL: dict[int, str] = dict(enumerate(LEVELS[:-1], start=1))
"""VerSe's number -> level, C1 = 1, T1 = 8, L1 = 20, L5 = 24; 25 (L6) and 26 (sacrum) have no place here."""

_ORGANS = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "liver", 6: "stomach", 7: "pancreas",
    15: "esophagus", 16: "trachea", 18: "small_bowel",
    19: "duodenum", 20: "colon", 21: "urinary_bladder", 51: "heart", 52: "aorta", 63: "inferior_vena_cava",
    64: "portal_vein_and_splenic_vein", 65: "iliac_artery_left", 66: "iliac_artery_right", 67: "iliac_vena_left",
    68: "iliac_vena_right", 71: "scapula_left", 72: "scapula_right", 75: "femur_left", 76: "femur_right",
    77: "hip_left", 78: "hip_right", 79: "spinal_cord", 80: "gluteus_maximus_left", 81: "gluteus_maximus_right",
    82: "gluteus_medius_left", 83: "gluteus_medius_right", 86: "autochthon_left", 87: "autochthon_right",
    88: "iliopsoas_left", 89: "iliopsoas_right", 116: "sternum", 117: "costal_cartilages",
}  # fmt: skip
_RIBS = {91 + n: f"rib_left_{n}" for n in range(1, 13)} | {103 + n: f"rib_right_{n}" for n in range(1, 13)}
_OWN = {
    200: "spinal_canal", 201: "lung_left", 202: "lung_right", 210: "muscle",
    211: "subcutaneous_fat", 212: "skin", 213: "mesenteric_vessels", 214: "visceral_fat", 220: "table",
}  # fmt: skip
_DISC_BASE = 230

DISC_ID: dict[str, int] = {level: _DISC_BASE + index for index, level in enumerate(LEVELS[LEVELS.index("C5") : -1])}
"""Number of the disc below each level, C5 = 230 ... L5 = 249."""

TOTALSEGMENTATOR_NAMES: dict[int, str] = {
    **_ORGANS,
    **_RIBS,
    SACRUM_ID: "sacrum",
    **{number: f"vertebrae_{level}" for level, number in LEVEL_ID.items()},
}
"""The part of TotalSegmentator's table that is used here."""

PHANTOM_NAMES: dict[int, str] = {
    **TOTALSEGMENTATOR_NAMES,
    **_OWN,
    **{number: f"disc_below_{level}" for level, number in DISC_ID.items()},
}
"""Every label the phantom may carry."""

SUBLABEL_NAMES: dict[int, str] = {
    1: "vertebral_body",
    2: "pedicle",
    3: "posterior_elements",
    4: "spinal_canal",
}
"""Parts of a vertebra, and the canal, in the phantom's second label map."""

NAME_ID: dict[str, int] = {name: number for number, name in PHANTOM_NAMES.items()}


def level_of(number: int) -> str | None:
    """The vertebral level that a TotalSegmentator label stands for, None where it is no vertebra."""
    return LEVELS[50 - number] if 26 <= number <= 50 else None
