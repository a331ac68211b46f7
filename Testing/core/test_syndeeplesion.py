"""Reading benchmark folders, and the resizing of masks that the published protocol does with an imaging library."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.io.syndeeplesion import find_slices, read_masks


@pytest.fixture
def folder(tmp_path):
    h5py = pytest.importorskip("h5py", reason="benchmark slices are HDF5")
    place = tmp_path / "patient" / "slice"
    place.mkdir(parents=True)
    for name, keys in (("gt", ("image", "poly_CT")), ("0", ("ma_CT",)), ("3", ("ma_CT",))):
        with h5py.File(place / f"{name}.h5", "w") as file:
            for key in keys:
                file[key] = np.ones((4, 4), dtype=np.float32)
    return tmp_path


def test_finds_slices_with_their_metals(folder) -> None:
    (found,) = find_slices(folder)
    assert (found.name, found.metals) == ("patient/slice", (0, 3))
    assert found.clean("image")[0].shape == (4, 4)
    assert found.metal(3, "ma_CT")[0].dtype == np.float32


def test_says_what_is_missing(folder, tmp_path) -> None:
    (found,) = find_slices(folder)
    with pytest.raises(InputError, match="has no array 'poly_sinogram'; it holds image, poly_CT"):
        found.clean("poly_sinogram")
    with pytest.raises(InputError, match="is no folder"):
        find_slices(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no slice"):
        find_slices(tmp_path / "empty")
    (folder / "patient" / "slice" / "3.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputError, match="no readable HDF5"):
        found.metal(3, "ma_CT")


def test_masks_are_resized_as_pillow_does(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is the oracle of this test")
    random = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    masks = np.stack(
        [(x - cx) ** 2 + (y - cy) ** 2 < r**2 for cx, cy, r in random.uniform(20, 400, (4, 3)) * (1, 1, 0.2)], axis=-1
    ).astype(np.uint8)
    np.save(tmp_path / "masks.npy", masks)
    ours = read_masks(tmp_path / "masks.npy", 416)
    for k in range(4):
        theirs = np.asarray(image.fromarray(masks[..., k]).resize((416, 416), image.Resampling.BILINEAR))
        assert np.array_equal(ours[..., k], theirs)


def test_masks_of_the_right_size_stay(tmp_path) -> None:
    masks = (np.random.default_rng(0).random((416, 416, 2)) < 0.1).astype(np.uint8)
    np.save(tmp_path / "masks.npy", masks)
    assert np.array_equal(read_masks(tmp_path / "masks.npy"), masks)
    np.save(tmp_path / "flat.npy", masks[..., 0])
    with pytest.raises(InputError, match=r"must be \[height, width, n\]"):
        read_masks(tmp_path / "flat.npy")
    with pytest.raises(InputError, match="holds no metal masks"):
        read_masks(tmp_path / "absent.npy")
