"""The plan in the scene, as step 2 keeps it: lines that are dragged, rods and grades that follow, and Undo."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from CTRestorationLib.presenters.mar.session import Child, Session
from CTRestorationLib.presenters.mar.step import StepPresenter

_UNDO_STEPS = 20


class Construct(StepPresenter):
    """Base of the presenter of Instrument."""

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self._plans: Any = None
        self._undo: list[Any] = []
        self._beforeDrag: Any = None
        self._pending: set[str] = set()
        self._selected = ""
        self._writing = False
        self._planWarnings: tuple[str, ...] = ()

    def editable(self) -> str:
        """What keeps screws from being added, loaded or edited: "" or one sentence."""
        return self.session.missing() or ("The plan is being drawn." if self._writing else "")

    @property
    def plans(self) -> Any:
        """The plan's nodes, observed from the first use on."""
        if self._plans is None:
            self._plans = self.nodes.planNodes()
            self._planWarnings = self._plans.read().warnings
            self._plans.observe(self._moved, self._released, self._removed, self._grabbed)
        return self._plans

    def lines(self) -> list[Any]:
        """One markups line a screw."""
        return list(self.plans.lines())

    def screws(self) -> list[Any]:
        """The screws of the lines."""
        return [self.plans.screwOf(line) for line in self.lines()]

    def plan(self) -> Any:
        """The scene's plan as it is now."""
        return replace(self.plans.read(self.session.input), warnings=self._planWarnings)

    def _write(self, plan: Any, remember: bool = True, regrade: bool = True) -> None:
        """Put a plan into the scene in place of what is there, while the window lives on."""
        self._writing = True

        def steps() -> Generator[Any, Any, None]:
            yield from self._writeSteps(plan, remember)
            if regrade or any(screw.grade is None for screw in plan.screws):
                self._regrade()

        self.session.inBackground("plan", steps())
        self.refresh()

    def _writeSteps(self, plan: Any, remember: bool = True) -> Generator[Any, Any, None]:
        """Likewise as part of a job; Undo brings back what was there."""
        self._writing = True
        try:
            if remember:
                self._remember()
            self.session.stopBackground("rods")
            yield from self.plans.writeSteps(plan, self.session.input)
            self._planWarnings = tuple(plan.warnings)
            self._pending.clear()
        finally:
            self._writing = False
        self.refresh()

    def _remember(self) -> None:
        self._push(self.plan())

    def _push(self, plan: Any) -> None:
        self._undo = [*self._undo[1 - _UNDO_STEPS :], plan]

    def undo(self) -> None:
        """Bring back the plan before the last Plan, Scatter, Load, Add, Remove, drag or edit of the table."""
        if self._undo and not self.editable():
            self._write(self._undo.pop(), remember=False, regrade=False)

    def _regrade(self) -> None:
        """Let a child judge the screws again, as soon as nothing else runs."""
        if self.session.input is None:
            return
        if self.parameters.spineSegmentation is None or not self.lines():
            self._pending.clear()
            return
        self.session.startWhenIdle("grade", "Grade screws", self._gradeJob)

    def _gradeJob(self, folder: Path) -> Generator[Any, Any, None]:
        from ctrestoration.implants.plan import load_plan, save_plan

        while self.session.inBackgroundNow("rods") or self.session.inBackgroundNow("plan"):
            yield
        spineNode = self.parameters.spineSegmentation
        lines, plan = self.lines(), self.plan()
        if not lines or spineNode is None:
            return
        spine = yield from self.session.labelFile(spineNode, self.session.input)
        save_plan(plan, folder / "plan.json")
        yield Child(["implants", "grade", folder / "plan.json", folder / "graded.json", "--spine", spine, "--json"])
        graded = load_plan(folder / "graded.json")
        there = {line.GetID(): line for line in self.lines()}
        for line, asked, answer in zip(lines, plan.screws, graded.screws, strict=True):
            identifier = line.GetID()
            if identifier not in there or not _same(self.plans.screwOf(line), asked):
                continue
            self.plans.setScrew(line, answer)
            self._pending.discard(identifier)
            self.view.updateScrew(identifier, answer, False)
        self._planWarnings = graded.warnings
        self._showWarnings()

    # What the user does to lines and rows

    def _grabbed(self, _line: Any) -> None:
        """An end is held: what Undo brings back, should it move."""
        self._beforeDrag = None if self._writing else self.plan()

    def _moved(self, line: Any) -> None:
        if self._writing:
            return
        if self._beforeDrag is not None:
            self._push(self._beforeDrag)
            self._beforeDrag = None
            self.view.showCanUndo(True)
        self._pending.add(line.GetID())
        self.view.updateScrew(line.GetID(), self.plans.screwOf(line), True)

    def _released(self, line: Any) -> None:
        self._beforeDrag = None
        if self._writing:
            return
        self._pending.add(line.GetID())
        self.view.updateScrew(line.GetID(), self.plans.screwOf(line), True)
        self._followRods()
        self._regrade()

    def _removed(self, _line: Any) -> None:
        if self._writing:
            return
        self._followRods()
        self.refresh()

    def _followRods(self) -> None:
        """Bend the rods anew."""

        def steps() -> Generator[Any, Any, None]:
            warnings: list[str] = []
            yield from self.plans.regenerateRodsSteps(warnings)
            self._planWarnings = tuple(warnings)
            self._showWarnings()

        if self.parameters.planRods:
            self.session.inBackground("rods", steps())

    def _showWarnings(self) -> None:
        from ctrestoration.implants.checks import construct_problems

        if self.session.input is None or not self.lines():
            self.view.showWarnings([])
            return
        problems = construct_problems(self.plan())
        self.view.showWarnings(list(dict.fromkeys([*self._planWarnings, *problems])))

    def _line(self, lineId: str) -> Any:
        return next((line for line in self.lines() if line.GetID() == lineId), None)

    def sceneClosed(self) -> None:
        """Let go of everything."""
        if self._plans is not None:
            self._plans.release()
        self._plans = self._beforeDrag = None
        self._undo, self._selected, self._planWarnings, self._writing = [], "", (), False
        self._pending.clear()


def _same(one: Any, other: Any) -> bool:
    """Whether two screws lie in the same place with the same diameter: their grade is then the same."""
    ends = zip((*one.entry, *one.target), (*other.entry, *other.target), strict=True)
    return one.diameter_mm == other.diameter_mm and all(abs(a - b) < 1e-3 for a, b in ends)
