"""What MARInpaint remembers in the scene: flat fields, each step's under its own heading.

Enumerations are stored by name: renaming one breaks saved scenes. The wrapper reads its annotations as objects, so
this file does without `from __future__ import annotations`. Steps and decimals stand in the .ui files: as annotations
the wrapper would warn of them at every start.
"""

import enum
from typing import Annotated

from slicer import vtkMRMLMarkupsLineNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper


class SpineMethod(enum.Enum):
    """Where the vertebrae come from; the value is the command line's word."""

    EXISTING = "labels"
    TOTALSEGMENTATOR = "totalsegmentator"
    FALLBACK = "fallback"

    def label(self) -> str:
        """What the combo box shows."""
        return {
            "EXISTING": "Existing segmentation",
            "TOTALSEGMENTATOR": "TotalSegmentator",
            "FALLBACK": "By shape (built in)",
        }[self.name]


class PlanningMode(enum.Enum):
    """How large a screw the planner takes; the value is the command line's word."""

    CLINICAL = "clinical"
    CONSERVATIVE = "conservative"

    def label(self) -> str:
        """What the combo box shows."""
        return {
            "CLINICAL": "Clinical: the level's usual diameter while both walls hold",
            "CONSERVATIVE": "Conservative: 80 % of the pedicle",
        }[self.name]


class ScatterProfile(enum.Enum):
    """Whose screws the scatter imitates; the value is the command line's word."""

    ROBOT = "robot"
    FREEHAND = "freehand"

    def label(self) -> str:
        """What the combo box shows."""
        return {"ROBOT": "Robot: 92 % grade A", "FREEHAND": "Freehand: 80 % grade A"}[self.name]


class MetalSource(enum.Enum):
    """What metal is put into the CT; the value is the command line's option."""

    PLAN = "plan"
    SEGMENT = "mask"

    def label(self) -> str:
        """What the combo box shows."""
        return {"PLAN": "Screws and implants of step 2", "SEGMENT": "A segment"}[self.name]


class ComparisonOverlay(enum.Enum):
    """What lies over the images that are compared."""

    NONE = "none"
    DIFFERENCE = "difference"
    UNCERTAINTY = "uncertainty"

    def label(self) -> str:
        """What the combo box shows."""
        return {
            "NONE": "Nothing",
            "DIFFERENCE": "Difference from the reference",
            "UNCERTAINTY": "Uncertainty of the method",
        }[self.name]


