"""The metal that the steps after Segment use, and the range of slices they work on."""

from __future__ import annotations

from typing import Any

from CTRestorationLib.presenters.mar.estimates import axialCount


def metalOf(session: Any) -> tuple[Any, str]:
    """Segmentation and segment ID of the chosen metal; (None, "") where none is chosen or it has no segment.

    The segment that was chosen may be gone, or be one of another segmentation: then the one named metal, else the
    first.
    """
    segmentation = session.parameters.metalSegmentation
    if segmentation is None:
        return None, ""
    names = session.nodes.segmentNames(segmentation)
    chosen = session.parameters.metalSegment
    if chosen in names:
        return segmentation, chosen
    metal = [identifier for identifier, name in names.items() if "metal" in name.lower()]
    every = metal or list(names)
    return (segmentation, every[0]) if every else (None, "")


def rangeProblem(grid: Any, first: int, last: int, metal: tuple[int, int] | None, name: str) -> str:
    """What is wrong with a range of slices: "" or one sentence; `metal` are the slices that hold some."""
    count = axialCount(grid)
    if not 0 <= first <= last < count:
        return f"Slices {first} to {last} are no range within 0 to {count - 1}, counted from the feet."
    if metal is not None and (metal[1] < first or metal[0] > last):
        return f"{name} lies in slices {metal[0]} to {metal[1]}: none of it is in slices {first} to {last}."
    return ""


def margined(metal: tuple[int, int] | None, count: int, margin: int = 2) -> tuple[int, int]:
    """The range to begin with: the slices with metal and a few more, else all."""
    if metal is None:
        return 0, count - 1
    return max(0, metal[0] - margin), min(count - 1, metal[1] + margin)
