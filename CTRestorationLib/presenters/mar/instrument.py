"""Step 2, Instrument: screws and rods as a surgeon would place them, then dragged, edited, scattered, or by hand."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from CTRestorationLib.presenters.mar.construct import Construct
from CTRestorationLib.presenters.mar.levels import Level, levelsOf, nearestLevel
from CTRestorationLib.presenters.mar.session import Child, Session

_SHORTEST_MM, _LONGEST_MM = 10.0, 120.0


class InstrumentPresenter(Construct):
    """The plan of the input: lines in the scene, rows in the table.

    The line is the truth: dragging an end changes the row at once, the rods at release, and the grade as soon as a
    child has looked at the bone again.

    The view shows: `showLevels([(name, checked, note)])`, `showScrews([(id, screw, pending)], selected id)`,
    `updateScrew(id, screw, pending)`, `showDevices([text])`, `showWarnings([sentence])`, `showPlacing(on)`,
    `showCanUndo(on)`, and asks `confirm(question)`.
    """

    actions = ("plan", "scatter")

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self._placing: Any = None

    # What may be pressed

    def missing(self, action: str) -> str:
        """What a button lacks."""
        general = self.editable()
        if general:
            return general
        if self.parameters.spineSegmentation is None:
            return "Segment the spine first (step 1), or choose a segmentation of the vertebrae there."
        if action == "scatter":
            return "" if self.lines() else "Plan screws first, load a plan, or add a screw by hand."
        levels = self.levels()
        if not levels:
            return "The chosen segmentation names no vertebra: segments must carry names such as L3 or vertebrae_T12."
        if not any(_known(level) for level in levels):
            return (
                "The vertebrae carry no level names: name one of them in step 1 (for example 2=L3) and segment again."
            )
        if not self.checkedLevels():
            return "Check at least one level in the table."
        return ""

    def run(self, action: str) -> None:
        """Start the job of a button."""
        if action == "scatter":
            self.session.start("Scatter screws", self._scatterJob, action)
            return
        planned = set(self.checkedLevels())
        lost = [screw for screw in self.screws() if screw.level in planned]
        if lost and not self.view.confirm(
            f"The scene already has {len(lost)} screws at {', '.join(sorted({s.level for s in lost}))}. "
            "Replace them by newly planned ones? (Undo brings them back.)"
        ):
            return
        self.session.start("Plan screws", self._planJob, action)

    # Levels

    def levels(self) -> list[Level]:
        """The vertebrae of the chosen segmentation."""
        segmentation = self.parameters.spineSegmentation
        return [] if segmentation is None else levelsOf(self.nodes, segmentation)

    def checkedLevels(self) -> list[str]:
        """Those to be instrumented, cranial to caudal."""
        wanted = set(self.parameters.levels.split(","))
        return [level.name for level in self.levels() if level.name in wanted and _known(level)]

    def checkLevels(self, names: list[str]) -> None:
        """The user checked these."""
        self.parameters.levels = ",".join(names)

    # Jobs

    def _planJob(self, folder: Path) -> Generator[Any, Any, None]:
        from ctrestoration.implants.plan import load_plan

        parameters, volume = self.parameters, self.session.input
        levels, output = self.checkedLevels(), folder / "plan.json"
        options = ["--levels", ",".join(levels), "--mode", parameters.planningMode.value]
        if not parameters.planRods:
            options.append("--no-rods")
        ct = yield from self.session.volumeFile(volume)
        spine = yield from self.session.labelFile(parameters.spineSegmentation, volume)
        yield Child(["implants", "plan", ct, output, "--spine", spine, *options, "--json"])
        found = load_plan(output)
        old = self.plan()
        kept = tuple(screw for screw in old.screws if screw.level not in levels)
        yield from self._writeSteps(replace(found, screws=_sorted(kept + found.screws), devices=old.devices))
        if kept and parameters.planRods:
            self._followRods()

    def _scatterJob(self, folder: Path) -> Generator[Any, Any, None]:
        from ctrestoration.implants.plan import load_plan, save_plan

        parameters, plan, output = self.parameters, self.plan(), folder / "scattered.json"
        options = ["--seed", str(parameters.scatterSeed), "--profile", parameters.scatterProfile.value]
        spine = yield from self.session.labelFile(parameters.spineSegmentation, self.session.input)
        save_plan(plan, folder / "plan.json")
        yield Child(["implants", "scatter", folder / "plan.json", output, "--spine", spine, *options, "--json"])
        yield from self._writeSteps(load_plan(output))

    def rodsToggled(self, on: bool) -> None:
        """Rods were switched on or off by hand: bend them now, or take them out."""
        if self.editable() or not self.lines():
            return
        if on:
            self._remember()
            self._followRods()
            self.view.showCanUndo(True)
        else:
            self._write(replace(self.plan(), rods=()), regrade=False)

    def select(self, lineId: str) -> None:
        """A row was selected: look along that screw in the red view."""
        line = self._line(lineId)
        self._selected = lineId if line is not None else ""
        if line is not None:
            self.nodes.resliceAlong(self.plans, line)
        self.view.showCanRemove(line is not None)

    def edit(self, lineId: str, **changes: Any) -> None:
        """A diameter or material was changed in the table."""
        line = self._line(lineId)
        if line is None or self.editable():
            return
        screw = self.plans.screwOf(line)
        if all(getattr(screw, name) == value for name, value in changes.items()):
            return
        self._remember()
        screw = replace(screw, **changes)
        self.plans.setScrew(line, screw)
        self.plans.updateModel(line)
        self._pending.add(lineId)
        self.view.updateScrew(lineId, screw, True)
        self.view.showCanUndo(True)
        self._showWarnings()
        self._regrade()

    def addByHand(self) -> None:
        """Let the user click head and tip of a screw in any view; a second press calls it off."""
        if self._placing is not None:
            self._stopPlacing()
        elif not self.editable():
            self._placing = self.nodes.placeLine(
                "Head, then tip", self._bothPlaced, lambda: self.session.later(self._stopPlacing)
            )
            self.view.showPlacing(True)

    def _bothPlaced(self, entry: tuple[float, float, float], tip: tuple[float, float, float]) -> None:
        self.session.later(lambda: self._placed(entry, tip))

    def _placed(self, entry: tuple[float, float, float], tip: tuple[float, float, float]) -> None:
        """Both ends are there, LPS mm."""
        from ctrestoration.implants.catalogue import level_table
        from ctrestoration.implants.plan import Screw

        if self._placing is None:
            return  # the scene was closed, or the page left, since the click
        self._stopPlacing()
        screw = Screw("", "left", entry, tip, 6.5)
        if not _SHORTEST_MM <= screw.length_mm <= _LONGEST_MM:
            self.view.showError(
                f"The screw would be {screw.length_mm:.0f} mm long: click its head and its tip {_SHORTEST_MM:.0f} to "
                f"{_LONGEST_MM:.0f} mm apart."
            )
            return
        spine = self.parameters.spineSegmentation
        level, side = nearestLevel([] if spine is None else levelsOf(self.nodes, spine, centers=True), tip)
        diameters = level_table(level).diameter_mm
        self._remember()
        line = self.plans.addScrew(replace(screw, level=level, side=side, diameter_mm=diameters[-1]))
        self._selected = line.GetID()
        self._pending.add(line.GetID())
        self._followRods()
        self.refresh()
        self._regrade()

    def _stopPlacing(self) -> None:
        if self._placing is not None:
            self._placing.stop()
            self._placing = None
            self.view.showPlacing(False)

    def remove(self, lineId: str) -> None:
        """Take the selected screw out."""
        line = self._line(lineId)
        if line is None or self.editable():
            return
        self._remember()
        self.plans.remove(line)
        self._selected = ""
        self._pending.discard(lineId)
        self._followRods()
        self.refresh()

    # Plans in files

    def save(self, path: str) -> None:
        """Write the plan as JSON."""
        from ctrestoration.implants.plan import save_plan

        save_plan(self.plan(), path)
        self.session.log(f"Plan saved as {path}.")

    def load(self, path: str) -> None:
        """Read a plan that was made on this CT, and grade it on these bones."""
        from ctrestoration.implants.plan import load_plan, require_patient

        plan = load_plan(path)
        require_patient(plan, self.nodes.volumes.gridOfNode(self.session.input), self.session.input.GetName())
        self._write(plan)
        self.session.log(f"Plan loaded from {path}: {len(plan.screws)} screws, {len(plan.devices)} other implants.")

    # Other implants

    def addDevice(self, kind: str, sizes: dict[str, float]) -> None:
        """Put an implant of the catalogue where the slice views cross."""
        from ctrestoration.implants.devices import device_parts, usual_direction
        from ctrestoration.implants.plan import Device

        if self.editable():
            return
        axis, facing = usual_direction(kind)
        device = Device(kind, self.nodes.sliceCrossing(self.session.input), axis, facing, dict(sizes))
        device_parts(device)  # says which size does not fit before anything is in the scene
        self._remember()
        self.plans.addDevice(device)
        self.refresh()

    def removeDevice(self, row: int) -> None:
        """Take one out."""
        devices = self.plans.devices()
        if 0 <= row < len(devices) and not self.editable():
            self._remember()
            self.plans.remove(devices[row])
            self.refresh()

    # What is shown

    def refresh(self) -> None:
        """Everything on the page."""
        super().refresh()
        checked = set(self.checkedLevels())
        self.view.showLevels(
            [(level.name, level.name in checked, level.note, _known(level)) for level in self.levels()]
        )
        rows = [(line.GetID(), self.plans.screwOf(line), line.GetID() in self._pending) for line in self.lines()]
        self.view.showScrews(rows, self._selected)
        self.view.showDevices([_deviceText(self.plans.deviceOf(node)) for node in self.plans.devices()])
        self.view.setEditable(self.editable())
        self.view.showCanRemove(self._line(self._selected) is not None)
        self.view.showCanUndo(bool(self._undo))
        self._showWarnings()

    def _line(self, lineId: str) -> Any:
        return next((line for line in self.lines() if line.GetID() == lineId), None)

    def hidden(self) -> None:
        """No placing behind the user's back."""
        self._stopPlacing()

    def sceneClosed(self) -> None:
        """Let go of everything."""
        self._stopPlacing()
        super().sceneClosed()


def _known(level: Level) -> bool:
    from ctrestoration.anatomy.labels import LEVELS

    return level.name in LEVELS


def _sorted(screws: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cranial to caudal, left before right."""
    from ctrestoration.anatomy.labels import LEVELS

    order = {name: number for number, name in enumerate(LEVELS)}
    return tuple(sorted(screws, key=lambda screw: (order.get(screw.level, len(order)), screw.side)))


def _deviceText(device: Any) -> str:
    from ctrestoration.implants.catalogue import implant

    entry = implant(device.kind)
    sizes = ", ".join(f"{name.removesuffix('_mm').replace('_', ' ')} {value:g}" for name, value in device.sizes.items())
    return f"{entry['title']}, {device.material or entry['material']}" + (f" ({sizes})" if sizes else "")