@parameterNodeWrapper
class MARInpaintParameters:
    """The choices of the five steps.

    inputVolume - CT in HU that every step starts from.

    Segment
    metalThreshold - HU above which a voxel is metal, when it is set by hand.
    metalAutomatic - True lets the scan's own scale choose the threshold.
    metalMinimumVolume - mm3; smaller pieces are noise.
    metalAnywhere - True keeps metal outside the body and at the edge of the field of view.
    metalSegmentation, metalSegment - the metal mask that the following steps use: node and segment ID.
    spineMethod - where the vertebrae come from.
    spineSource - the segmentation they are read from, with SpineMethod.EXISTING.
    spineNamed - with SpineMethod.FALLBACK: "2=L3" says that the second vertebra from the top is L3.
    spineSegmentation - the vertebrae that Instrument uses.

    Instrument
    levels - checked levels, joined by commas.
    planningMode, planRods - options of the planner.
    scatterProfile, scatterSeed - how screws are scattered; the same seed gives the same screws.

    Simulate
    simulateMetal - what metal is put into the CT; a segment's is metalSegment of metalSegmentation.
    simulateMaterial - of a segment; a name of `ctrestoration.physics.materials`.
    simulatePreset, simulateSpectrum - names of `ctrestoration.physics.presets` and `.spectra`.
    simulateMegaphotons - million photons a detector bin without patient; 0: no noise.
    simulateMetalEdge, simulateScatter, simulateScatterRatio, simulateElectronicNoise, simulateFbpMode ("": the
    preset's), simulateFbpWindow (likewise), simulateSeed - as `ctrestoration.simulate.metal.MetalSettings`.
    simulatePart, simulateFirst, simulateLast - True scans these axial slices only, counted from 0 at the feet.
    simulatedVolume, simulatedReference - the latest result, with and without metal.

    Correct
    correctVolume - what is corrected; None is the input.
    correctMethod - a name of `ctrestoration.registry`.
    correctFromAcquisition - True uses the sinograms that the volume was simulated with, where it has any.
    correctDevice - "auto", "cpu" or "cuda".
    correctUncertainty - True asks for the uncertainty map of methods that give one.
    correctPart, correctFirst, correctLast - as for Simulate.

    Compare
    compareReference - what the others are held against.
    compareLow, compareHigh - the window of the views, HU.
    compareImagesOnly - True takes segmentations, models and screws out of the slice views meanwhile.
    compareOverlay, compareOpacity - what lies over the images, and how dense.
    compareLine - along which profiles are drawn.
    measureLow, measureHigh - the window of PSNR and SSIM, HU.
    measureMetal - True leaves metalSegment out of every number.
    """

    inputVolume: vtkMRMLScalarVolumeNode | None

    metalThreshold: Annotated[float, WithinRange(500.0, 20000.0), Default(2500.0)]
    metalAutomatic: bool = True
    metalMinimumVolume: Annotated[float, WithinRange(0.0, 10000.0), Default(10.0)]
    metalAnywhere: bool = False
    metalSegmentation: vtkMRMLSegmentationNode | None
    metalSegment: str = ""
    spineMethod: SpineMethod = SpineMethod.EXISTING
    spineSource: vtkMRMLSegmentationNode | None
    spineNamed: str = ""
    spineSegmentation: vtkMRMLSegmentationNode | None

    levels: str = ""
    planningMode: PlanningMode = PlanningMode.CLINICAL
    planRods: bool = True
    scatterProfile: ScatterProfile = ScatterProfile.FREEHAND
    scatterSeed: Annotated[int, WithinRange(0, 999999), Default(1)]

    simulateMetal: MetalSource = MetalSource.PLAN
    simulateMaterial: str = "titanium"
    simulatePreset: str = "clinical"
    simulateSpectrum: str = "adn-120"
    simulateMegaphotons: Annotated[float, WithinRange(0.0, 1000000.0), Default(20.0)]
    simulateMetalEdge: Annotated[float, WithinRange(1.0, 100.0), Default(4.0)]
    simulateScatter: Annotated[float, WithinRange(0.0, 1000000000.0), Default(20.0)]
    simulateScatterRatio: Annotated[float, WithinRange(0.0, 10.0), Default(0.0)]
    simulateElectronicNoise: Annotated[float, WithinRange(0.0, 1000000.0), Default(0.0)]
    simulateFbpMode: str = ""
    simulateFbpWindow: str = ""
    simulateSeed: Annotated[int, WithinRange(0, 999999), Default(0)]
    simulatePart: bool = False
    simulateFirst: Annotated[int, WithinRange(0, 9999), Default(0)]
    simulateLast: Annotated[int, WithinRange(0, 9999), Default(0)]
    simulatedVolume: vtkMRMLScalarVolumeNode | None
    simulatedReference: vtkMRMLScalarVolumeNode | None

    correctVolume: vtkMRMLScalarVolumeNode | None
    correctMethod: str = "nmar"
    correctFromAcquisition: bool = True
    correctDevice: str = "auto"
    correctUncertainty: bool = True
    correctPart: bool = False
    correctFirst: Annotated[int, WithinRange(0, 9999), Default(0)]
    correctLast: Annotated[int, WithinRange(0, 9999), Default(0)]

    compareReference: vtkMRMLScalarVolumeNode | None
    compareLow: Annotated[float, WithinRange(-10000.0, 32000.0), Default(-160.0)]
    compareHigh: Annotated[float, WithinRange(-10000.0, 32000.0), Default(240.0)]
    compareImagesOnly: bool = True
    compareOverlay: ComparisonOverlay = ComparisonOverlay.NONE
    compareOpacity: Annotated[float, WithinRange(0.0, 1.0), Default(0.5)]
    compareLine: vtkMRMLMarkupsLineNode | None
    measureLow: Annotated[float, WithinRange(-10000.0, 32000.0), Default(-1000.0)]
    measureHigh: Annotated[float, WithinRange(-10000.0, 32000.0), Default(1604.0)]
    measureMetal: bool = True


def parametersOf(node):
    """A wrapper of a parameter node, to be used for a moment or while the module is shown, never to be kept longer.

    VTK calls the observer that was added first to an object last (vtkSubjectHelper inserts equals before the last
    one). That must not be the wrapper's own, which reads the new values: whoever observes after it would see old ones.
    """
    if not node.HasObserver("ModifiedEvent"):
        node.AddObserver("ModifiedEvent", lambda _caller, _event: None)
    return MARInpaintParameters(node)  # type: ignore[call-arg] # the decorator gives it this constructor
