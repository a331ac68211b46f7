"""Check `.ui` files and Slicer-side Python against the names that Qt, CTK and Slicer really have.

A wrong class, property or connection in a `.ui` file, and a wrong signal in `connect`, only print a line in Slicer: the
panel then lacks a widget, or a button does nothing. `python Testing/gui/lint.py` prints findings; 0 is what we hold.
"""

from __future__ import annotations

import ast
import functools
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "standin"))

from slicerstandin import facts  # noqa: E402

FOLDERS = ("MARInpaint", "TaskAdaptiveRecon", "Training", "CTRestorationLib")
# What PythonQt adds to every object.
PYTHONQT = {
    "name",
    "className",
    "inherits",
    "delete",
    "connect",
    "disconnect",
    "exec_",
    "help",
    "setProperty",
    "property",
}
LAYOUTS_AND_ACTIONS = ("widget", "layout", "action", "actiongroup", "spacer")


# --- .ui files ------------------------------------------------------------------------------------------------


def widgets_of(path: Path) -> dict[str, str]:
    """Object name -> class of everything in a .ui file that becomes an attribute of `ui`."""
    tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314  (our own files)
    return {
        entry.get("name", ""): entry.get("class", "QAction" if entry.tag == "action" else "")
        for entry in tree.iter()
        if entry.tag in ("widget", "layout", "action")
    }


def lint_ui(path: Path) -> list[str]:
    """Findings in one .ui file: classes, properties, names used twice, connections."""
    tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314
    found: list[str] = []
    seen: set[str] = set()
    for entry in tree.iter():
        if entry.tag not in ("widget", "layout", "action"):
            continue
        name = entry.get("name", "")
        class_name = entry.get("class", "QAction" if entry.tag == "action" else "")
        if name in seen:
            found.append(f"name {name} is used twice")
        seen.add(name)
        if class_name not in facts.classes():
            found.append(f"{name}: no class {class_name}")
            continue
        known = facts.names(class_name, "properties")
        for item in entry.findall("property"):
            declared = item.get("name", "")
            margin = entry.tag == "layout" and declared.endswith(("Margin", "Spacing", "Stretch"))
            if item.get("stdset") != "0" and declared not in known and not margin:
                found.append(f"{name}: {class_name} has no property {declared}")
    classes = widgets_of(path)
    for entry in tree.iter("connection"):
        found += _lint_connection(entry, classes)
    return [f"{path.name}: {line}" for line in found]


def _lint_connection(entry: Any, classes: dict[str, str]) -> Iterator[str]:
    for role, member, kinds in (("sender", "signal", ("signals",)), ("receiver", "slot", ("slots", "signals"))):
        name, signature = entry.findtext(role, ""), entry.findtext(member, "")
        if name not in classes:
            yield f"connection: no widget {name}"
        elif not any(signature in facts.names(classes[name], kind) for kind in kinds):
            yield f"connection: {classes[name]} {name} has no {member} {signature}"


# --- Python ---------------------------------------------------------------------------------------------------


@functools.cache
def _qt_class(class_name: str) -> Any:
    """PySide6's class for a Qt class, or the first Qt base of another; None where there is none."""
    from PySide6 import QtCore, QtGui, QtWidgets

    while class_name and facts.source(class_name) not in ("Qt", ""):
        class_name = facts.classes()[class_name].get("base") or ""
    return next(
        (getattr(module, class_name) for module in (QtCore, QtGui, QtWidgets) if hasattr(module, class_name)), None
    )


def offers(class_name: str, attribute: str) -> bool:
    """Whether Python sees an attribute on a class: facts, plus all methods for Qt's own classes."""
    return (
        attribute in PYTHONQT
        or attribute in facts.members(class_name)
        or hasattr(_qt_class(class_name), attribute)
        or attribute in dir(_qt_class(class_name))
    )


