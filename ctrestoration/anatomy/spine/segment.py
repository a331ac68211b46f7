"""One door to every way of finding the spine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ctrestoration.anatomy.spine.fallback import segment_by_shape
from ctrestoration.anatomy.spine.from_labels import Scheme, segment_from_labels
from ctrestoration.anatomy.spine.from_points import segment_from_points
from ctrestoration.anatomy.spine.points import LevelPoints
from ctrestoration.anatomy.spine.result import SpineSegmentation
from ctrestoration.anatomy.spine.totalsegmentator import find_totalsegmentator, run_totalsegmentator
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.volume import LabelMap, Volume

Method = Literal["auto", "labels", "points", "totalsegmentator", "fallback"]
METHODS: tuple[Method, ...] = ("auto", "labels", "points", "totalsegmentator", "fallback")


def segment_spine(
    volume: Volume,
    *,
    method: Method = "auto",
    labels: LabelMap | None = None,
    scheme: Scheme = "auto",
    named: tuple[int, str] | None = None,
    points: Mapping[str, LevelPoints] | None = None,
    control: Control = SILENT,
) -> SpineSegmentation:
    """Vertebrae, canal and levels of a CT.

    Args:
        volume: CT in HU.
        method: "labels" reads `labels`; "points" cuts out the levels of `points`; "totalsegmentator" runs that
            program; "fallback" works by threshold and shape and does not know the levels; "auto" takes the first of
            these that is at hand.
        labels: any segmentation that holds vertebrae, on the volume's voxels (axes may be in another order).
        scheme: what the numbers in `labels` mean.
        named: for the fallback: (2, "L3") says that the second vertebra from the top is L3.
        points: level -> three points, instead of labels.
        control: progress and cancel.

    Raises:
        InputError: no spine, too few slices, labels that do not fit, a program that is not installed.
        Cancelled: where the control asks to stop.
    """
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r} for the spine: choose one of {', '.join(METHODS)}.")
    if method == "labels" and labels is None:
        raise InputError("Method 'labels' needs a segmentation of the vertebrae.")
    if method == "points" and not points:
        raise InputError("Method 'points' needs three points a level.")
    if points and (labels is not None or method not in ("auto", "points")):
        raise InputError("Points were given together with another way to find the spine: choose one of them.")
    if labels is not None and method not in ("auto", "labels"):
        raise InputError(f"A segmentation was given, but method {method!r} does not read one: use 'labels' or 'auto'.")
    if labels is not None:
        return segment_from_labels(volume.grid, labels, scheme=scheme, control=control)
    if points:
        return segment_from_points(volume, points, control=control)
    program, reason = (None, "") if method == "fallback" else find_totalsegmentator()
    if method == "totalsegmentator" or program is not None:
        found = run_totalsegmentator(volume, control=control.part(0.0, 0.9))
        result = segment_from_labels(volume.grid, found, scheme="names", control=control.part(0.9, 1.0))
        return replace(result, method="totalsegmentator")
    result = segment_by_shape(volume, named=named, control=control)
    return replace(result, notes=(*result.notes, reason)) if reason else result
