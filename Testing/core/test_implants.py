"""Implants: closed meshes, exact fractions, plans in files, scatter and the training mix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.vertebra_masks import spine

from ctrestoration.cli.implants_plan import expand_levels
from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.implants import (
    Device,
    Patient,
    Plan,
    Rod,
    Screw,
    load_plan,
    parts_of,
    place,
    require_patient,
    save_plan,
)
from ctrestoration.implants.anywhere import moved_anywhere, random_implants, random_shapes
from ctrestoration.implants.catalogue import catalogue
from ctrestoration.implants.checks import overlaps, require_sound
from ctrestoration.implants.construct import loosening
from ctrestoration.implants.devices import device_parts
from ctrestoration.implants.generator import MIX, generate_case
from ctrestoration.implants.grading import Judgment, letter
from ctrestoration.implants.mesh import Mesh, box, ellipsoid, frame_along, read_mesh, require_closed, to_vtk, write_mesh
from ctrestoration.implants.rods import bend_radius, centerline, rod_problems
from ctrestoration.implants.scatter import PROFILES, scatter_screw
from ctrestoration.implants.screw import Thread, shaft
from ctrestoration.implants.voxelize import voxelize
from ctrestoration.physics.materials import material
from ctrestoration.volume import Grid, Volume

GRID = Grid.from_parts((40, 90, 90), (0.98, 0.98, 3.0), (-44.0, -44.0, -58.0))
LEFT = Screw("L3", "left", (20.0, 30.0, 0.0), (10.0, -10.0, 2.0), 6.5)
RIGHT = replace(LEFT, side="right", entry=(-20.0, 30.0, 0.0), target=(-10.0, -10.0, 2.0))
LOWER = replace(LEFT, level="L4", entry=(21.0, 31.0, -36.0), target=(9.0, -8.0, -36.0))
CONSTRUCT = Plan((LEFT, RIGHT, LOWER), (Rod("left", ((22.0, 37.0, 0.0), (23.0, 38.0, -36.0))),))


def test_a_screw_of_known_volume():
    thread = Thread(6.5, 4.6, 45.0)
    assert thread.volume_mm3 == pytest.approx(934.0, abs=0.5)
    mesh = thread.mesh()
    assert mesh.bad_edges() == 0
    assert mesh.volume_mm3 == pytest.approx(thread.volume_mm3, rel=0.002)
    hollow = replace(thread, bore_mm=1.8).mesh()
    assert hollow.bad_edges() == 0
    assert hollow.volume_mm3 == pytest.approx(mesh.volume_mm3 - np.pi * 0.9**2 * 45, rel=0.01)


@pytest.mark.parametrize("kind", sorted(catalogue()["implants"]))
def test_every_implant_is_closed_turned_outward_and_of_a_known_material(kind: str):
    for end in (0, 1):
        sizes = {name: values[end] for name, values in catalogue()["implants"][kind]["sizes"].items()}
        for name, made_of, mesh in device_parts(Device(kind, (1.0, 2.0, 3.0), (0.3, 0.2, 0.9), (1.0, 0.0, 0.0), sizes)):
            assert mesh.bad_edges() == 0, name
            assert mesh.volume_mm3 > 0, name
            assert material(made_of).density > 1


def test_vtk_finds_no_open_edge_in_a_construct():
    vtk = pytest.importorskip("vtkmodules.vtkFiltersCore")
    for part in parts_of(CONSTRUCT):
        edges = vtk.vtkFeatureEdges()
        edges.SetInputData(to_vtk(part.mesh))
        edges.FeatureEdgesOff()
        edges.ManifoldEdgesOff()
        edges.Update()
        assert edges.GetOutput().GetNumberOfCells() == 0, part.name
        assert part.mesh.volume_mm3 > 0, part.name


def _truth(
    thread: Thread, frame: np.ndarray, tip: np.ndarray, grid: Grid, box: tuple[slice, ...], n: int
) -> np.ndarray:
    """Share of dense sample points inside the analytic screw."""
    counts = [max(n, round(n * step / min(grid.spacing))) for step in grid.spacing[::-1]]
    k, j, i = (
        (np.arange(side.start, side.stop)[:, None] + (np.arange(c) + 0.5) / c - 0.5).ravel()
        for side, c in zip(box, counts, strict=True)
    )
    out = []
    for layer in k.reshape(-1, counts[0]):
        index = np.stack(np.meshgrid(layer, j, i, indexing="ij")[::-1], axis=-1)
        x, y, s = np.moveaxis((grid.to_world(index) - tip) @ frame, -1, 0)
        inside = (s >= 0) & (s <= thread.length_mm) & (np.hypot(x, y) <= thread.radius(s, np.arctan2(y, x)))
        out.append(inside.mean(axis=0).reshape(len(j) // counts[1], counts[1], -1, counts[2]).mean(axis=(1, 3)))
    return np.array(out)


@pytest.mark.parametrize("spacing", [(0.78, 0.78, 1.0), (0.98, 0.98, 3.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_fractions_agree_with_the_analytic_screw_at_any_pose_and_direction(spacing: tuple, seed: int):
    rng = np.random.default_rng(seed)
    direction = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1], 3)
    grid = Grid.from_parts((64, 76, 76) if spacing[2] > 1 else (76, 80, 80), spacing, (5.0, -3.0, 8.0), direction)
    thread = Thread(6.5, 4.6, 45.0)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    middle = grid.to_world((np.array(grid.shape[::-1]) - 1) / 2 + rng.random(3))
    entry, tip = middle - 22.5 * axis, middle + 22.5 * axis
    piece = voxelize(shaft(entry, tip, thread), grid)
    assert piece is not None
    truth = _truth(thread, frame_along(entry - tip), tip, grid, piece.box, 5)
    touched = (truth > 0) | (piece.fraction > 0)
    assert float(np.sqrt(((piece.fraction - truth)[touched] ** 2).mean())) < 0.03
    assert piece.fraction.sum() * grid.voxel_mm3 == pytest.approx(thread.volume_mm3, rel=0.01)


def test_fractions_agree_with_the_stencil_of_vtk():
    pytest.importorskip("vtkmodules.vtkImagingStencil")
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    mesh = ellipsoid((9.0, 6.0, 11.0)).moved(np.eye(3), np.array([0.3, 0.2, 0.1]))
    grid = Grid.from_parts((12, 24, 24), (1.0, 1.0, 2.5), (-11.5, -11.5, -13.75))
    fine = 5
    stencil, image = vtkPolyDataToImageStencil(), vtkImageStencilToImage()
    stencil.SetInputData(to_vtk(mesh))
    spacing = [s / fine for s in grid.spacing]
    stencil.SetOutputSpacing(*spacing)
    stencil.SetOutputOrigin(*[o + (f - s) / 2 for o, s, f in zip(grid.origin, grid.spacing, spacing, strict=True)])
    stencil.SetOutputWholeExtent(0, 24 * fine - 1, 0, 24 * fine - 1, 0, 12 * fine - 1)
    stencil.SetTolerance(0)
    image.SetInputConnection(stencil.GetOutputPort())
    image.Update()
    inside = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()).reshape(12, fine, 24, fine, 24, fine) > 0
    piece = voxelize(mesh, grid)
    ours = np.zeros(grid.shape)
    ours[piece.box] = piece.fraction
    assert np.abs(ours - inside.mean(axis=(1, 3, 5))).max() < 0.09
    assert ours.sum() == pytest.approx(inside.mean(axis=(1, 3, 5)).sum(), rel=0.01)


def test_placing_is_cut_by_the_grid_and_nothing_outside_is_touched():
    grid = Grid.from_parts((4, 10, 10), (1.0, 1.0, 1.0))
    piece = voxelize(box((6, 6, 6)).moved(np.eye(3), np.array([0.0, 4.5, 1.5])), grid)
    assert piece.fraction.sum() == pytest.approx(3.5 * 6 * 4)
    assert voxelize(box((6, 6, 6)).moved(np.eye(3), np.array([50.0, 0, 0])), grid) is None


def test_overlapping_metals_share_a_voxel():
    one = Device("dental-filling", (0.0, 0.0, 0.0), sizes={"width_mm": 6})
    maps = place(Plan(devices=(one, replace(one, material="316L"))), GRID)
    assert set(maps) == {"amalgam", "316L"}
    assert sum(maps.values()).max() <= 1 + 1e-6
    assert np.allclose(maps["amalgam"], maps["316L"])


def test_a_loose_screw_has_a_gap_around_its_shaft_only():
    loose = Plan((replace(LEFT, loosening_mm=1.0, head=False),))
    halo, metal = loosening(loose, GRID), place(loose, GRID)["Ti6Al4V"]
    assert (halo + metal).max() <= 1 + 1e-6
    ring = (np.pi * 4.25**2 * LEFT.length_mm) - metal.sum() * GRID.voxel_mm3
    assert halo.sum() * GRID.voxel_mm3 == pytest.approx(ring, rel=0.03)


def test_an_open_mesh_is_refused_and_closed_ones_survive_files(tmp_path: Path):
    pytest.importorskip("vtkmodules.vtkIOGeometry")
    cube = box((2, 3, 4))
    with pytest.raises(InputError, match="lid is not closed: 3 of its edges do not join two faces"):
        require_closed(Mesh(cube.points, cube.triangles[1:]), "lid")
    for suffix in ("stl", "vtp"):
        path = tmp_path / f"cube.{suffix}"
        write_mesh([cube], path)
        again = read_mesh(path)
        require_closed(again, str(path))
        assert again.volume_mm3 == pytest.approx(24)
    with pytest.raises(InputError, match=r"written as \.stl or \.vtp"):
        write_mesh([cube], tmp_path / "cube.obj")


def test_a_plan_survives_its_file(tmp_path: Path):
    plan = replace(
        CONSTRUCT, patient=Patient.of(GRID), devices=(Device("stent", (1.0, 2.0, 3.0), sizes={"strut_mm": 0.3}),)
    )
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"diameter_mm": 40}, r"screws\[0\]\.diameter_mm is 40; expected a number in 2\.\.12 mm"),
        ({"side": "up"}, r"screws\[0\]\.side is \"up\"; expected one of left, right"),
        ({"entry": [1, 2]}, r"screws\[0\]\.entry is \[1, 2\]; expected three coordinates"),
        ({"target": [20, 30, 0]}, r"screws\[0\] would be 0\.0 mm long from entry to target; expected 5\.\.150"),
        ({"colour": 1}, r"screws\[0\] has an unknown field \"colour\": known are level, side"),
    ],
)
def test_a_plan_edited_wrongly_is_refused_by_field_and_range(tmp_path: Path, change: dict, sentence: str):
    path = tmp_path / "plan.json"
    save_plan(CONSTRUCT, path)
    content = json.loads(path.read_text())
    content["screws"][0].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        load_plan(path)


def test_what_is_no_plan_is_refused(tmp_path: Path):
    path = tmp_path / "plan.json"
    with pytest.raises(InputError, match="does not exist"):
        load_plan(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_plan(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="is no plan"):
        load_plan(path)


def test_a_plan_for_another_patient_is_refused():
    other = Grid.from_parts(GRID.shape, GRID.spacing, (0.0, 0.0, 0.0))
    require_patient(replace(CONSTRUCT, patient=Patient.of(GRID)), GRID)
    with pytest.raises(InputError, match=r"made on another CT than ct\.nii: the corners lie up to"):
        require_patient(replace(CONSTRUCT, patient=Patient.of(GRID)), other, "ct.nii")


def test_overlapping_screws_are_named():
    crossing = replace(RIGHT, target=(9.0, -10.0, 2.0))
    plan = Plan((LEFT, crossing))
    assert not overlaps(Plan((LEFT, RIGHT)))
    with pytest.raises(InputError, match=r"Screws L3 left and L3 right overlap by \d\.\d mm: move or shorten"):
        require_sound(plan)


def test_rods_that_bend_too_sharply_or_miss_a_head_are_named():
    straight = Rod("left", ((0.0, 0.0, 60.0), (0.0, 0.0, 30.0), (0.0, 0.0, 0.0)))
    assert bend_radius(centerline(straight)) > 1e4
    length = np.linalg.norm(np.diff(centerline(straight), axis=0), axis=1).sum()
    assert length == pytest.approx(68, abs=0.1)  # the overhang of 4 mm at both ends
    kinked = Rod("left", ((0.0, 0.0, 40.0), (18.0, 0.0, 20.0), (0.0, 0.0, 0.0)))
    assert any("bends with a radius of" in text for text in rod_problems(Plan(rods=(kinked,))))
    assert any("beside the head" in text for text in rod_problems(Plan((LEFT,), (straight,))))


def test_grades_have_the_published_limits():
    assert [letter(mm) for mm in (0, 0.1, 1.99, 2, 3.9, 4, 5.9, 6, 20)] == list("ABBCCDDEE")


def _wall(width: float):
    def judge(screw: Screw) -> Judgment:
        moved = np.array(screw.entry) - LEFT.entry
        breach = max(0.0, float(np.linalg.norm(moved)) + screw.diameter_mm / 2 - width / 2)
        return Judgment(letter(breach), breach, "lateral" if breach else None, 5.0, 10.0)

    return judge


def test_scatter_has_the_grades_of_its_profile_also_in_a_narrow_pedicle():
    grades = []
    for n in range(300):
        rng = np.random.Generator(np.random.Philox(n))
        grades.append(scatter_screw(LEFT, _wall(8.0), rng, profile="freehand").screw.grade)
    share = {g: 100 * grades.count(g) / len(grades) for g in "ABCDE"}
    assert share["A"] == pytest.approx(PROFILES["freehand"]["A"], abs=7)
    assert share["B"] == pytest.approx(PROFILES["freehand"]["B"], abs=6)


def test_scatter_deviates_as_published_where_the_bone_is_wide():
    found = [
        scatter_screw(LEFT, _wall(60.0), np.random.Generator(np.random.Philox(n)), profile="robot") for n in range(400)
    ]
    free = [f for f in found if f.wanted == "A"]
    assert np.mean([f.tip_mm for f in free]) == pytest.approx(1.9, abs=0.25)
    assert np.mean([f.tail_mm for f in free]) == pytest.approx(2.2, abs=0.25)
    assert all(f.screw.length_mm == pytest.approx(LEFT.length_mm, abs=0.01) for f in free)
    with pytest.raises(InputError, match="choose one of robot, freehand"):
        scatter_screw(LEFT, _wall(9), np.random.default_rng(0), profile="drunk")


def _body() -> Volume:
    return Volume(np.full(GRID.shape, 40, dtype=np.float32), GRID)


def test_cases_are_reproduced_by_their_seed_and_follow_the_mix():
    volume = _body()
    one, again = (generate_case(volume, 5, kind="implants-anywhere") for _ in range(2))
    assert one.description == again.description
    assert all(np.array_equal(one.implants[name], again.implants[name]) for name in one.implants)
    assert json.loads(json.dumps(one.description))["seed"] == 5
    for kind in ("realistic", "shapes"):
        case = generate_case(volume, 3, kind=kind)
        assert case.description["kind"] == kind
        assert sum(case.description["metal_ml"].values()) > 0
    draws = [
        str(np.random.Generator(np.random.Philox(np.random.SeedSequence(n))).choice(list(MIX), p=list(MIX.values())))
        for n in range(400)
    ]
    assert 100 * draws.count("spine") / 400 == pytest.approx(55, abs=7)
    assert "no complete vertebra" in generate_case(volume, 1, kind="spine").description["reason"]
    with pytest.raises(InputError, match="choose one of spine, realistic"):
        generate_case(volume, 1, kind="teeth")


def test_a_spine_case_places_a_graded_construct():
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels

    labels = spine()
    volume = Volume(np.where(labels.array > 0, 300, 40).astype(np.float32), labels.grid)
    case = generate_case(volume, 4, spine=segment_from_labels(labels.grid, labels), kind="spine")
    assert case.plan is not None
    assert sum(case.description["grades"].values()) == len(case.plan.screws)
    assert sum(f.sum() for f in case.implants.values()) > 0


def test_moved_implants_are_those_of_the_other_kind_elsewhere():
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels

    labels = spine()
    volume = Volume(np.where(labels.array > 0, 300, 40).astype(np.float32), labels.grid)
    segmented = segment_from_labels(labels.grid, labels)
    placed, moved, again = (
        generate_case(volume, 4, spine=segmented, kind=kind) for kind in ("spine", "spine-moved", "spine-moved")
    )
    assert moved.plan is None, "the plan says where they would belong"
    assert moved.description["grades"] == placed.description["grades"]
    assert {**moved.description, "kind": "spine", "metal_ml": 0} == {**placed.description, "metal_ml": 0}
    assert all(np.array_equal(moved.implants[name], again.implants[name]) for name in moved.implants)
    total = sum(moved.implants.values())
    assert not np.array_equal(total, sum(placed.implants.values()))
    assert total.sum() > 0


def test_a_body_moved_as_a_whole_keeps_its_shape():
    volume, rng = _body(), np.random.default_rng(3)
    parts, _ = random_implants(volume, rng)
    moved = moved_anywhere(parts, volume, rng)
    points, after = (np.concatenate([part.mesh.points for part in some]) for some in (parts, moved))
    distances, kept = (np.linalg.norm(cloud - cloud[0], axis=1) for cloud in (points, after))
    np.testing.assert_allclose(kept, distances, atol=1e-9)
    assert not np.allclose(points, after)
    i, j, k = np.round(volume.grid.to_index(after.mean(axis=0))).astype(int)
    assert volume.array[k, j, i] > -300
    assert moved_anywhere([], volume, rng) == []


def test_random_metal_is_closed():
    rng = np.random.default_rng(7)
    for _ in range(6):
        for parts, story in (random_implants(_body(), rng), random_shapes(_body(), rng)):
            assert parts
            assert story
            assert all(part.mesh.bad_edges() == 0 for part in parts)


def test_unknown_implants_and_sizes_are_named():
    with pytest.raises(InputError, match="no implant 'knee' in the catalogue: it has cross-link"):
        device_parts(Device("knee", (0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"stent's strut_mm must lie in 0\.15\.\.0\.4, not 3"):
        device_parts(Device("stent", (0.0, 0.0, 0.0), sizes={"strut_mm": 3}))


def test_levels_are_expanded():
    assert expand_levels("L3-L5") == ["L3", "L4", "L5"]
    assert expand_levels("T12, L2") == ["T12", "L2"]
    with pytest.raises(InputError, match="runs upward: name the upper level first, L3-L5"):
        expand_levels("L5-L3")
    with pytest.raises(InputError, match="'Q1' is not understood"):
        expand_levels("Q1")


def test_masks_alone_can_be_planned_on(tmp_path: Path, capsys: pytest.CaptureFixture):
    from ctrestoration.io.images import write_labels

    masks, plan = str(tmp_path / "masks.nii.gz"), str(tmp_path / "plan.json")
    labels = spine()
    write_labels(labels, masks)
    assert main(["implants", "plan", masks, plan, "--levels", "L3"]) == 0
    assert {screw.level for screw in load_plan(plan).screws} == {"L3"}
    capsys.readouterr()
    assert main(["implants", "plan", masks, plan, "--spine", masks, "--points", masks]) == 2
    assert "choose one of them" in capsys.readouterr().err


def test_a_construct_is_drawn_from_its_meshes():
    pytest.importorskip("vtkmodules.vtkRenderingOpenGL2")
    from ctrestoration.evaluate.scene3d import render_construct

    bone = np.zeros(GRID.shape, dtype=bool)
    bone[10:30, 30:60, 30:60] = True
    meshes = [part.mesh for part in parts_of(CONSTRUCT)]
    bare, shown = (render_construct(bone, metal, GRID, size=(160, 160)) for metal in ([], meshes))
    assert shown.shape == (160, 160, 3)
    bluish = [(image[..., 2].astype(int) - image[..., 0] > 20).mean() for image in (bare, shown)]
    assert bluish[0] < 0.01 < bluish[1]


def test_the_commands_plan_place_and_list(tmp_path: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("SimpleITK")
    from ctrestoration.io.images import write_labels, write_volume

    labels = spine()
    hu = np.where(labels.array > 0, 300, 40).astype(np.float32)
    hu[:, :3] = -1000
    volume = Volume(hu, labels.grid)
    ct, masks, plan, metal = (str(tmp_path / name) for name in ("ct.nii.gz", "seg.nii.gz", "plan.json", "metal.nii.gz"))
    write_volume(volume, ct)
    write_labels(labels, masks)
    assert main(["implants", "plan", ct, plan, "--spine", masks, "--levels", "L3"]) == 0
    assert "L3 left" in capsys.readouterr().out
    assert main(["implants", "place", ct, plan, metal, "--mesh", str(tmp_path / "a.stl"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert 1.5 < facts["metal_ml"]["Ti6Al4V"] < 8
    assert (tmp_path / "a.stl").stat().st_size > 1000
    assert main(["implants", "catalogue", "--json"]) == 0
    assert "plif-cage" in json.loads(capsys.readouterr().out)["implants"]
    moved = Volume(volume.array, Grid.from_parts(volume.grid.shape, (1.2, 1.2, 1.2)))
    write_volume(moved, str(tmp_path / "other.nii.gz"))
    assert main(["implants", "place", str(tmp_path / "other.nii.gz"), plan, metal]) == 2
    assert "made on another CT" in capsys.readouterr().err
