"""What CMake installs is what is on disk, under names that are ours, and the catalogue agrees with it."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from pathlib import Path

from extension_lists import MODULE_FOLDERS, PACKAGES, ROOT, Extension, on_disk

RAW = "https://raw.githubusercontent.com/ctrestoration/SlicerCTRestoration/main/"
MODULES = [name for name in MODULE_FOLDERS if (ROOT / name).is_dir()]


def test_every_folder_is_built_once(extension: Extension) -> None:
    assert sorted(asked.folder.name for asked in extension.modules) == sorted([*PACKAGES, *MODULES])
    assert extension.packed == "CTRestoration"


def test_lists_equal_the_disk(extension: Extension) -> None:
    for asked in extension.modules:
        scripts = on_disk(asked.folder, ".py")
        assert set(asked.scripts) == scripts, asked.name
        assert len(asked.scripts) == len(set(asked.scripts)), asked.name
        known = {".csv", ".css", ".json", ".md", ".png", ".safetensors", ".sha256", ".svg", ".ui", ".yaml", ".typed"}
        files = {path.suffix for path in asked.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert files <= known | {".py", ".txt"}, asked.name
        present = on_disk(asked.folder, *known) | (on_disk(asked.folder, ".txt") - {"CMakeLists.txt"})
        assert set(asked.resources) == present, asked.name


def test_modules_have_one_script_of_their_name_and_packages_a_folder_of_theirs(extension: Extension) -> None:
    for asked in extension.modules:
        assert asked.subdir == (asked.folder.name in PACKAGES)
        if asked.subdir:
            assert asked.name == asked.folder.name
            assert "__init__.py" in asked.scripts
        else:
            assert asked.scripts == (f"{asked.name}.py",)
            assert asked.generic_tests
            assert asked.folder / f"{asked.name}.py" in extension.tests
        assert not re.search(r"Tests?$", asked.name)


def test_nothing_comes_from_elsewhere(extension: Extension) -> None:
    for asked in extension.modules:
        for path in (*asked.scripts, *asked.resources):
            assert ".." not in path
            assert "Testing" not in path
    for path in ROOT.glob("*/CMakeLists.txt"):
        assert ".." not in re.sub(r"#.*", "", path.read_text(encoding="utf-8")), path


def test_resources_of_modules_have_paths_of_their_own(extension: Extension) -> None:
    paths = Counter(path for asked in extension.modules if not asked.subdir for path in asked.resources)
    assert [path for path, count in paths.items() if count > 1] == []
    for asked in extension.modules:
        if not asked.subdir:
            own = [path for path in asked.resources if Path(path).suffix in (".ui", ".txt")]
            assert all(Path(path).name.startswith(asked.name) for path in own), own


def test_installed_names_are_ours_alone(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert names == {*PACKAGES, "Resources", *(path.name for path in installed.glob("*.py"))}
    assert {path.stem for path in installed.glob("*.py")} <= {*MODULE_FOLDERS, "CTRestorationTraining"}
    assert not list(installed.rglob("*test_*"))


def test_tests_for_slicer_exist_and_have_no_package(extension: Extension) -> None:
    assert all(path.is_file() for path in extension.tests)
    scripts = set((ROOT / "Testing" / "Python").glob("test_*.py"))
    assert scripts <= set(extension.tests)
    assert not (ROOT / "Testing" / "__init__.py").exists()
    assert not (ROOT / "__init__.py").exists()
    assert not [name for name in MODULES if (ROOT / name / "__init__.py").exists()]


def test_the_extension_describes_itself(extension: Extension) -> None:
    facts = extension.facts
    assert all(facts[name] for name in facts), facts
    assert facts["DEPENDS"] == "PyTorch"
    assert facts["RECOMMENDS"] == "TotalSegmentator"
    assert "not a medical device" in facts["DESCRIPTION"]
    for name in ("LICENSE_FILE", "README_FILE"):
        assert Path(facts[name]).is_file()
    assert facts["HOMEPAGE"].startswith("https://github.com/")


def test_pictures_of_the_catalogue_are_raw_files_of_this_repository(extension: Extension) -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("ICONURL", "SCREENSHOTURLS"):
        (line,) = re.findall(rf'^set\(EXTENSION_{name} "(.*)"\)$', text, flags=re.MULTILINE)
        assert line == extension.facts[name]
        for url in line.split():
            assert url.startswith(RAW)
            path = ROOT / url.removeprefix(RAW)
            assert path.is_file(), url
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert re.search(r"^project\((\w+)\)$", text, flags=re.MULTILINE).group(1) == "CTRestoration"  # type: ignore[union-attr]


def test_icons_are_of_the_right_size() -> None:
    paths = [ROOT / "Resources" / "CTRestoration.png"]
    for name in MODULES:
        icons = ROOT / name / "Resources" / "Icons"
        module = next(path.stem for path in (ROOT / name).glob("*.py"))
        assert (icons / f"{module}.svg").exists() or (icons / f"{module}.png").exists()
        paths += [path for path in (icons / f"{module}.png",) if path.exists()]
    for path in paths:
        assert struct.unpack(">II", path.read_bytes()[16:24]) == (128, 128), path


def test_the_catalogue_entry_follows_its_schema(extension: Extension) -> None:
    path = ROOT / "Resources" / "CTRestoration.json"
    assert b"\r" not in path.read_bytes()
    assert path.stem == extension.packed
    entry = json.loads(path.read_text(encoding="utf-8"))
    required = {"$schema", "category", "scm_url"}
    optional = {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert required <= set(entry) <= required | optional
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == "Tomographic Reconstruction"
    assert entry["tier"] in range(1, 6)
    assert " ".join(entry["build_dependencies"]) == extension.facts["DEPENDS"]
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+\.git", entry["scm_url"])
    assert not extension.packed.startswith("Slicer")
    assert RAW.split("main/")[0].rsplit("/", 2)[1] == entry["scm_url"].rsplit("/", 1)[1].removesuffix(".git")
