"""Step 3, Simulate: what a scanner makes of the metal, and what it would have made of the patient without."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from CTRestorationLib.presenters.mar import choices
from CTRestorationLib.presenters.mar.estimates import (
    Estimates,
    Rates,
    axialCount,
    axialRange,
    bytesInWords,
    inWords,
    overlap,
)
from CTRestorationLib.presenters.mar.metal import margined, metalOf, rangeProblem
from CTRestorationLib.presenters.mar.session import Child, Session
from CTRestorationLib.presenters.mar.step import StepPresenter

_IMPLANT_MARGIN_MM = 8.0
"""From a screw's axis to the outside of its head."""

RATE = "simulate"


class SimulatePresenter(StepPresenter):
    """A scan of the input with metal in it.

    The view shows: `showSource(source word)`, `showSegments([(id, name)], chosen)`, `showChoices(name, choices,
    chosen)` for "material", "preset", "spectrum", "fbpMode" and "fbpWindow", `showRange(count, part on)`,
    `showEstimate(text)`, `showResult(text)`; it keeps numbers for later: `recall(key)`, `remember(key, value)`.
    """

    actions = ("simulate",)

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self.rates = Rates(view.recall, view.remember)
        self._plans: Any = None
        self._left = False

    # What may be pressed

    def missing(self, action: str) -> str:
        """What the button lacks."""
        general = super().missing(action)
        if general:
            return general
        parameters, volume = self.parameters, self.session.input
        grid = self.nodes.volumes.gridOfNode(volume)
        if self._fromPlan():
            problem = "" if self._plan().screws or self._plan().devices else _NO_PLAN
            name = "The construct"
        else:
            segmentation, segment = metalOf(self.session)
            problem, name = _NO_SEGMENT, "The metal"
            if segmentation is not None:
                empty = not self.nodes.results.segmentCorners(segmentation, segment)
                problem = f"The segment of {segmentation.GetName()} is empty: segment metal again." if empty else ""
        if problem:
            return problem
        metal = self.metalSlices()
        if metal is None and not (self._fromPlan() and self._plan().devices):
            return f"{name} lies outside {volume.GetName()}: choose metal that was made on this CT."
        if parameters.simulatePart:
            known = None if self._fromPlan() and self._plan().devices else metal
            return rangeProblem(grid, parameters.simulateFirst, parameters.simulateLast, known, name)
        return ""

    def run(self, action: str) -> None:
        """Start the scan."""
        self.session.start("Simulate the scan", self._job, action)

    # The metal

    def _fromPlan(self) -> bool:
        return bool(self.parameters.simulateMetal.value == "plan")

    def _plan(self) -> Any:
        if self._plans is None:
            self._plans = self.nodes.planNodes()
        return self._plans.read(self.session.input)

    def metalSlices(self) -> tuple[int, int] | None:
        """First and last axial slice of the input that hold metal, by the boxes around it; None where there is none."""
        if self._fromPlan():
            plan = self._plan()
            points = [point for screw in plan.screws for point in (screw.entry, screw.target)]
            points += [device.position for device in plan.devices]
            margin = _IMPLANT_MARGIN_MM
        else:
            segmentation, segment = metalOf(self.session)
            points = [] if segmentation is None else self.nodes.results.segmentCorners(segmentation, segment)
            margin = 0.0
        return axialRange(self.nodes.volumes.gridOfNode(self.session.input), points, margin)

    def part(self) -> tuple[int, int] | None:
        """The chosen range of slices, None for all."""
        parameters = self.parameters
        return (parameters.simulateFirst, parameters.simulateLast) if parameters.simulatePart else None

    def partToggled(self, on: bool) -> None:
        """A range was asked for: begin with the slices that hold metal."""
        if on and self.session.input is not None and not self.session.missing():
            count = axialCount(self.nodes.volumes.gridOfNode(self.session.input))
            parameters = self.parameters
            if parameters.simulateLast == 0 or parameters.simulateLast >= count:
                parameters.simulateFirst, parameters.simulateLast = margined(self.metalSlices(), count)

    # The job

    def options(self) -> list[str]:
        """The settings as words of the command line."""
        p = self.parameters
        words = ["--preset", p.simulatePreset, "--spectrum", p.simulateSpectrum]
        words += ["--photons", repr(p.simulateMegaphotons * 1e6), "--seed", str(p.simulateSeed)]
        words += ["--metal-edge", repr(p.simulateMetalEdge), "--scatter", repr(p.simulateScatter)]
        words += ["--scatter-ratio", repr(p.simulateScatterRatio)]
        words += ["--electronic-noise", repr(p.simulateElectronicNoise)]
        for option, chosen in (("--fbp-mode", p.simulateFbpMode), ("--fbp-window", p.simulateFbpWindow)):
            words += [option, chosen] if chosen else []
        part = self.part()
        return words + ([] if part is None else ["--slices", str(part[0]), str(part[1])])

    def _job(self, folder: Path) -> Generator[Any, Any, None]:
        session, volume, part = self.session, self.session.input, self.part()
        fromPlan, options, work = self._fromPlan(), self.options(), self._work()[0]
        materials = [] if fromPlan else ["--material", self.parameters.simulateMaterial]
        segmentation, segment = (None, "") if fromPlan else metalOf(session)
        ct = yield from session.volumeFile(volume)
        if segmentation is not None:
            metal = yield from session.maskFile(segmentation, segment, volume)
        else:
            from ctrestoration.implants.plan import save_plan

            metal = folder / "plan.json"
            save_plan(self._plan(), metal)
        source: list[str | Path] = ["--plan", metal] if fromPlan else ["--mask", metal, *materials]
        out, began = folder / "scan", time.monotonic()
        settings = yield Child(["simulate", "metal", ct, *source, "--out", out, *options, "--json"])
        self.rates.learn(RATE, work, time.monotonic() - began)
        image = yield from session.readVolume(out / "input.nii.gz")
        reference = yield from session.readVolume(out / "reference.nii.gz")
        mask = yield from session.readLabels(out / "metal.seg.nrrd")
        facts = {"command": "simulate metal", "options": [*materials, *options], "result": settings}
        if fromPlan:
            facts["plan"] = json.loads(metal.read_text(encoding="utf-8"))
        yield from self._results(volume, image, reference, mask, out / "acquisition.npz", part, facts)

    def _results(
        self, volume: Any, image: Any, reference: Any, mask: Any, npz: Path, part: Any, facts: dict[str, Any]
    ) -> Generator[Any, Any, None]:
        """Everything into the scene, or nothing of it."""
        results, name, made = self.nodes.results, volume.GetName(), []
        kept = yield from results.acquisitions.keepSteps(npz, f"{name} metal simulated")
        try:
            for array, title in ((image, f"{name} metal simulated"), (reference, f"{name} without metal")):
                title = self.nodes.uniqueName(title)
                if part is None:
                    made.append((yield from results.volumeSteps(array, title, volume)))
                else:
                    made.append((yield from results.partSteps(array, title, volume, *part)))
                yield
            results.acquisitions.attach(made[0], kept)
            made.append((yield from results.maskSteps(mask, self.nodes.uniqueName(f"{name} implants"), made[0])))
            yield
            titles = ("Simulated", "Without metal", "Metal")
            results.fileRun(volume, f"{name}: simulated", dict(zip(titles, made, strict=True)), facts)
        except BaseException:
            results.discard(made)
            kept.unlink(missing_ok=True)
            raise
        self._take(made, fromPlan="plan" in facts)

    def _take(self, made: list[Any], fromPlan: bool) -> None:
        """What the next steps begin with."""
        (simulated, reference, mask), parameters = made, self.parameters
        parameters.simulatedVolume, parameters.simulatedReference = simulated, reference
        parameters.correctVolume, parameters.compareReference = simulated, reference
        self.nodes.comparison.check(parameters, [simulated])
        if fromPlan or parameters.metalSegmentation is None:
            parameters.metalSegmentation = mask
            parameters.metalSegment = next(iter(self.nodes.segmentNames(mask)), "")
        mask.GetDisplayNode().SetVisibility(False)
        self.nodes.results.showSlices(simulated)

    # What is shown

    def _work(self) -> tuple[float, float, float]:
        """Interpolations, bytes of memory and bytes of the file; call it when nothing is missing."""
        grid = self.nodes.volumes.gridOfNode(self.session.input)
        part = self.part() or (0, axialCount(grid) - 1)
        metal = self.metalSlices() or part
        estimates, slices = Estimates(grid, self.parameters.simulatePreset), part[1] - part[0] + 1
        work = estimates.simulation(slices, overlap(part, metal))
        return work, estimates.memory(slices), estimates.file(slices)

    def _estimate(self) -> str:
        if self.session.running or self.missing("simulate"):
            return ""
        work, memory, file = self._work()
        how = "as earlier scans took here" if self.rates.learned(RATE) else "not yet measured on this computer"
        return (
            f"About {inWords(self.rates.seconds(RATE, work))} ({how}); {bytesInWords(memory)} of memory, sinograms of "
            f"{bytesInWords(file)}."
        )

    def refresh(self) -> None:
        """Everything on the page."""
        super().refresh()
        store = self.nodes.results.acquisitions
        if store.homeless() and not self._left and not self.session.inBackgroundNow("acquisitions"):
            self.session.inBackground("acquisitions", self._adoptSteps())
        p, view = self.parameters, self.view
        view.showSource(p.simulateMetal.value)
        segmentation, segment = metalOf(self.session)
        names = {} if segmentation is None else self.nodes.segmentNames(segmentation)
        view.showSegments(list(names.items()), segment)
        view.showChoices("material", choices.materials(), p.simulateMaterial)
        view.showChoices("preset", choices.presets(), p.simulatePreset)
        view.showChoices("spectrum", choices.spectra(), p.simulateSpectrum)
        view.showChoices("fbpMode", choices.fbpModes(), p.simulateFbpMode)
        view.showChoices("fbpWindow", choices.fbpWindows(), p.simulateFbpWindow)
        volume = self.session.input
        there = volume is not None and not self.nodes.problemOf(volume)
        view.showRange(axialCount(self.nodes.volumes.gridOfNode(volume)) if there else 0, p.simulatePart)
        view.showEstimate(self._estimate())
        view.showResult(self._resultText())

    def _adoptSteps(self) -> Generator[None, None, None]:
        """Bring sinograms beside the saved scene; where that cannot be written, they stay where they are."""
        from ctrestoration.errors import CTRestorationError

        try:
            yield from self.nodes.results.acquisitions.adoptSteps()
        except CTRestorationError as error:
            self._left = True
            self.session.log(f"{error} They stay in the temporary folder.")

    def choose(self, name: str, word: str) -> None:
        """A choice of a combo box."""
        field = {"segment": "metalSegment"}.get(name, f"simulate{name[0].upper()}{name[1:]}")
        setattr(self.parameters, field, word)

    def _resultText(self) -> str:
        volume = self.parameters.simulatedVolume
        if volume is None:
            return ""
        store = self.nodes.results.acquisitions
        path = store.find(volume)
        if path is not None and path.parent == store.sceneFolder():
            where = f"Its sinograms lie beside the scene: {path.parent.name}/{path.name}"
        elif path is not None and store.isTemporary(path):
            where = "Its sinograms lie in a temporary folder until the scene is saved"
        elif path is not None:
            where = f"Its sinograms: {path}"
        elif store.has(volume):
            where = f"Its sinograms are gone; they were in {store.places(volume)[0]}"
        else:
            where = "It has no sinograms"
        return f"{volume.GetName()}. {where}."

    def sceneClosed(self) -> None:
        """Sinograms that no saved scene can need go with it."""
        self.nodes.results.acquisitions.sceneClosed()
        self._plans, self._left = None, False


_NO_PLAN = "Plan screws or add an implant first (step 2), or put the metal of a segment into the CT."
_NO_SEGMENT = "Segment metal first (step 1), or choose a segmentation that holds the metal."
