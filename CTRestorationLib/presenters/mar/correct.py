"""Step 4, Correct: any registered method on a simulated or a clinical volume."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CTRestorationLib.presenters.mar import choices
from CTRestorationLib.presenters.mar.estimates import Estimates, Rates, axialCount, axialRange, inWords, overlap
from CTRestorationLib.presenters.mar.metal import margined, metalOf, rangeProblem
from CTRestorationLib.presenters.mar.session import Child, Session
from CTRestorationLib.presenters.mar.step import StepPresenter


@dataclass(frozen=True)
class _Task:
    """What the job was asked for; the parameters may change while it runs."""

    volume: Any
    method: str
    acquisition: Path | None
    segmentation: Any
    segment: str
    part: tuple[int, int] | None
    device: str
    uncertain: bool
    work: float

    @property
    def rate(self) -> str:
        """What its time is remembered as."""
        return f"correct/{self.method}/{'measured' if self.acquisition else 'projected'}"


class CorrectPresenter(StepPresenter):
    """Corrections of a volume.

    The view shows: `showChoices(name, choices, chosen)` for "method" and "device", `setDevice(enabled, reason)`,
    `setUncertainty(offered)`,
    `showSegments([(id, name)], chosen)`, `showSinograms(text, offered)`, `showRange(count, part on)`,
    `showEstimate(text)`, `showResult(text)`, `showNotice(sentence)`; it asks `confirm(question)` and keeps numbers:
    `recall(key)`, `remember(key, value)`.
    """

    actions = ("correct",)

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self.rates = Rates(view.recall, view.remember)
        self._result = ""

    @property
    def volume(self) -> Any:
        """What is corrected."""
        return self.parameters.correctVolume or self.session.input

    # What may be pressed

    def missing(self, action: str) -> str:
        """What the button lacks."""
        volume, parameters = self.volume, self.parameters
        if volume is None or self.session.running:
            return super().missing(action)
        problem = str(self.nodes.problemOf(volume))
        if problem:
            return problem
        method = choices.methodNamed(parameters.correctMethod)
        segmentation, segment = metalOf(self.session)
        if not self._measured() and segmentation is not None:
            if not self.nodes.results.segmentCorners(segmentation, segment):
                return f"The segment of {segmentation.GetName()} is empty: segment metal again, or choose none."
            if self.metalSlices() is None:
                return f"The metal of {segmentation.GetName()} lies outside {volume.GetName()}: choose another one."
        if method is None:
            return f"The method {parameters.correctMethod} is not installed here: choose another one."
        if parameters.correctPart:
            return rangeProblem(
                self._grid(), parameters.correctFirst, parameters.correctLast, self.metalSlices(), "The metal"
            )
        return ""

    def run(self, action: str) -> None:
        """Start; where the sinograms are gone, offer the image instead."""
        store, acquisition = self.nodes.results.acquisitions, None
        if self._measured():
            acquisition = store.find(self.volume)
            if acquisition is None:
                places = " and ".join(str(path) for path in store.places(self.volume))
                if not self.view.confirm(
                    f"The sinograms that {self.volume.GetName()} was simulated with are gone; looked for {places}. "
                    "Correct from sinograms projected from the image instead?"
                ):
                    return
        p = self.parameters
        segmentation, segment = metalOf(self.session) if acquisition is None else (None, "")
        method = choices.methodNamed(p.correctMethod)
        fixed = choices.devices(method, self.session.installed("torch"))[1]
        device = "auto" if fixed else p.correctDevice
        work = self._work(acquisition is None)
        uncertain = p.correctUncertainty and choices.givesUncertainty(method)
        task = _Task(
            self.volume, p.correctMethod, acquisition, segmentation, segment, self.part(), device, uncertain, work
        )
        self.session.start(f"Correct by {p.correctMethod.upper()}", lambda folder: self._job(folder, task), action)

    def _measured(self) -> bool:
        """Whether the sinograms of a simulation are wanted, and the volume has some, wherever they are."""
        return bool(self.parameters.correctFromAcquisition and self.nodes.results.acquisitions.has(self.volume))

    def _grid(self) -> Any:
        return self.nodes.volumes.gridOfNode(self.volume)

    def metalSlices(self) -> tuple[int, int] | None:
        """First and last axial slice that hold metal of the chosen segment, None where that is not known."""
        segmentation, segment = metalOf(self.session)
        if segmentation is None:
            return None
        return axialRange(self._grid(), self.nodes.results.segmentCorners(segmentation, segment))

    def part(self) -> tuple[int, int] | None:
        """The chosen range of slices, None for all."""
        parameters = self.parameters
        return (parameters.correctFirst, parameters.correctLast) if parameters.correctPart else None

    def partToggled(self, on: bool) -> None:
        """A range was asked for: begin with the slices that hold metal."""
        if on and self.volume is not None and not self.nodes.problemOf(self.volume):
            count, parameters = axialCount(self._grid()), self.parameters
            if parameters.correctLast == 0 or parameters.correctLast >= count:
                parameters.correctFirst, parameters.correctLast = margined(self.metalSlices(), count)

    def choose(self, name: str, word: str) -> None:
        """A choice of a combo box."""
        field = {"segment": "metalSegment", "method": "correctMethod", "device": "correctDevice"}[name]
        setattr(self.parameters, field, word)

    # The job

    def _job(self, folder: Path, task: _Task) -> Generator[Any, Any, None]:
        session = self.session
        out, uncertain, filled = folder / "corrected.nrrd", folder / "uncertainty.nrrd", folder / "synthesized.seg.nrrd"
        options: list[Any] = ["--method", task.method, "--device", task.device]
        if task.part is not None:
            options += ["--slices", str(task.part[0]), str(task.part[1])]
        files: list[Any] = ["--synthesized", filled]
        metal = None
        if task.uncertain:
            files += ["--uncertainty", uncertain]
        ct = yield from session.volumeFile(task.volume)
        if task.acquisition is not None:
            files += ["--acquisition", task.acquisition]
        elif task.segmentation is not None:
            metal = yield from session.maskFile(task.segmentation, task.segment, task.volume)
            files += ["--metal", metal]
        began = time.monotonic()
        value = yield Child(["correct", ct, out, *options, *files, "--json"])
        # Neither where there is no metal at all, nor where none is in the slices that were asked for.
        if not value.get("provenance", {}).get("slices_corrected", value.get("synthesized_voxels")):
            self.view.showNotice(_nothing(value, task))
            return
        self.rates.learn(task.rate, task.work, time.monotonic() - began)
        image = yield from session.readVolume(out)
        mask = yield from session.readLabels(filled)
        spread = None
        if uncertain.is_file():
            spread = yield from session.readVolume(uncertain)
        facts = {
            "command": "correct",
            "title": task.method.upper(),
            "options": options,
            "result": _told(value, metal, task),
        }
        yield from self._results(task, image, mask, spread, facts)

    def _results(
        self, task: _Task, image: Any, mask: Any, spread: Any, facts: dict[str, Any]
    ) -> Generator[Any, Any, None]:
        """Everything into the scene, or nothing of it."""
        results, volume, made = self.nodes.results, task.volume, []
        name = self.nodes.uniqueName(f"{volume.GetName()} {task.method.upper()}")
        try:
            result = yield from results.volumeSteps(image, name, volume)
            made.append(result)
            yield
            made.append((yield from results.synthesizedSteps(mask, f"{name} synthesized", volume, result)))
            if spread is not None:
                yield
                made.append((yield from results.uncertaintySteps(spread, f"{name} uncertainty", volume, result)))
            yield
            titles = (task.method.upper(), "Synthesized voxels", "Uncertainty")
            results.fileRun(volume, name, dict(zip(titles, made, strict=False)), facts)
        except BaseException:
            results.discard(made)
            raise
        parameters = self.parameters
        compared = self.nodes.comparison.checked(parameters)
        if volume not in compared:
            compared.append(volume)
        self.nodes.comparison.check(parameters, [node for node in compared if node is not result] + [result])
        results.showSlices(result)
        self._result = (
            f"{name}: {facts['result']['metal']}. {facts['result']['synthesized_voxels']} voxels were filled in rather "
            "than measured; the turquoise outline shows them."
        )
        if spread is not None and "uncertainty" in facts["result"]:
            self._result += f" Uncertainty: {facts['result']['uncertainty']}."

    # What is shown

    def _work(self, projected: bool) -> float:
        grid = self._grid()
        part = self.part() or (0, axialCount(grid) - 1)
        metal = overlap(part, self.metalSlices() or part)
        preset = "clinical" if projected else self._preset()
        return Estimates(grid, preset).correction(metal, projected)

    def _preset(self) -> str:
        """The scanner that the volume was simulated with."""
        from ctrestoration.physics.presets import PRESETS

        facts = self.nodes.provenanceOf(self.volume) or {}
        name = str((facts.get("result") or {}).get("preset", ""))
        return name if name in PRESETS else "clinical"

    def _estimate(self) -> str:
        if self.session.running or self.missing("correct"):
            return ""
        projected = not self._measured()
        key = f"correct/{self.parameters.correctMethod}/{'projected' if projected else 'measured'}"
        how = "as earlier corrections took here" if self.rates.learned(key) else "not yet measured on this computer"
        return f"About {inWords(self.rates.seconds(key, self._work(projected)))} ({how})."

    def _sinograms(self) -> str:
        volume, store = self.volume, self.nodes.results.acquisitions
        if volume is None:
            return ""
        if not store.has(volume):
            return f"{volume.GetName()} has no sinograms: they are projected from its image."
        path = store.find(volume)
        if path is None:
            return f"Its sinograms are gone: they were in {store.places(volume)[0]}."
        return f"Sinograms: {path.name}" if self._measured() else "Its image is projected, its sinograms are not used."

    def refresh(self) -> None:
        """Everything on the page."""
        super().refresh()
        p, view, volume = self.parameters, self.view, self.volume
        method = choices.methodNamed(p.correctMethod)
        view.showChoices("method", choices.methods(), p.correctMethod)
        offered, reason = choices.devices(method, self.session.installed("torch"))
        view.showChoices("device", offered, "cpu" if reason else p.correctDevice)
        view.setDevice(not reason, reason)
        view.setUncertainty(choices.givesUncertainty(method))
        segmentation, segment = metalOf(self.session)
        names = {} if segmentation is None else self.nodes.segmentNames(segmentation)
        view.showSegments(list(names.items()), segment)
        view.showSinograms(self._sinograms(), volume is not None and self.nodes.results.acquisitions.has(volume))
        there = volume is not None and not self.nodes.problemOf(volume)
        view.showRange(axialCount(self._grid()) if there else 0, p.correctPart)
        view.setMetal(not self._measured())
        view.showEstimate(self._estimate())
        view.showResult(self._result)

    def sceneClosed(self) -> None:
        """Forget the result."""
        self._result = ""


def _nothing(value: dict[str, Any], task: _Task) -> str:
    if "provenance" in value:
        where = task.volume.GetName() if task.part is None else f"slices {task.part[0]} to {task.part[1]}"
        return f"There is no metal in {where}: nothing was corrected, and no volume was made."
    sentence = str(value.get("metal", "no metal found")).split(";")[0]
    return f"{sentence[0].upper()}{sentence[1:]}; no volume was made."


def _told(value: dict[str, Any], metal: Path | None, task: _Task) -> dict[str, Any]:
    """The child's result in the names of the scene, without the paths of its folder."""
    kept = {key: entry for key, entry in value.items() if key != "files"}
    if task.acquisition is not None:
        kept["metal"] = "Metal: the trace of the simulated scan"
    elif metal is not None:
        kept["metal"] = str(kept["metal"]).replace(str(metal), task.segmentation.GetName())
    return kept
