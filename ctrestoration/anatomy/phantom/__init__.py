"""A procedural phantom of the trunk: a CT volume whose spine, organs and lesions are known exactly."""

from ctrestoration.anatomy.phantom.build import REGIONS, Phantom, spine_phantom
from ctrestoration.anatomy.phantom.options import PhantomOptions
from ctrestoration.anatomy.phantom.truth import LevelTruth, PedicleTruth, SpineTruth

__all__ = ["REGIONS", "LevelTruth", "PedicleTruth", "Phantom", "PhantomOptions", "SpineTruth", "spine_phantom"]
