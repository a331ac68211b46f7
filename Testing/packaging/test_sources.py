"""What the sources promise to Slicer: light imports, classes it finds, texts it can translate, files of human size."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from extension_lists import MODULE_FOLDERS, PACKAGES, ROOT

MODULE_FILES = sorted(path for name in MODULE_FOLDERS for path in (ROOT / name).glob("*.py"))
LIBRARY_FILES = sorted((ROOT / "CTRestorationLib").rglob("*.py"))
SLICERS = {"slicer", "vtk", "qt", "ctk"}
LAYERS = {
    "nodes": {"slicer", "vtk", "numpy"},
    "presenters": {"numpy"},
    "jobs": {"numpy"},
    "widgets": SLICERS | {"numpy"},
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST] | list[ast.AST]) -> set[str]:
    """Top-level names of what these nodes import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            names.add((node.module or "").split(".")[0])
    return names


def at_file_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the file is imported; not those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_file_scope(child)


def calls(path: Path) -> list[str]:
    """Calls that run when the file is imported, decorators apart."""
    found, decorators = [], set()
    for node in ast.walk(tree(path)):
        for decorator in getattr(node, "decorator_list", []):
            decorators |= {id(part) for part in ast.walk(decorator)}
    for node in at_file_scope(tree(path)):
        if isinstance(node, ast.Call) and id(node) not in decorators:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", MODULE_FILES, ids=relative)
def test_module_files_import_what_slicer_has_anyway_and_call_nothing(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | SLICERS
    assert imported(at_file_scope(tree(path))) <= allowed
    assert calls(path) == []


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=relative)
def test_library_files_import_what_their_layer_may(path: Path) -> None:
    layer = path.relative_to(ROOT / "CTRestorationLib").parts[0]
    allowed = set(sys.stdlib_module_names) | set(PACKAGES) | LAYERS.get(layer, set())
    assert imported(at_file_scope(tree(path))) <= allowed
    everywhere = imported(list(ast.walk(tree(path))))
    if layer in ("presenters", "jobs"):
        assert not everywhere & SLICERS
    if layer == "nodes":
        assert not everywhere & {"qt", "ctk"}
    # torch in Slicer's own process crashes some versions of it, whatever the function it is imported in.
    assert not everywhere & {"torch", "torchvision", "monai", "numba"}


@pytest.mark.parametrize("path", MODULE_FILES, ids=relative)
def test_module_classes_are_found_by_slicer(path: Path) -> None:
    classes = {node.name: node for node in tree(path).body if isinstance(node, ast.ClassDef)}
    name = path.stem
    for suffix in ("", "Widget", "Logic", "Test"):
        bases = [ast.unparse(base) for base in classes[name + suffix].bases]
        assert f"ScriptedLoadableModule{suffix}" in bases, "a dotted base is skipped without a word"
    for test in ast.walk(classes[f"{name}Test"]):
        if isinstance(test, ast.FunctionDef):
            assert test.name != "runTest"


@pytest.mark.parametrize("path", MODULE_FILES + LIBRARY_FILES, ids=relative)
def test_translated_texts_are_literals(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate"):
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"line {node.lineno}: only a literal can be translated"


@pytest.mark.parametrize("path", MODULE_FILES + LIBRARY_FILES, ids=relative)
def test_files_are_of_human_size(path: Path) -> None:
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count < (150 if path in MODULE_FILES else 400)


def test_there_are_module_files() -> None:
    assert MODULE_FILES
    assert len(LIBRARY_FILES) > 5


def test_planted_faults_are_found(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import torch\nif True:\n    import scipy\nclass A:\n    import h5py\n    b = print()\n"
        "def f():\n    import numba\n    print()\n@decorated(1)\ndef g(): pass\n",
        encoding="utf-8",
    )
    assert imported(at_file_scope(tree(path))) == {"torch", "scipy", "h5py"}
    assert calls(path) == ["print()"]
