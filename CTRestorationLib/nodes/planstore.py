"""A plan as nodes: written, read, edited. `plans.PlanNodes` adds following what the user drags and deletes.

Nodes of a plan carry the attribute "CTRestoration.role" (screw, rod, device, notes) and everything that is no position
as JSON in "CTRestoration.plan"; their models are found by a node reference. All lie in one folder of the subject
hierarchy, and all of it is saved with the scene.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

import numpy as np
import slicer
import vtk

from ctrestoration.errors import InputError
from CTRestorationLib.nodes import hierarchy, implantmodels
from CTRestorationLib.nodes.geometry import gridOfNode, turned
from CTRestorationLib.nodes.implantmodels import lineEnds, setLineEnds

ROLE = "CTRestoration.role"
DATA = "CTRestoration.plan"
MODEL = "CTRestoration.model"
_HANDLE_MM = 25.0
_MOVED_MM = 1e-3
_JUDGMENT = ("grade", "breach_mm", "breach_side", "canal_mm", "transverse_deg", "sagittal_deg", "pedicle_width_mm")
_UNJUDGED: dict[str, Any] = dict.fromkeys(_JUDGMENT)


class PlanStore:
    """The plan of a scene.

    Args:
        scene: vtkMRMLScene.
    """

    def __init__(self, scene) -> None:
        self._scene = scene
        self._quiet = 0

    # Whole plans

    def write(self, plan, like=None) -> None:
        """Put a plan into the scene in place of the one that is there.

        Args:
            plan: of `ctrestoration.implants`.
            like: the CT it belongs to; the nodes' folder is made beside it.
        """
        for _ in self.writeSteps(plan, like):
            pass

    def writeSteps(self, plan, like=None):
        """`write`, yielding between nodes: a screw takes 10 ms, and a window must not wait for twenty of them."""
        old = self._nodes("screw", "rod", "device", "notes")
        yield from self._quietly(partial(self._removeWithModel, node) for node in old)
        yield from self._quietly([partial(self._writeNotes, plan, like)])
        yield from self._quietly(partial(self._writeRod, rod) for rod in plan.rods)
        yield from self._quietly(partial(self._writeScrew, screw, plan.rods) for screw in plan.screws)
        yield from self._quietly(partial(self._writeDevice, device) for device in plan.devices)

    def read(self, like=None):
        """The plan of the scene as `ctrestoration.implants.Plan`; `like` becomes its patient.

        Lines that have not both their ends are left out.
        """
        from ctrestoration.implants.plan import Patient, Plan

        notes = self._load(self._notes())
        patient = Patient.of(gridOfNode(like)) if like is not None else None
        return Plan(
            tuple(self.screwOf(line) for line in self.lines()),
            self.rods(),
            tuple(notes.get("warnings", ())),
            tuple(self.deviceOf(node) for node in self.devices()),
            patient,
            dict(notes.get("settings", {})),
        )

    # Screws

    def lines(self) -> list:
        """The lines of the screws that have both ends, in the order of the plan."""
        return [line for line in self._nodes("screw") if line.GetNumberOfDefinedControlPoints() == 2]

    def screwOf(self, line):
        """The screw of a line, LPS. A judgment that was made elsewhere than where the line lies now is left out.

        Raises:
            InputError: a line without both ends, or that is no screw's.
        """
        from ctrestoration.implants.plan import Screw

        entry, target = lineEnds(line)
        data = self._load(line)
        judged = data.pop("judged_at", None)
        known = {part.name for part in fields(Screw)} - {"entry", "target"}
        values: dict[str, Any] = {
            "level": "",
            "side": "left",
            "diameter_mm": 6.5,
            **{k: v for k, v in data.items() if k in known},
        }
        screw = Screw(entry=entry, target=target, **values)
        if judged is None or np.abs(np.asarray(judged) - (entry, target)).max() > _MOVED_MM:
            screw = replace(screw, **_UNJUDGED)
        return screw

    def setScrew(self, line, screw) -> None:
        """Give a line everything of a screw but its ends; its color follows the grade.

        The judgment holds for the ends that `screw` has. Where only the diameter is changed, it is dropped.
        """
        before = self._load(line)
        after = asdict(screw)
        if before.get("diameter_mm", after["diameter_mm"]) != after["diameter_mm"] and all(
            before.get(key) == after[key] for key in _JUDGMENT
        ):
            after.update(_UNJUDGED)
        after["judged_at"] = [after.pop("entry"), after.pop("target")]
        name = f"{screw.level} {screw.side}".strip()
        modifying = line.StartModify()
        self._store(line, after)
        if line.GetName() != name:
            line.SetName(name)
        line.EndModify(modifying)
        self._color(line, implantmodels.gradeColor(self.screwOf(line).grade))

    def labelOnly(self, chosen) -> None:
        """Show name and length of one screw in the views, and of no other: ten labels hide what they name."""
        for line in self._nodes("screw"):
            display = line.GetDisplayNode()
            if display is not None:
                display.SetPropertiesLabelVisibility(line is chosen)

    def addScrew(self, screw):
        """Add a screw; returns its line."""
        with self._silence():
            return self._writeScrew(screw, self.rods())

    def remove(self, node) -> None:
        """Take a screw (its line) or a device (its handle) out with its model."""
        with self._silence():
            self._removeWithModel(node)

    def updateModel(self, line) -> None:
        """Rebuild the threaded model of a screw, or the model of a device, where its line lies now."""
        if line.GetAttribute(ROLE) == "device":
            self._modelDevice(line)
        else:
            self._modelScrew(line, self.rods())

    # Rods

    def rods(self) -> tuple:
        """The rods of the scene, LPS."""
        from ctrestoration.implants.plan import Rod

        found = []
        for curve in self._nodes("rod"):
            points = []
            for number in range(curve.GetNumberOfControlPoints()):
                point = [0.0, 0.0, 0.0]
                curve.GetNthControlPointPositionWorld(number, point)
                points.append(turned(point))
            data = self._load(curve)
            if len(points) > 1:
                found.append(Rod(data["side"], tuple(points), data["diameter_mm"], data["material"]))
        return tuple(found)

    def regenerateRods(self, warnings: list[str]) -> None:
        """Bend the rods through the heads as they lie now; the heads turn to them.

        Args:
            warnings: sentences are appended, e.g. where one side has too few screws for a rod.
        """
        for _ in self.regenerateRodsSteps(warnings):
            pass

    def regenerateRodsSteps(self, warnings: list[str]):
        """`regenerateRods`, yielding between nodes; screws that are deleted meanwhile are left out."""
        from ctrestoration.implants.rods import rods_for

        settings = self._load(self._notes()).get("rod") or {}
        existing = self.rods()
        if existing:
            settings = {"diameter_mm": existing[0].diameter_mm, "material": existing[0].material}
        # A screw without length has no direction, and so no place for a rod.
        screws = {line: self.screwOf(line) for line in self.lines()}
        screws = {line: screw for line, screw in screws.items() if screw.length_mm >= implantmodels.SHORTEST_MM}
        rods = rods_for(list(screws.values()), warnings, **settings)
        changed = {rod.side for rod in (*rods, *existing) if rod not in rods or rod not in existing}
        yield from self._quietly([partial(self._removeRods, {"left", "right"} - {rod.side for rod in rods})])
        yield from self._quietly(partial(self._writeRod, rod) for rod in rods if rod not in existing)
        affected = (line for line, screw in screws.items() if screw.side in changed)
        yield from self._quietly(partial(self._modelScrew, line, rods) for line in affected)

    # Other implants

    def addDevice(self, device):
        """Add an implant of the catalogue; returns its handle, a line from its origin along its axis."""
        with self._silence():
            return self._writeDevice(device)

    def devices(self) -> list:
        """The handles of the other implants, as far as they tell which implant they hold."""
        nodes = [node for node in self._nodes("device") if node.GetNumberOfDefinedControlPoints() == 2]
        return [node for node in nodes if "kind" in self._load(node)]

    def deviceOf(self, node):
        """The device of a handle, LPS.

        Raises:
            InputError: a line without both ends, or that carries no implant.
        """
        from ctrestoration.implants.plan import Device

        position, end = lineEnds(node)
        data = self._load(node)
        placed = data.pop("placed_at", None)
        if "kind" not in data:
            raise InputError(f"{node.GetName()} carries no implant: remove it and add the implant again.")
        known = {part.name for part in fields(Device)}
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in data.items() if key in known
        }
        device = Device(**{"position": position, **values})
        if placed is not None and np.abs(np.asarray(placed) - (position, end)).max() < 1e-9:
            return device
        length = float(np.linalg.norm(np.subtract(end, position)))
        x, y, z = np.subtract(end, position) / length if length > 1e-6 else device.axis
        return replace(device, position=position, axis=(float(x), float(y), float(z)))

    # Inside

    @contextmanager
    def _silence(self):
        """What we do ourselves calls nobody back."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def _quietly(self, actions):
        """Do one after the other, silent in each and open to the user's own drags between them."""
        for action in actions:
            with self._silence():
                action()
            yield

    def _created(self, node) -> None:
        """A node of the plan was made; for those who follow it."""

    def _nodes(self, *roles: str) -> list:
        found = []
        for kind in ("vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsCurveNode", "vtkMRMLScriptedModuleNode"):
            nodes = slicer.util.getNodesByClass(kind, self._scene)
            found += [node for node in nodes if node.GetAttribute(ROLE) in roles]
        return found

    def _store(self, node, data: dict) -> None:
        node.SetAttribute(DATA, json.dumps(data))

    def _load(self, node) -> dict:
        """What a node carries; nothing where it carries nothing, or something that somebody spoiled."""
        text = node.GetAttribute(DATA) if node is not None else None
        try:
            data = json.loads(text) if text else {}
        except ValueError:
            data = {}
        return data if isinstance(data, dict) else {}

    def _notes(self, create: bool = False):
        found = self._nodes("notes")
        if found or not create:
            return found[0] if found else None
        return self._new("vtkMRMLScriptedModuleNode", "Plan notes", "notes", {})

    def _writeNotes(self, plan, like) -> None:
        self._folder(like)
        rod = plan.rods[0] if plan.rods else None
        data = {
            "warnings": list(plan.warnings),
            "settings": dict(plan.settings),
            "rod": {"diameter_mm": rod.diameter_mm, "material": rod.material} if rod else None,
        }
        self._store(self._notes(create=True), data)

    def _folder(self, like=None) -> int:
        """The folder of the plan, made where there is none."""
        found = hierarchy.folderWithRole(self._scene, "plan")
        if not found:
            found = hierarchy.runFolder(like, f"{like.GetName()} plan" if like is not None else "Plan")
            hierarchy.setFolderRole(self._scene, found, "plan")
        return found

    def _new(self, kind: str, name: str, role: str, data: dict):
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(name)
        node.SetAttribute(ROLE, role)
        self._store(node, data)
        return self._scene.AddNode(node)

    def _markup(self, kind: str, name: str, role: str, data: dict):
        node = self._new(kind, name, role, data)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(3.0)
        display.SetTextScale(2.5)
        display.SetPointLabelsVisibility(False)
        display.SetOccludedVisibility(True)
        display.SetOccludedOpacity(0.4)
        hierarchy.putInFolder(node, self._folder())
        return node

    def _writeScrew(self, screw, rods):
        line = self._markup("vtkMRMLMarkupsLineNode", f"{screw.level} {screw.side}".strip(), "screw", {})
        line.GetDisplayNode().SetPropertiesLabelVisibility(False)
        setLineEnds(line, screw.entry, screw.target)
        line.SetFixedNumberOfControlPoints(True)
        self.setScrew(line, screw)
        self._modelScrew(line, rods)
        self._created(line)
        return line

    def _modelScrew(self, line, rods) -> None:
        if not self._scene.IsNodePresent(line) or line.GetNumberOfDefinedControlPoints() != 2:
            return
        screw = self.screwOf(line)
        surface = implantmodels.screwSurface(screw, rods)
        name = f"screw {line.GetName()}"
        model = implantmodels.setModel(line, MODEL, name, surface, implantmodels.gradeColor(screw.grade))
        hierarchy.putInFolder(model, self._folder())

    def _color(self, line, color) -> None:
        display, model = line.GetDisplayNode(), line.GetNodeReference(MODEL)
        if display is not None:
            display.SetSelectedColor(*color)
        if model is not None and model.GetDisplayNode() is not None:
            model.GetDisplayNode().SetColor(*color)

    def _removeRods(self, sides) -> None:
        for curve in self._nodes("rod"):
            if self._load(curve).get("side") in sides:
                self._removeWithModel(curve)

    def _writeRod(self, rod) -> None:
        data = {"side": rod.side, "diameter_mm": rod.diameter_mm, "material": rod.material}
        curve = next((node for node in self._nodes("rod") if self._load(node).get("side") == rod.side), None)
        if curve is None:
            curve = self._markup("vtkMRMLMarkupsCurveNode", f"rod {rod.side}", "rod", data)
            curve.GetDisplayNode().SetSelectedColor(*implantmodels.METAL)
            curve.GetDisplayNode().SetGlyphSize(1.5)
            curve.GetDisplayNode().SetPropertiesLabelVisibility(False)
        # Rods follow the heads: dragging one would do nothing.
        curve.SetLocked(False)
        modifying = curve.StartModify()
        curve.RemoveAllControlPoints()
        for point in rod.points:
            curve.AddControlPointWorld(vtk.vtkVector3d(*turned(point)))
        self._store(curve, data)
        curve.SetLocked(True)
        curve.EndModify(modifying)
        surface = implantmodels.rodSurface(rod)
        model = implantmodels.setModel(curve, MODEL, f"{curve.GetName()} model", surface, implantmodels.METAL)
        hierarchy.putInFolder(model, self._folder())

    def _writeDevice(self, device):
        surface = implantmodels.deviceSurface(device)  # refuses what it cannot build before anything is in the scene
        data = asdict(replace(device, sizes=dict(device.sizes)))
        end = tuple(p + _HANDLE_MM * a for p, a in zip(device.position, device.axis, strict=True))
        line = self._markup("vtkMRMLMarkupsLineNode", device.kind, "device", data)
        setLineEnds(line, device.position, end)
        line.SetFixedNumberOfControlPoints(True)
        self._store(line, {**data, "placed_at": lineEnds(line)})
        line.GetDisplayNode().SetSelectedColor(*implantmodels.METAL)
        line.GetDisplayNode().SetPropertiesLabelVisibility(False)
        self._modelDevice(line, surface)
        self._created(line)
        return line

    def _modelDevice(self, line, surface=None) -> None:
        surface = surface or implantmodels.deviceSurface(self.deviceOf(line))
        model = implantmodels.setModel(line, MODEL, f"{line.GetName()} model", surface, implantmodels.METAL)
        hierarchy.putInFolder(model, self._folder())

    def _removeWithModel(self, node) -> None:
        if node is None:
            return
        model = node.GetNodeReference(MODEL)
        hierarchy.removeNode(node)
        hierarchy.removeNode(model)
