"""Step 5, Compare: images side by side or in turn, maps over them, profiles, and numbers with their window and mask."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from CTRestorationLib.presenters.mar.choices import WINDOWS
from CTRestorationLib.presenters.mar.metal import metalOf
from CTRestorationLib.presenters.mar.profile import Profile
from CTRestorationLib.presenters.mar.scores import columnsOf, displayed
from CTRestorationLib.presenters.mar.session import Child, JobFailed, Session

MOST = 6
FLICKER_MILLISECONDS = 600


class ComparePresenter(Profile):
    """Reference and up to five other volumes.

    What is shown follows the parameters: whatever is changed on the page, or deleted from the scene, is taken up by
    `refresh`. The view shows: `showImages([(id, name, origin, checked)])`, `setShown(on, missing)`, `setFlicker(on,
    missing)`, `showNote(text)`, `showTable(header, rows)`, `setProfile(placing, missing)`; it offers `selected()`, the
    ID of the row that is selected, `copy(text)` and `later(milliseconds, callback)`.
    """

    actions = ("measure",)

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self._shown: tuple[Any, ...] = ()
        self._settings: tuple[float, ...] = ()
        self._maps: list[Any] = []
        self._stamps: dict[str, Any] = {}
        self._flickering: tuple[str, str] | None = None
        self._watching: Any = None

    # What is compared

    def images(self) -> list[Any]:
        """The reference, if one is chosen, and the volumes that are checked."""
        reference = self.parameters.compareReference
        return ([] if reference is None else [reference]) + self.checked()

    def checked(self) -> list[Any]:
        """The volumes that are held against the reference."""
        reference = self.parameters.compareReference
        return [node for node in self.nodes.comparison.checked(self.parameters) if node is not reference]

    def check(self, identifiers: list[str]) -> None:
        """The user checked these rows."""
        nodes = {node.GetID(): node for node in self.nodes.results.candidates()}
        before = [node.GetID() for node in self.checked() if node.GetID() in identifiers]
        order = before + [identifier for identifier in identifiers if identifier not in before]
        self.nodes.comparison.check(self.parameters, [nodes[one] for one in order if one in nodes])

    def showable(self) -> str:
        """What keeps the images from being shown side by side: "" or one sentence."""
        images = self.images()
        if len(images) < 2:
            return "Choose a reference, and check at least one volume to compare with it."
        if len(images) > MOST:
            return f"{len(images)} volumes are too many to show: at most {MOST}, so uncheck some."
        problems = [self.nodes.problemOf(image) for image in images]
        return next((str(problem) for problem in problems if problem), "") or self._emptyWindow("compare")

    def _emptyWindow(self, prefix: str) -> str:
        low, high = getattr(self.parameters, f"{prefix}Low"), getattr(self.parameters, f"{prefix}High")
        return (
            "" if low < high else f"The window {low:g} to {high:g} HU is empty: its first value must be the lower one."
        )

    def apart(self) -> str:
        """Which volume does not lie on the reference's voxels: "" or one sentence."""
        reference = self.parameters.compareReference
        if reference is None or self.nodes.problemOf(reference):
            return ""
        grid = self.nodes.volumes.gridOfNode(reference)
        for image in self.checked():
            if not self.nodes.problemOf(image):
                why = grid.mismatch(self.nodes.volumes.gridOfNode(image))
                if why is not None:
                    return f"{image.GetName()} and {reference.GetName()} lie on different grids: {why}."
        return ""

    def missing(self, action: str) -> str:
        """What Measure lacks."""
        if self.session.running:
            return f"{self.session.running} is running: wait for its end, or cancel it."
        if self.parameters.compareReference is None:
            return "Choose the reference that the others should equal."
        if not self.checked():
            return "Check at least one volume to measure against the reference."
        problems = [self.nodes.problemOf(image) for image in self.images()]
        return next((str(one) for one in problems if one), "") or self.apart() or self._emptyWindow("measure")

    # Views

    def toggleShown(self) -> None:
        """Show side by side, or bring the previous views back."""
        if self._shown:
            self.restore()
        elif not self.showable():
            self._arrange()
        self.refresh()

    def restore(self) -> None:
        """Bring the previous views back."""
        self.stopFlicker(arrange=False)
        self.session.stopBackground("compare")
        self.nodes.comparison.hideLegends([node for node in self._maps if self.nodes.results.isVolume(node)])
        self.nodes.comparison.restore()
        self.nodes.comparison.removeDifferences()
        self._shown, self._maps = (), []

    def _wanted(self) -> tuple[Any, ...]:
        """Everything that, changed, needs the views to be filled anew."""
        parameters = self.parameters
        images = tuple((image.GetID(), image.GetName()) for image in self.images())
        reference = parameters.compareReference
        return (images, None if reference is None else reference.GetID(), parameters.compareOverlay.value)

    def _arrange(self) -> None:
        self._shown = self._wanted()
        self.session.inBackground("compare", self._arrangeSteps())

    def _arrangeSteps(self) -> Generator[None, None, None]:
        from ctrestoration.errors import CTRestorationError

        try:
            yield from self._fillSteps()
        except CTRestorationError as error:
            self._shown = ()
            self.view.showError(str(error))
            self.refresh()

    def _fillSteps(self) -> Generator[None, None, None]:
        comparison, parameters, images = self.nodes.comparison, self.parameters, self.images()
        maps: list[Any] = []
        for image in images:
            maps.append((yield from self._mapSteps(image)))
            if not all(map(self.nodes.results.isVolume, images)):
                return  # deleted meanwhile: the page follows, and fills the views anew
        low, high = parameters.compareLow, parameters.compareHigh
        old, self._maps = self._maps, maps
        comparison.hideLegends([node for node in old if self.nodes.results.isVolume(node)])
        comparison.layout.show(images, (low, high), maps, parameters.compareOpacity, [*map(self._label, images)])
        comparison.showImagesOnly(False)
        comparison.showImagesOnly(parameters.compareImagesOnly)
        comparison.showLegends(maps)
        comparison.removeDifferences(maps)
        self._settings = self._wantedSettings()
        yield
        self.view.showNote(self._note(maps))

    def _label(self, image: Any) -> str:
        """What its view is called: what made it, where that tells it from the others."""
        if image is self.parameters.compareReference:
            return "Reference"
        origins = [self.nodes.results.describe(one).origin for one in self.images()]
        origin = self.nodes.results.describe(image).origin
        return origin if origin and origins.count(origin) == 1 else image.GetName()

    def _mapSteps(self, image: Any) -> Generator[None, None, Any]:
        """What lies over an image: its difference from the reference, its uncertainty, or nothing."""
        overlay, reference = self.parameters.compareOverlay.value, self.parameters.compareReference
        comparison = self.nodes.comparison
        if overlay == "uncertainty":
            return self.nodes.results.uncertaintyOf(image)
        if overlay != "difference" or reference is None or image is reference or self.apart():
            return None
        stamp = (self.nodes.stamp(image), self.nodes.stamp(reference))
        if self._stamps.get(image.GetID()) != stamp or comparison.differenceOf(image) is None:
            yield from comparison.differenceSteps(image, reference, self._reach())
            self._stamps[image.GetID()] = stamp
        return comparison.differenceOf(image)

    def _reach(self) -> float:
        """HU at both ends of the difference's colors: half of the window."""
        return max(0.5 * (self.parameters.compareHigh - self.parameters.compareLow), 1.0)

    def _note(self, maps: list[Any]) -> str:
        overlay = self.parameters.compareOverlay.value
        apart = self.apart()
        if apart:
            return f"{apart} They are shown at their places in the world; differences and numbers need one grid."
        if overlay == "uncertainty" and not any(maps):
            return "None of these volumes has an uncertainty: its method gives none."
        return ""

    def chooseWindow(self, number: int) -> None:
        """A preset of the window."""
        _, low, high = WINDOWS[number]
        parameters = self.parameters
        if low < parameters.compareHigh:
            parameters.compareLow, parameters.compareHigh = low, high
        else:
            parameters.compareHigh, parameters.compareLow = high, low

    def _follow(self) -> None:
        """Bring the views up to what the parameters say and the scene still holds."""
        if not self._shown:
            return
        if self.showable():
            if len(self.images()) < 2:
                self.restore()
        elif self._flickering is not None and not all(self._present(one) for one in self._flickering):
            self.stopFlicker()
        elif self._wanted() != self._shown:
            self.stopFlicker(arrange=False)
            self._arrange()
        elif self._settings and not self.session.inBackgroundNow("compare"):
            self._adjust()

    def _adjust(self) -> None:
        """Window, opacity and what else is drawn: without filling the views anew."""
        comparison, old, new = self.nodes.comparison, self._settings, self._wantedSettings()
        if old[:2] != new[:2]:
            comparison.layout.setWindow(*new[:2])
            if self.parameters.compareOverlay.value == "difference":
                for node in self._maps:
                    if self.nodes.results.isVolume(node):
                        comparison.scaleDifference(node, self._reach())
                comparison.showLegends(self._maps)
        if old[2] != new[2]:
            comparison.layout.setOpacity(new[2])
        if old[3] != new[3]:
            comparison.showImagesOnly(bool(new[3]))
        self._settings = new

    def _wantedSettings(self) -> tuple[float, float, float, bool]:
        parameters = self.parameters
        window = (parameters.compareLow, parameters.compareHigh)
        return (*window, parameters.compareOpacity, parameters.compareImagesOnly)

    def _present(self, identifier: str) -> bool:
        return self._node(identifier) is not None

    def _node(self, identifier: str) -> Any:
        return next((image for image in self.images() if image.GetID() == identifier), None)

    # Flicker

    def toggleFlicker(self) -> None:
        """Show the reference and one other volume in turn in one view."""
        if self._flickering is not None:
            self.stopFlicker()
        elif not self.showable():
            first = self.images()[0]
            chosen = self._node(self.view.selected())
            second = chosen if chosen is not None and chosen is not first else self.images()[1]
            self._shown = self._wanted()
            self.session.stopBackground("compare")
            # The window that flickering takes over is that of the first volume.
            self.nodes.comparison.layout.show(
                [first, second], (self.parameters.compareLow, self.parameters.compareHigh)
            )
            self._flickering = (first.GetID(), second.GetID())
            self._tick(self._flickering)
        self.refresh()

    def _tick(self, pair: tuple[str, str]) -> None:
        if self._flickering is not pair:
            return
        first, second = (self._node(one) for one in pair)
        if first is None or second is None:
            self.stopFlicker()
            return
        shown = self.nodes.comparison.layout.flicker(first, second)
        self.view.showNote(f"Now: {shown.GetName()}")
        self.view.later(FLICKER_MILLISECONDS, lambda: self._tick(pair))

    def stopFlicker(self, arrange: bool = True) -> None:
        """Back to side by side."""
        if self._flickering is None:
            return
        self._flickering = None
        self.view.showNote("")
        if arrange and not self.showable():
            self._arrange()

    # Numbers

    def run(self, action: str) -> None:
        """Measure."""
        self.session.start("Measure", self._measureJob, action)

    def _measureJob(self, _folder: Path) -> Generator[Any, Any, None]:
        session, parameters = self.session, self.parameters
        reference, images = parameters.compareReference, self.checked()
        names, labels = [image.GetName() for image in images], [*map(self._label, images)]
        window = (parameters.measureLow, parameters.measureHigh)
        segmentation, segment = metalOf(session) if parameters.measureMetal else (None, "")
        options: list[Any] = ["--window", repr(window[0]), repr(window[1])]
        mask = "every voxel (no metal mask)"
        if segmentation is not None:
            options += ["--metal", (yield from session.maskFile(segmentation, segment, reference))]
            title, piece = segmentation.GetName(), self.nodes.segmentNames(segmentation)[segment]
            mask = f"outside {title}" if piece == title else f"outside {title}: {piece}"
        files = []
        for image in images:
            files.append((yield from session.volumeFile(image)))
        against = yield from session.volumeFile(reference)
        value = yield Child(["evaluate", *files, "--reference", against, *options, "--json"])
        if not self.nodes.results.isVolume(reference):
            raise JobFailed(f"{reference.GetName()} was removed from the scene meanwhile: the numbers are dropped.")
        scores = value["images"] if len(images) > 1 else [value]
        title = self.nodes.uniqueName(f"{reference.GetName()}: numbers")
        facts = {
            "command": "evaluate",
            "reference": reference.GetName(),
            "images": names,
            "mask": mask,
            "result": scores,
        }
        columns = columnsOf(labels, names, reference.GetName(), scores, mask)
        table = self.nodes.comparison.writeTable(columns, title, reference, facts)
        self.nodes.comparison.setTable(self.parameters, table)
        self.refresh()

    def table(self) -> Any:
        """The latest numbers, None where there are none."""
        return self.nodes.comparison.table(self.parameters)

    def copy(self) -> None:
        """The numbers to the clipboard, as text that a spreadsheet takes."""
        if self.table() is not None:
            self.view.copy(self.nodes.comparison.csv(self.table()))
            self.session.log("The numbers are in the clipboard.")

    def save(self, path: str) -> None:
        """The numbers as a CSV file."""
        from ctrestoration.files import atomic

        if self.table() is not None:
            with atomic(path) as part:
                part.write_text(self.nodes.comparison.csv(self.table()), encoding="utf-8")
            self.session.log(f"The numbers are saved as {path}.")

    # What is shown

    def refresh(self) -> None:
        """Everything on the page, and the views."""
        if self._watching is None:
            self._watching = self.nodes.results.watch(self._sceneChanged)
        super().refresh()
        self._follow()
        checked = {node.GetID() for node in self.checked()}
        reference, rows = self.parameters.compareReference, []
        for node in self.nodes.results.candidates():
            if node is not reference:
                facts = self.nodes.results.describe(node)
                rows.append((node.GetID(), facts.name, facts.origin, node.GetID() in checked))
        self.view.showImages(rows)
        missing = self.showable()
        self.view.setShown(bool(self._shown), missing)
        self.view.setFlicker(self._flickering is not None, missing)
        table = self.table()
        self.view.showTable(*(displayed(self.nodes.comparison.columns(table)) if table is not None else ((), [])))
        self.showProfileState()

    def _sceneChanged(self) -> None:
        """Nodes came or went; the page follows once, after that."""

        def steps() -> Generator[None, None, None]:
            yield
            self.refresh()

        if not self.session.inBackgroundNow("compare page"):
            self.session.inBackground("compare page", steps())

    def hidden(self) -> None:
        """Leave the views as they were before."""
        self.stopPlacing()
        if self._shown:
            self.restore()
        if self._watching is not None:
            self._watching.removeAll()
            self._watching = None

    def sceneClosed(self) -> None:
        """Let go of everything."""
        self.hidden()
        self._stamps.clear()
        self.forgetProfile()
