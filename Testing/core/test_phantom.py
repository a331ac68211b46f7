"""The procedural phantom: what it promises about its truth, its labels and its bits."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from ctrestoration.anatomy import labels as names
from ctrestoration.anatomy.phantom import Phantom, PhantomOptions, spine_phantom
from ctrestoration.anatomy.phantom.texture import scan_noise
from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, InputError

BARE = PhantomOptions(noise_hu=0, table=False)


@lru_cache(maxsize=4)
def small(seed: int = 1, region: str = "lumbar", **options: object) -> Phantom:
    """A crop around the spine at 2 mm."""
    settings = PhantomOptions(noise_hu=0, table=False, **options)  # type: ignore[arg-type]
    return spine_phantom(size=(72, 80, 80), spacing=(2, 2, 2), seed=seed, region=region, options=settings)


def test_same_seed_gives_the_same_bits_and_another_seed_another_patient():
    settings = {"size": (12, 48, 48), "spacing": (6.0, 6.0, 6.0)}
    one, again, other = (spine_phantom(seed=seed, **settings) for seed in (5, 5, 6))
    assert np.array_equal(one.volume.array, again.volume.array)
    assert np.array_equal(one.labels.array, again.labels.array)
    assert one.truth.to_json() == again.truth.to_json()
    assert not np.array_equal(one.labels.array, other.labels.array)


def test_a_patient_is_the_same_on_another_grid():
    coarse = spine_phantom(size=(24, 40, 40), spacing=(4, 4, 4), seed=3, options=BARE)
    fine = small(seed=3)
    both = set(coarse.truth.levels) & set(fine.truth.levels)
    assert "L3" in both
    for level in both:
        assert coarse.truth.levels[level].pedicles == fine.truth.levels[level].pedicles


def test_the_truth_is_json_and_names_seed_and_parameters():
    truth = json.loads(json.dumps(small().truth.to_json(), allow_nan=False))
    assert truth["parameters"]["seed"] == 1
    assert 28 <= truth["parameters"]["patient"]["age"] <= 84
    assert set(truth["levels"]["L3"]["pedicles"]) == {"left", "right"}


@pytest.mark.parametrize("region", ["lumbar", "thoracic"])
def test_the_pedicle_axis_runs_through_bone_from_entry_to_body_and_misses_the_canal(region: str):
    phantom = small(region=region)
    assert len(phantom.truth.complete_levels) >= 2
    for name in phantom.truth.complete_levels:
        for side, pedicle in phantom.truth.levels[name].pedicles.items():
            isthmus, direction = np.array(pedicle.isthmus), np.array(pedicle.direction)
            path = isthmus + np.linspace(-6, 14, 21)[:, None] * direction
            assert phantom.truth.bone_distance(name, path).max() < -1.0, (name, side)
            assert phantom.truth.canal_distance(path).min() > 0.8, (name, side)
            assert abs(phantom.truth.bone_distance(name, [pedicle.entry])[0]) < 0.25
            assert (isthmus - phantom.truth.levels[name].center) @ phantom.truth.levels[name].left * (
                1 if side == "left" else -1
            ) > 0


def test_the_isthmus_is_the_narrowest_part_of_the_pedicle():
    phantom = small(region="thoracic")
    assert len(phantom.truth.complete_levels) >= 2
    for name in phantom.truth.complete_levels:
        for pedicle in phantom.truth.levels[name].pedicles.values():
            t = np.array([-5.0, 0.0, 5.0])
            path = np.array(pedicle.isthmus) + t[:, None] * np.array(pedicle.direction)
            room = -phantom.truth.bone_distance(name, path)
            assert room[1] <= room[0] + 0.35
            assert room[1] <= room[2] + 0.35
            assert room[1] == pytest.approx(min(pedicle.width, pedicle.height) / 2, abs=0.6)


def test_bone_distance_agrees_with_the_labels():
    phantom = small()
    name = phantom.truth.complete_levels[0]
    level = phantom.truth.levels[name]
    index = np.argwhere(ndimage.binary_dilation(phantom.labels.array == level.label, iterations=2))
    points = phantom.volume.grid.to_world(index[:, ::-1])
    distance = phantom.truth.bone_distance(name, points)
    inside = phantom.labels.array[tuple(index.T)] == level.label
    assert (inside == (distance <= 0))[np.abs(distance) > 0.3].mean() > 0.985  # facets that touch go to the lower one
    outside = ~inside & (distance > 1)
    nearest = ndimage.distance_transform_edt(phantom.labels.array != level.label, sampling=2.0)
    assert np.abs(nearest[tuple(index[outside].T)] - distance[outside]).mean() < 1.2  # voxel centers are 2 mm apart


def test_canal_distance_agrees_with_the_canal_label():
    phantom = small()
    canal = np.argwhere(phantom.sublabels.array == 4)
    points = phantom.volume.grid.to_world(canal[:, ::-1])
    assert (phantom.truth.canal_distance(points) < 0.1).mean() > 0.99
    center = phantom.truth.levels["L3"].canal_center
    assert phantom.truth.canal_distance([center])[0] == pytest.approx(
        -0.5 * min(phantom.truth.levels["L3"].canal_size), abs=0.8
    )


@pytest.mark.parametrize("seed", range(20, 25))
@pytest.mark.parametrize(("region", "spacing"), [("lumbar", (3.0, 3.0, 3.0)), ("thoracic", (1.5, 1.5, 3.0))])
def test_every_complete_vertebra_closes_a_ring_around_the_canal(seed: int, region: str, spacing: tuple):
    size = (40, round(150 / spacing[1]), round(110 / spacing[0]))
    phantom = spine_phantom(size=size, spacing=spacing, seed=seed, region=region, options=BARE)
    canal = phantom.sublabels.array == 4
    assert phantom.truth.complete_levels
    for name in phantom.truth.complete_levels:
        bone = phantom.labels.array == phantom.truth.levels[name].label
        rings = [ndimage.binary_fill_holes(plane) & ~plane for plane in bone]
        areas = [(hole & here).sum() * spacing[0] * spacing[1] for hole, here in zip(rings, canal, strict=True)]
        assert max(areas) > 80, name


def test_cut_levels_are_marked_and_labels_carry_totalsegmentator_numbers():
    phantom = small()
    edge = np.ones(phantom.labels.array.shape, dtype=bool)
    edge[1:-1, 1:-1, 1:-1] = False
    for name, level in phantom.truth.levels.items():
        touches = bool((phantom.labels.array[edge] == level.label).any())
        assert not (touches and level.complete), name
    assert phantom.truth.levels["L3"].label == 29
    assert phantom.labels.names[29] == "vertebrae_L3"
    assert set(np.unique(phantom.labels.array)) - {0} == set(phantom.labels.names)


def test_sublabels_part_each_vertebra_into_body_pedicles_and_posterior_elements():
    phantom = small()
    assert len(phantom.truth.complete_levels) >= 2
    for name in phantom.truth.complete_levels:
        level = phantom.truth.levels[name]
        bone = phantom.labels.array == level.label
        parts = np.bincount(phantom.sublabels.array[bone], minlength=5)
        assert parts[0] == 0
        assert parts[1] > parts[3] > parts[2] > 0
        for pedicle in level.pedicles.values():
            index = np.rint(phantom.volume.grid.to_index(pedicle.isthmus)).astype(int)[::-1]
            assert phantom.sublabels.array[tuple(index)] == 2


def test_tissues_have_their_hounsfield_units():
    phantom = spine_phantom(
        size=(40, 80, 80), spacing=(5, 5, 5), seed=2, region="T12",
        options=PhantomOptions(contrast=True, noise_hu=0, fat_mm=30, lesions=3),
    )  # fmt: skip

    def mean(name: str) -> float:
        mask = ndimage.binary_erosion(phantom.labels.array == names.NAME_ID[name])
        assert mask.any(), name
        return float(phantom.volume.array[mask].mean())

    assert mean("subcutaneous_fat") == pytest.approx(-100, abs=8)
    assert 85 < mean("liver") < 115
    assert mean("lung_left") < -700
    assert 90 < mean("spleen") < 120
    assert 130 < mean("aorta") < 175
    assert 120 < mean("vertebrae_L1") < 450
    assert len(phantom.truth.lesions) >= 1
    for lesion in phantom.truth.lesions:
        index = np.rint(phantom.volume.grid.to_index(lesion["center"])).astype(int)[::-1]
        if (index >= 0).all() and (index < phantom.lesions.array.shape).all():
            assert phantom.lesions.array[tuple(index)] == lesion["label"]


def test_options_change_what_they_name():
    young, old = (small(seed=8, age=age).truth.parameters["patient"] for age in (25, 90))
    assert young["trabecular_hu"] > old["trabecular_hu"] + 50
    straight = small(seed=8, scoliosis_deg=0.0, warp_mm=0.0)
    bent = small(seed=8, scoliosis_deg=40.0, warp_mm=0.0)
    x = [[level.center[0] for level in phantom.truth.levels.values()] for phantom in (straight, bent)]
    assert np.ptp(x[0]) < 0.5 < 5 < np.ptp(x[1])
    narrow = small(seed=8, pedicle_scale=0.5)
    widths = [phantom.truth.levels["L2"].pedicles["left"].width for phantom in (small(seed=8), narrow)]
    assert widths[1] < 0.65 * widths[0]


def test_image_noise_has_the_asked_strength_and_no_white_spectrum():
    noise = scan_noise((6, 128, 128), (0.8, 0.8, 2.0), 15.0, np.random.default_rng(0))
    assert noise.std() == pytest.approx(15, rel=0.03)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128, 0.8), np.fft.fftfreq(128, 0.8)))
    low, middle, high = (
        power[(frequency > a) & (frequency < b)].mean() for a, b in ((0, 0.03), (0.15, 0.25), (0.5, 0.6))
    )
    assert low < 0.5 * middle
    assert high < 0.2 * middle


def test_one_slice_is_a_volume_too():
    phantom = spine_phantom(size=(1, 64, 64), spacing=(3, 3, 3), seed=1)
    assert phantom.volume.array.shape == (1, 64, 64)
    assert not phantom.truth.complete_levels


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": (0, 4, 4)}, "size must be three numbers"),
        ({"spacing": (0.0, 1.0, 1.0)}, "spacing must be three lengths"),
        ({"seed": -1}, "seed must be an integer"),
        ({"region": "neck"}, "Unknown region 'neck'"),
    ],
)
def test_bad_settings_are_named(settings: dict, sentence: str):
    with pytest.raises(InputError, match=sentence):
        spine_phantom(**{"size": (4, 8, 8), "spacing": (4, 4, 4), **settings})


def test_bad_patients_are_named():
    with pytest.raises(InputError, match=r"age must lie in 18\.\.95"):
        PhantomOptions(age=7)
    with pytest.raises(InputError, match="'female' or 'male'"):
        PhantomOptions(sex="x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no T3"):
        small().truth.bone_distance("T3", [[0, 0, 0]])


def test_cancel_stops_the_work():
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        spine_phantom(size=(8, 32, 32), spacing=(8, 8, 8), control=Control(cancel=lambda: next(calls) > 1))