class Linter(ast.NodeVisitor):
    """Findings in one Python file."""

    def __init__(self, ui: dict[str, str]) -> None:
        self.ui = ui
        self.found: list[tuple[int, str]] = []
        self.locals: dict[str, str] = {}
        self.members: dict[str, str] = {}

    def note(self, node: Any, text: str) -> None:
        self.found.append((node.lineno, text))

    def kind(self, node: ast.expr) -> str:
        """The class of an expression, where the source tells."""
        if isinstance(node, ast.Attribute):
            if self.is_ui(node.value):
                return self.ui.get(node.attr, "")
            if _dotted(node) == "slicer.app":
                return "qSlicerApplication"
            if _dotted(node.value) == "self":
                return self.members.get(node.attr, "")
        if isinstance(node, ast.Name):
            return self.locals.get(node.id, "")
        if isinstance(node, ast.Call):
            module, _, name = _dotted(node.func).rpartition(".")
            if module in ("qt", "ctk", "slicer") and name in facts.classes():
                return name
        return ""

    def is_ui(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "ui"
        return isinstance(node, ast.Name) and (node.id == "ui" or self.locals.get(node.id) == "ui")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.locals = self.locals, dict(self.locals)
        for argument in node.args.args:
            self.locals.pop(argument.arg, None)
        self.generic_visit(node)
        self.locals = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.members = self.members, {}
        for inner in ast.walk(node):  # members first: methods may use them before they are assigned
            if isinstance(inner, ast.Assign):
                self._learn(inner.targets, inner.value)
        self.generic_visit(node)
        self.members = outer

    def _learn(self, targets: Iterable[ast.expr], value: ast.expr) -> None:
        for target in targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for one, other in zip(target.elts, value.elts, strict=False):
                    self._learn([one], other)
            elif isinstance(target, ast.Name):
                self.locals[target.id] = "ui" if self.is_ui(value) else self.kind(value)
            elif isinstance(target, ast.Attribute) and _dotted(target.value) == "self":
                self.members[target.attr] = self.kind(value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in (
            item for part in node.targets for item in (part.elts if isinstance(part, ast.Tuple) else [part])
        ):
            if isinstance(target, ast.Attribute) and (class_name := self.kind(target.value)):
                known = facts.names(class_name, "properties") | {"name"}
                if class_name in facts.classes() and target.attr not in known:
                    self.note(target, f"{class_name} has no property {target.attr} to set")
        self._learn(node.targets, node.value)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.is_ui(node.value) and self.ui and node.attr not in self.ui:
            self.note(node, f"no widget {node.attr} in the .ui file")
        if _dotted(node.value) == "qt" and not self._in_qt(node.attr):
            self.note(node, f"qt.{node.attr} is not in both Qt 5 and Qt 6, or the facts lack it")
        if _dotted(node.value) == "ctk" and node.attr not in facts.classes():
            self.note(node, f"ctk.{node.attr} is unknown")
        if (
            _dotted(node.value) == "slicer"
            and node.attr.startswith(("qMRML", "qSlicer"))
            and node.attr not in facts.classes()
        ):
            self.note(node, f"slicer.{node.attr} is unknown")
        class_name = self.kind(node.value)
        if class_name in facts.classes() and isinstance(node.ctx, ast.Load) and not offers(class_name, node.attr):
            self.note(node, f"{class_name} has no {node.attr} for Python")
        self.generic_visit(node)

    @staticmethod
    def _in_qt(name: str) -> bool:
        from slicerstandin.qtmodule import NAMES

        return name in NAMES or name in ("Qt", "QByteArray", "QUiLoader")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            class_name, name = self.kind(node.func.value), node.func.attr
            if name in facts.names(class_name, "properties"):
                self.note(node, f"{class_name}.{name} is a value, not a function")
            if name in ("connect", "disconnect"):
                self._lint_connect(node, node.func)
        if isinstance(node.func, ast.Name) and node.func.id == "isinstance" and len(node.args) == 2:
            asked = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            for item in asked:
                if _dotted(item).startswith(("qt.", "ctk.", "slicer.q")):
                    self.note(node, f"isinstance(.., {_dotted(item)}) knows no base classes: use inherits()")
        self.generic_visit(node)

    def _lint_connect(self, node: ast.Call, function: ast.Attribute) -> None:
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            class_name, signature = self.kind(function.value), first.value
            if class_name in facts.classes():
                if signature not in facts.names(class_name, "signals"):
                    self.note(node, f"{class_name} has no signal {signature}")
            elif not any(signature in entry.get("signals", ()) for entry in facts.classes().values()):
                self.note(node, f"no class has a signal {signature}")
        elif isinstance(function.value, ast.Attribute):
            class_name, name = self.kind(function.value.value), function.value.attr
            signals = {entry.split("(")[0] for entry in facts.names(class_name, "signals")}
            if class_name in facts.classes() and name not in signals:
                self.note(node, f"{class_name} has no signal {name}")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def lint_python(path: Path, pages: dict[str, dict[str, str]]) -> list[str]:
    """Findings in one Python file. `pages`: widgets of each .ui file; those that the file names are believed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = [widgets for page, widgets in pages.items() if {page, f"{page}.ui", f"UI/{page}.ui"} & words]
    linter = Linter({name: kind for widgets in named for name, kind in widgets.items()})
    linter.visit(tree)
    return [f"{path.name}:{line}: {text}" for line, text in sorted(set(linter.found))]


def lint(root: Path = ROOT) -> list[str]:
    """Findings in all modules and the library under a folder."""
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    sheets = [path for folder in folders for path in sorted(folder.rglob("*.ui"))]
    pages = {path.stem: widgets_of(path) for path in sheets}
    found = [line for path in sheets for line in lint_ui(path)]
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            found += lint_python(path, pages)
    return found


if __name__ == "__main__":
    findings = lint()
    sys.stdout.write("\n".join([*findings, f"{len(findings)} findings"]) + "\n")
    sys.exit(bool(findings))
