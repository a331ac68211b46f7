"""Mean dimensions of each vertebra of an adult, T1 to S1, in mm and degrees; C5 to C7 only close the upper end.

Pedicle widths T1, T4, T12: Kaur et al. 2016; transverse angles L1-S1 and canal widths L1-L5: the anatomical series
quoted in the project's tables; lumbar bodies between the dry-bone series of men and women, thoracic ones from
textbook anatomy. Angles are those of a pedicle screw down the pedicle: transverse positive = tip toward the midline,
sagittal positive = tip caudal, both in the vertebra's own frame.
"""

from __future__ import annotations

from dataclasses import dataclass

THORACOLUMBAR: tuple[str, ...] = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
MOBILE: tuple[str, ...] = ("C5", "C6", "C7", *THORACOLUMBAR)
"""Every vertebra that is built, cranial to caudal; the sacrum follows."""


@dataclass(frozen=True)
class LevelMean:
    """Mean dimensions of one level.

    Attributes:
        width: of the body, left to right.
        depth: of the body, front to back.
        height: of the body.
        disc: height of the disc below it.
        canal_width: left to right.
        canal_depth: front to back.
        pedicle_width: at the isthmus.
        pedicle_height: at the isthmus.
        transverse: angle of the pedicle axis.
        sagittal: angle of the pedicle axis.
        process_span: midline to the tip of the transverse process.
        spinous_length: of the spinous process behind the lamina.
        spinous_slope: fall of the spinous process, 0 = level, 1 = 45 degrees.
    """

    width: float
    depth: float
    height: float
    disc: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float
    transverse: float
    sagittal: float
    process_span: float
    spinous_length: float
    spinous_slope: float


_ROWS = """
C5  25.0 16.5 13.0  4.5 24.0 14.5  5.8  7.0 40  0 26 16 0.30
C6  26.5 16.8 13.5  4.5 24.0 14.5  6.0  7.2 38  2 28 20 0.30
C7  28.5 17.2 15.0  4.2 22.5 14.8  6.8  7.6 35  6 33 28 0.30
T1  31.5 18.5 16.0 4.0 20.5 15.0 8.5 9.0 28 12 36 30 0.35
T2  30.5 19.6 17.0 4.0 18.5 15.0 7.0 10.5 20 14 33 27 0.60
T3  29.4 20.6 17.5 4.0 17.5 15.0 5.7 11.0 15 14 29 25 0.90
T4  28.9 21.6 18.0 4.2 17.0 15.0 4.8 11.0 12 14 29 24 1.15
T5  29.4 23.2 18.5 4.4 17.0 15.0 4.8 11.2 10 14 29 23 1.35
T6  30.5 24.7 19.0 4.6 17.0 15.0 5.2 11.5 9 14 29 23 1.40
T7  31.5 25.8 19.5 4.8 17.0 15.0 5.5 11.8 8 12 29 23 1.40
T8  32.6 26.8 20.0 5.0 17.0 15.2 5.8 12.3 8 12 29 22 1.30
T9  34.1 27.8 21.0 5.3 17.3 15.4 6.0 13.2 7 11 28 22 1.05
T10 36.8 28.8 22.0 5.8 18.0 15.6 6.8 14.5 5 10 27 22 0.75
T11 39.9 29.9 22.8 6.4 19.5 16.0 8.0 15.5 4 8 25 22 0.45
T12 43.1 30.9 24.2 7.2 21.5 16.5 8.0 16.0 2 5 23 24 0.30
L1  43.0 31.5 25.5  8.2 22.6 16.6  8.2 15.5  7  3 33 28 0.22
L2  44.5 33.0 26.5  9.2 23.2 16.2  8.7 15.0 11  0 37 30 0.20
L3  46.5 34.0 27.0 10.2 24.0 15.6 10.2 14.8 14  0 42 30 0.20
L4  48.5 35.0 27.0 11.0 25.3 16.0 12.4 14.5 17  0 41 28 0.20
L5  50.5 35.5 27.0 10.2 27.0 17.0 15.5 14.0 24  0 41 22 0.30
S1  52.0 34.0 30.0  0.0 30.0 16.0 19.5 20.0 27 -17 50 14 0.60
"""
MEANS: dict[str, LevelMean] = {
    words[0]: LevelMean(*(float(word) for word in words[1:])) for words in map(str.split, _ROWS.strip().splitlines())
}

# Share of the lumbar lordosis (S1 -> L1) and of the thoracic kyphosis (T12 -> T1) reached at each body's center.
LORDOSIS_SHARE = {"S1": 0.06, "L5": 0.33, "L4": 0.56, "L3": 0.75, "L2": 0.89, "L1": 0.98}
KYPHOSIS_SHARE = {
    "C5": 0.45, "C6": 0.70, "C7": 0.90,  # the neck bends back
    "T12": 0.0, "T11": 0.04, "T10": 0.11, "T9": 0.20, "T8": 0.31, "T7": 0.43,
    "T6": 0.55, "T5": 0.66, "T4": 0.77, "T3": 0.87, "T2": 0.95, "T1": 1.0,
}  # fmt: skip
