"""Finds the spine in a CT: from labels, with TotalSegmentator, by shape, or from three clicked points a level."""

from ctrestoration.anatomy.spine.from_points import load_points, save_points
from ctrestoration.anatomy.spine.points import LevelPoints
from ctrestoration.anatomy.spine.result import SpineLevel, SpineSegmentation
from ctrestoration.anatomy.spine.segment import METHODS, segment_spine
from ctrestoration.anatomy.spine.slab import choose_lumbar_slab

__all__ = [
    "METHODS",
    "LevelPoints",
    "SpineLevel",
    "SpineSegmentation",
    "choose_lumbar_slab",
    "load_points",
    "save_points",
    "segment_spine",
]
