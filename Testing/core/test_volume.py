"""Grids, orientations and volumes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.volume import AIR_HU, Grid, LabelMap, Volume, axial_orientation

SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def rotation(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def oblique_grid(direction: np.ndarray) -> Grid:
    turned = rotation(20.0, (1.0, 2.0, 3.0)) @ direction
    return Grid.from_parts((4, 5, 6), (0.7, 0.9, 2.5), (-120.5, 33.25, 871.125), turned)


def test_parts_come_back() -> None:
    grid = oblique_grid(np.eye(3))
    np.testing.assert_allclose(grid.spacing, (0.7, 0.9, 2.5), rtol=1e-12)
    assert grid.origin == (-120.5, 33.25, 871.125)
    np.testing.assert_allclose(grid.direction, rotation(20.0, (1.0, 2.0, 3.0)), atol=1e-12)
    assert grid.voxel_mm3 == pytest.approx(0.7 * 0.9 * 2.5)


def test_world_and_index_are_inverse() -> None:
    grid = oblique_grid(np.eye(3))
    ijk = np.random.default_rng(0).uniform(-10, 10, (7, 2, 3))
    np.testing.assert_allclose(grid.to_index(grid.to_world(ijk)), ijk, atol=1e-10)


def test_first_index_runs_along_the_last_array_axis() -> None:
    grid = Grid.from_parts((2, 3, 4), (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(grid.to_world((1, 0, 0)), (1, 0, 0))
    np.testing.assert_array_equal(grid.to_world((0, 0, 1)), (0, 0, 3))


@pytest.mark.parametrize("direction", SIGNED_PERMUTATIONS, ids=lambda d: "".join(f"{int(v)}" for v in d.ravel()))
def test_axial_orientation_keeps_every_voxel_where_it_was(direction: np.ndarray) -> None:
    grid = oblique_grid(direction)
    orientation, axial = axial_orientation(grid)
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turned = orientation.apply(array)
    assert turned.shape == axial.shape
    k, j, i = np.unravel_index(np.arange(turned.size), turned.shape)
    before = grid.to_index(axial.to_world(np.stack([i, j, k], axis=-1)))
    x, y, z = np.rint(before).astype(int).T
    np.testing.assert_allclose(before, np.rint(before), atol=1e-9)
    np.testing.assert_array_equal(turned.ravel(), array[z, y, x])
    np.testing.assert_array_equal(orientation.undo(turned), array)


@pytest.mark.parametrize("direction", SIGNED_PERMUTATIONS[::5])
def test_axial_grid_runs_along_left_posterior_superior(direction: np.ndarray) -> None:
    _, axial = axial_orientation(oblique_grid(direction))
    assert (np.diag(axial.direction) > np.cos(np.radians(21))).all()


def test_axial_volume_turns_back_exactly() -> None:
    grid = oblique_grid(SIGNED_PERMUTATIONS[17])
    volume = Volume(np.random.default_rng(0).normal(size=grid.shape), grid, "ct", {"file": "ct.nrrd"})
    back = volume.axial().in_order_of(grid)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid == grid
    assert back.provenance == {"file": "ct.nrrd"}


def test_a_volume_of_other_voxels_does_not_turn_back() -> None:
    grid = oblique_grid(np.eye(3))
    other = Volume(np.zeros((4, 5, 6)), Grid.from_parts((4, 5, 6)))
    with pytest.raises(InputError, match="does not cover the voxels of the input"):
        other.in_order_of(grid)


def test_crop_keeps_voxels_where_they_were() -> None:
    grid = oblique_grid(np.eye(3))
    crop = grid.crop((1, 2, 3), (3, 5, 6))
    assert crop.shape == (2, 3, 3)
    np.testing.assert_allclose(crop.to_world((1, 1, 0)), grid.to_world((4, 3, 1)), atol=1e-12)


def test_mismatch_names_what_differs() -> None:
    grid = Grid.from_parts((4, 5, 6), (0.7, 0.9, 2.5))
    assert grid.mismatch(grid) is None
    assert "5x5x4" in (grid.mismatch(Grid.from_parts((4, 5, 5))) or "")
    far = grid.mismatch(Grid.from_parts((4, 5, 6), (0.7, 0.9, 2.6)))
    assert "0.3 mm apart" in (far or "")
    assert grid.mismatch(Grid.from_parts((4, 5, 6), (0.7, 0.9, 2.5), (0, 0, 5e-4))) is None


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 4, 4), np.eye(4), "three sizes"),
        ((4, 4), np.eye(4), "three sizes"),
        ((4, 4, 4), np.eye(3), "4x4"),
        ((4, 4, 4), np.diag([1, np.nan, 1, 1]), "finite"),
        ((4, 4, 4), np.diag([1, 0, 1, 1]), "singular"),
    ],
)
def test_impossible_grids_are_refused(shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Grid(shape, affine)


def test_small_voxels_are_no_singular_grid() -> None:
    assert Grid.from_parts((2, 2, 2), (5e-5, 5e-5, 5e-5)).voxel_mm3 == pytest.approx(1.25e-13)


def test_equal_grids_are_one_key() -> None:
    assert len({oblique_grid(np.eye(3)), oblique_grid(np.eye(3))}) == 1
    assert oblique_grid(np.eye(3)) != Grid.from_parts((4, 5, 6))


def test_a_volume_cannot_be_changed_but_leaves_the_callers_array_alone() -> None:
    source = np.zeros((2, 2, 2), dtype=np.float32)
    volume = Volume(source, Grid.from_parts((2, 2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        volume.grid.affine[0, 0] = 2.0
    assert source.flags.writeable


def test_replaced_keeps_the_grid_and_adds_provenance() -> None:
    volume = Volume(np.zeros((2, 2, 2)), Grid.from_parts((2, 2, 2)), "ct", {"file": "a"})
    other = volume.replaced(np.ones((2, 2, 2)), name="corrected", method="nmar")
    assert (other.grid, other.name) == (volume.grid, "corrected")
    assert other.provenance == {"file": "a", "method": "nmar"}
    assert volume.provenance == {"file": "a"}


@pytest.mark.parametrize("kind", [Volume, LabelMap])
def test_array_and_grid_must_agree(kind: type) -> None:
    with pytest.raises(InputError, match=r"shape \(2, 2, 3\), its grid \(2, 2, 2\)"):
        kind(np.zeros((2, 2, 3)), Grid.from_parts((2, 2, 2)))


def test_labels_are_unsigned_16_bit() -> None:
    labels = LabelMap(np.full((2, 2, 2), 27.0), Grid.from_parts((2, 2, 2)), {27: "vertebrae_L5"})
    assert labels.array.dtype == np.uint16
    assert AIR_HU == -1024
