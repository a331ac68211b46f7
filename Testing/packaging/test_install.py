"""The installed extension works: (a) side by side, (b) from a module's own folder as additional path, (c) with pip."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from extension_lists import ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")

HEAVY = ["torch", "numba", "vtk", "SimpleITK", "matplotlib", "h5py", "pydantic", "scipy", "pydicom", "yaml", "monai"]

FRESH = """
import sys
# What `pip install --editable` left in this environment must not help.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path = [path for path in sys.path if path and "__editable__" not in path and path != {root!r}]
sys.path_hooks = [hook for hook in sys.path_hooks if "editable" not in repr(hook).lower()]
sys.path_importer_cache.clear()
sys.path.append({first!r})
"""

STUBS = """
import types
slicer = types.ModuleType("slicer")
slicer.__path__ = []
sys.modules["slicer"] = slicer
for name in ("i18n", "util", "ScriptedLoadableModule"):
    sys.modules[f"slicer.{name}"] = types.ModuleType(f"slicer.{name}")
sys.modules["slicer.i18n"].tr = sys.modules["slicer.i18n"].translate = lambda *words: words[-1]
sys.modules["slicer.util"].VTKObservationMixin = type("VTKObservationMixin", (), {})
for suffix in ("", "Widget", "Logic", "Test"):
    name = f"ScriptedLoadableModule{suffix}"
    setattr(sys.modules["slicer.ScriptedLoadableModule"], name, type(name, (), {}))
"""


def python(code: str, folder: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**clean, "PYTHONSAFEPATH": "1", **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_installed_packages_are_found_and_light(installed: Path, tmp_path: Path) -> None:
    code = FRESH.format(root=str(ROOT), first=str(installed))
    code += "import ctrestoration, CTRestorationLib.jobs.runner, CTRestorationLib.jobs.exchange\n"
    code += f"print(ctrestoration.__file__, [name for name in {HEAVY} if name in sys.modules])"
    assert python(code, tmp_path).strip() == f"{installed / 'ctrestoration' / '__init__.py'} []"


def test_a_children_find_the_package_and_its_data(installed: Path, tmp_path: Path) -> None:
    code = FRESH.format(root=str(ROOT), first=str(installed))
    code += (
        "import json, subprocess\nfrom pathlib import Path\n"
        "from CTRestorationLib.jobs.runner import childEnvironment\n"
        "Path('job.json').write_text(json.dumps({'words': ['implants', 'catalogue', '--json']}))\n"
        "done = subprocess.run([sys.executable, '-m', 'ctrestoration.jobs', 'job.json'], env=childEnvironment(),\n"
        "                      input='', stdout=subprocess.PIPE, text=True)\n"
        "print(done.stdout)\n"
        "where = subprocess.run([sys.executable, '-c', 'import ctrestoration; print(ctrestoration.__file__)'],\n"
        "                       env=childEnvironment(), stdout=subprocess.PIPE, text=True)\n"
        "print(where.stdout)"
    )
    lines = python(code, tmp_path).splitlines()
    assert json.loads(lines[1])["event"] == "result"
    assert "screws" in json.loads(lines[1])["value"]
    assert lines[-2] == str(installed / "ctrestoration" / "__init__.py")


def test_a_every_file_of_the_packages_compiles_and_imports_its_own_names(installed: Path, tmp_path: Path) -> None:
    code = FRESH.format(root=str(ROOT), first=str(installed))
    code += (
        "import importlib, pkgutil, ctrestoration\nfailed = []\n"
        "for found in pkgutil.walk_packages(ctrestoration.__path__, 'ctrestoration.'):\n"
        "    if found.name.endswith('__main__'):\n        continue\n"
        "    try:\n        importlib.import_module(found.name)\n"
        "    except ImportError as error:\n"
        "        if (error.name or '').split('.')[0] in ('ctrestoration', 'CTRestorationLib'):\n"
        "            failed.append(f'{found.name}: {error}')\n"
        "print(failed)"
    )
    assert python(code, tmp_path).strip() == "[]"


@pytest.mark.parametrize("name", [name for name in ("MARInpaint",) if (ROOT / name).is_dir()])
def test_b_a_module_finds_the_packages_from_its_own_folder(name: str, tmp_path: Path) -> None:
    code = FRESH.format(root=str(ROOT), first=str(ROOT / name)) + STUBS
    code += (
        f"import importlib.util, {name}\n"
        "assert importlib.util.find_spec('ctrestoration') is None\n"
        f"{name}.findPackages()\n{name}.findPackages()\n"
        "import ctrestoration, CTRestorationLib.jobs.runner as runner\n"
        f"print(ctrestoration.__file__, sys.path.count({str(ROOT)!r}))\n"
        "print(runner.childEnvironment()['PYTHONPATH'])"
    )
    assert python(code, tmp_path).split() == [str(ROOT / "ctrestoration" / "__init__.py"), "1", str(ROOT)]


def project() -> dict:
    content: dict = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


def test_c_pip_brings_nothing_that_would_shadow_slicers_own() -> None:
    names = {re.split(r"[<>=!~ ;\[]", line)[0].lower() for line in project()["dependencies"]}
    assert not names & {"vtk", "slicer-core", "pyside6", "pyside6-essentials", "simpleitk", "torch", "pillow"}


def test_c_no_extra_drags_in_what_breaks_torch() -> None:
    lines = [line for lines in project()["optional-dependencies"].values() for line in lines]
    text = "\n".join([*lines, (ROOT / "constraints.txt").read_text(encoding="utf-8")]).lower()
    for banned in ("torchvision", "piq", "lpips", "deepinv", "quadprog", "qpsolvers"):
        assert not re.search(rf"^{banned}\b", text, flags=re.MULTILINE)


def test_c_every_direct_dependency_of_the_environment_is_pinned() -> None:
    pins = {
        re.split(r"==", line)[0].strip().lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    extras = project()["optional-dependencies"]
    wanted = list(project()["dependencies"])
    for extra in ("fast", "imaging", "torch", "surgery", "slicer", "dev"):
        wanted += extras[extra]
    names = {re.split(r"[<>=!~ ;\[]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= pins


def test_c_only_the_package_is_packaged() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert content["tool"]["setuptools"]["packages"]["find"]["include"] == ["ctrestoration*"]


def test_the_repository_is_small_enough_for_the_catalogue() -> None:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    paths = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 30e6
