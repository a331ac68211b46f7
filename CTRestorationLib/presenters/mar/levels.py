"""Which vertebrae a segmentation holds, and to which of them a point belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Level:
    """One vertebra of a segmentation.

    Attributes:
        name: "L3".
        complete: False where it is cut, None where nobody has looked.
        note: why not, for people.
        center: LPS mm, or None where nobody has looked.
    """

    name: str
    complete: bool | None
    note: str
    center: tuple[float, float, float] | None


def levelsOf(nodes: Any, segmentation: Any, centers: bool = False) -> list[Level]:
    """The vertebrae of a segmentation node, cranial to caudal.

    Step 1 leaves what it found on the node; a segmentation chosen by hand is read by the names of its segments, and
    the centers of these are looked up only where asked for.
    """
    from ctrestoration.anatomy.labels import LEVELS
    from ctrestoration.anatomy.spine.from_labels import level_in_name

    facts = (nodes.provenanceOf(segmentation) or {}).get("result") or {}
    if facts.get("levels"):
        return [
            Level(row["name"], row["complete"], row["note"] or "complete", tuple(row["center"]))
            for row in facts["levels"]
        ]
    found = {level_in_name(name): identifier for identifier, name in nodes.segmentNames(segmentation).items()}
    return [
        Level(name, None, "as segmented", nodes.segmentCenter(segmentation, found[name]) if centers else None)
        for name in LEVELS
        if name in found
    ]


def nearestLevel(levels: list[Level], point: tuple[float, float, float]) -> tuple[str, Literal["left", "right"]]:
    """(level, side) of a point in LPS mm: the vertebra whose center is nearest, and the side of that center.

    Without any center the level is "unknown" and the midline is the world's.
    """
    known = [(level.name, level.center) for level in levels if level.center is not None]
    if not known:
        return "unknown", "left" if point[0] > 0 else "right"
    name, center = min(known, key=lambda one: sum((a - b) ** 2 for a, b in zip(one[1], point, strict=True)))
    return name, "left" if point[0] > center[0] else "right"
