"""Finding the spine: by labels, by shape, from points; and choosing a lumbar slab."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ctrestoration.anatomy.labels import LEVEL_ID
from ctrestoration.anatomy.phantom import Phantom, spine_phantom
from ctrestoration.anatomy.spine import LevelPoints, choose_lumbar_slab, load_points, save_points, segment_spine
from ctrestoration.anatomy.spine.fallback import level_names
from ctrestoration.anatomy.spine.from_labels import level_in_name
from ctrestoration.anatomy.spine.totalsegmentator import find_totalsegmentator
from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.implants.planner import plan_screws
from ctrestoration.volume import Grid, LabelMap, Volume


@lru_cache(maxsize=1)
def phantom() -> Phantom:
    return spine_phantom(size=(84, 128, 128), spacing=(1.5, 1.5, 2.0), seed=4)


def vertebrae(numbers: dict[int, int] | None = None, names: dict[int, str] | None = None) -> LabelMap:
    """The phantom's vertebrae, renumbered."""
    source = phantom().labels
    array = np.where((source.array >= 26) & (source.array <= 50), source.array, 0)
    if numbers:
        array = np.array([numbers.get(value, 0) for value in range(51)])[array]
    return LabelMap(array, source.grid, names or {}, "test labels")


def test_labels_by_totalsegmentator_number():
    found = segment_spine(phantom().volume, labels=vertebrae())
    assert found.method == "labels"
    assert [level.name for level in found.levels] == list(phantom().truth.levels)
    assert set(phantom().truth.complete_levels) == set(found.complete_levels)
    assert np.array_equal(found.labels.array > 0, vertebrae().array > 0)


def test_labels_by_verse_number():
    verse = {LEVEL_ID[level]: 20 + n for n, level in enumerate(("L1", "L2", "L3", "L4", "L5"))}
    found = segment_spine(phantom().volume, labels=vertebrae(verse))
    assert "VerSe" in found.notes[0]
    assert set(np.unique(found.labels.array)) - {0} <= set(verse)


def test_labels_by_name_whatever_their_numbers():
    names = {1: "Th12 vertebra", 2: "vertebrae_L1", 3: "L2", 4: "disc L2-L3", 5: "L3"}
    numbers = {LEVEL_ID["L1"]: 2, LEVEL_ID["L2"]: 3, LEVEL_ID["L3"]: 5, LEVEL_ID["L4"]: 4}
    found = segment_spine(phantom().volume, labels=vertebrae(numbers, names))
    assert [level.name for level in found.levels] == ["L1", "L2", "L3"]


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("vertebrae_L3", "L3"), ("T12", "T12"), ("Th7", "T7"), ("L5 vertebra", "L5"), ("vertebra C2", "C2"),
        ("vertebrae_S1", "S1"), ("disc_below_L3", None), ("rib_left_1", None), ("liver", None), ("VL3x", None),
    ],
)  # fmt: skip
def test_levels_in_names(name: str, level: str | None):
    assert level_in_name(name) == level


def test_labels_in_another_orientation_are_turned():
    source = vertebrae()
    affine = source.grid.affine.copy()
    affine[:3, 2] *= -1
    affine[:3, 3] = source.grid.to_world([0, 0, source.grid.shape[0] - 1])
    flipped = LabelMap(source.array[::-1], Grid(source.grid.shape, affine), {}, "flipped")
    found = segment_spine(phantom().volume, labels=flipped)
    assert np.array_equal(found.labels.array, source.array)


def test_volumes_stored_along_other_axes_give_the_same_vertebrae():
    volume = phantom().volume
    affine = volume.grid.affine[:, [2, 0, 1, 3]]
    turned = Volume(volume.array.transpose(1, 2, 0), Grid((128, 128, 84), affine), "turned")
    straight, found = segment_spine(volume, method="fallback"), segment_spine(turned, method="fallback")
    assert np.array_equal(found.labels.array, straight.labels.array.transpose(1, 2, 0))
    assert np.allclose(found.canal_line, straight.canal_line)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (lambda: vertebrae({}, {29: "liver"}), "names no vertebra: it holds .*liver"),
        (lambda: vertebrae({29: 117, 30: 118}), "which do not tell vertebrae"),
        (lambda: LabelMap(np.zeros(phantom().volume.grid.shape), phantom().volume.grid, {}, "nothing"), "is empty"),
        (lambda: LabelMap(np.ones((4, 4, 4)), Grid.from_parts((4, 4, 4)), {}, "other"), "another grid"),
        (lambda: vertebrae(names={29: "L3", 30: "Vertebra L3"}), "two segments for L3"),
    ],
)
def test_labels_that_do_not_fit_are_explained(labels, sentence: str):
    with pytest.raises(InputError, match=sentence):
        segment_spine(phantom().volume, labels=labels())


def test_the_fallback_finds_single_vertebrae_and_the_canal():
    found = segment_spine(phantom().volume, method="fallback")
    truth = phantom().labels.array
    matched = []
    for level in found.levels:
        mask = found.labels.array == level.label
        number = int(np.bincount(truth[mask & (truth >= 26) & (truth <= 50)]).argmax())
        dice = 2 * (mask & (truth == number)).sum() / (mask.sum() + (truth == number).sum())
        matched.append((number, dice))
    numbers = [number for number, _ in matched]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers) >= 4
    assert np.median([dice for _, dice in matched]) > 0.78
    canal = phantom().sublabels.array == 4
    assert 2 * (canal & found.canal).sum() / (canal.sum() + found.canal.sum()) > 0.7
    assert [level.name for level in found.levels][:2] == ["vertebra 1", "vertebra 2"]
    assert any("does not tell the levels" in note for note in found.notes)


def test_a_crop_keeps_names_and_marks_what_it_cuts():
    whole = segment_spine(phantom().volume, labels=vertebrae())
    level = next(level for level in whole.levels if level.name == "L3")
    rows = np.flatnonzero((whole.labels.array == level.label).any(axis=(1, 2)))
    kept = whole.cropped(int(rows[0]) - 1, int(rows[-1]) + 2)
    assert kept.complete_levels == ("L3",)
    assert next(found for found in kept.levels if found.name == "L3").center == level.center
    assert np.allclose(kept.labels.grid.to_world([0, 0, 0]), whole.labels.grid.to_world([0, 0, rows[0] - 1]))
    assert 0 < len(kept.canal_line) < len(whole.canal_line)
    assert not whole.cropped(int(rows[0]) + 1, int(rows[-1])).complete_levels
    with pytest.raises(InputError, match="no range"):
        whole.cropped(5, 5)


def test_naming_one_vertebra_names_the_others():
    assert level_names(3, (2, "L1")) == ["T12", "L1", "L2"]
    for named, sentence in (
        ((5, "L1"), "no vertebra 5"),
        ((1, "X"), "Unknown vertebral level"),
        ((1, "S1"), "beyond C1 or S1"),
    ):
        with pytest.raises(InputError, match=sentence):
            level_names(3, named)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.full((20, 40, 40), -1000.0), "no spinal canal"),
        (np.full((20, 40, 40), 40.0), "no spinal canal"),
        (np.full((1, 40, 40), 40.0), "1 slices over 3 mm are too few"),
    ],
)
def test_volumes_without_a_spine_are_refused(array: np.ndarray, sentence: str):
    volume = Volume(array, Grid.from_parts(array.shape, (3, 3, 3)), "scan")
    with pytest.raises(InputError, match=sentence):
        segment_spine(volume, method="fallback")


def test_methods_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    volume = phantom().volume
    with pytest.raises(InputError, match="choose one of auto, labels"):
        segment_spine(volume, method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a segmentation"):
        segment_spine(volume, method="labels")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="TotalSegmentator is not installed"):
        segment_spine(volume, method="totalsegmentator")


def test_totalsegmentator_is_never_run_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "TotalSegmentator"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    found, reason = find_totalsegmentator()
    assert found is None
    assert "nothing is downloaded unasked" in reason
    (tmp_path / "nnunet" / "results" / "Dataset292_TotalSegmentator_part2_vertebrae_1532subj").mkdir(parents=True)
    assert find_totalsegmentator() == (str(program), "")
    with pytest.raises(InputError, match="failed with code 1"):
        segment_spine(phantom().volume, method="totalsegmentator")


def test_totalsegmentator_s_result_is_read_where_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A stand-in for the program: it checks its words and answers with the phantom's labels."""
    from ctrestoration.io.images import write_labels

    write_labels(vertebrae(), tmp_path / "answer.nii.gz")
    program = tmp_path / "TotalSegmentator"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, shutil, sys\n"
        "words = sys.argv\n"
        "assert '--ml' in words and 'vertebrae_L3' in words and os.path.isfile(words[words.index('-i') + 1])\n"
        f"shutil.copy({str(tmp_path / 'answer.nii.gz')!r}, words[words.index('-o') + 1])\n"
    )
    program.chmod(0o755)
    (tmp_path / "nnunet" / "results" / "Dataset292_TotalSegmentator_part2_vertebrae_1532subj").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    found = segment_spine(phantom().volume)
    assert found.method == "totalsegmentator"
    assert np.array_equal(found.labels.array, vertebrae().array)
    with pytest.raises(Cancelled):
        segment_spine(phantom().volume, control=Control(cancel=lambda: True))


def test_the_lumbar_slab_lies_where_the_lumbar_spine_is():
    start, stop, sentence = choose_lumbar_slab(phantom().volume, thickness_mm=40)
    assert stop - start == 20
    assert "were chosen" in sentence
    with pytest.raises(InputError, match="either a thickness"):
        choose_lumbar_slab(phantom().volume)
    with pytest.raises(InputError, match="no lumbar slab"):
        choose_lumbar_slab(Volume(np.zeros((9, 30, 30)), Grid.from_parts((9, 30, 30), (3, 3, 3)), "water"), slices=3)


def test_three_points_give_frame_axes_and_width():
    level = phantom().truth.levels["L3"]
    left, right = (np.array(level.pedicles[side].isthmus) for side in ("left", "right"))
    front = np.array(level.center) - 0.5 * level.body_size[1] * np.array(level.posterior)
    points = LevelPoints(front, left, right)
    assert np.degrees(np.arccos(points.axes[:, 0] @ np.array(level.left))) < 12
    for side in ("left", "right"):
        _, direction = points.pedicle_axis(side)
        assert np.degrees(np.arccos(direction @ np.array(level.pedicles[side].direction))) < 20
        assert points.pedicle_width(phantom().volume, side) == pytest.approx(level.pedicles[side].width, abs=3.5)
    with pytest.raises(InputError, match="swap them"):
        LevelPoints(front, right, left)
    with pytest.raises(InputError, match="apart"):
        LevelPoints(front, left, left)
    with pytest.raises(InputError, match="three finite coordinates"):
        LevelPoints(front, left, np.array([np.nan, 0, 0]))


def _pointed_at(names: tuple[str, ...] = ("L2", "L3")) -> dict[str, LevelPoints]:
    """Points as somebody might click them: a millimeter or so off."""
    rng = np.random.default_rng(5)
    out = {}
    for name in names:
        level = phantom().truth.levels[name]
        front = np.array(level.center) - 0.5 * level.body_size[1] * np.array(level.posterior)
        clicked = (front, *(np.array(level.pedicles[side].isthmus) for side in ("left", "right")))
        out[name] = LevelPoints(*(point + rng.normal(0, 0.7, 3) for point in clicked))
    return out


def test_three_points_a_level_cut_out_the_vertebra_and_lead_the_planner(tmp_path: Path):
    points = _pointed_at()
    save_points(points, tmp_path / "points.json")
    read = load_points(tmp_path / "points.json")
    assert all(np.array_equal(read[name].anterior, points[name].anterior) for name in points)
    found = segment_spine(phantom().volume, points=read)
    assert found.method == "points"
    assert found.complete_levels == ("L2", "L3")
    assert found.canal.any()
    truth = phantom().labels.array
    for level in found.levels:
        mask, same = found.labels.array == level.label, truth == level.label
        assert 2 * (mask & same).sum() / (mask.sum() + same.sum()) > 0.7
    plan = plan_screws(found)
    assert len(plan.screws) == 4
    for screw in plan.screws:
        pedicle = phantom().truth.levels[screw.level].pedicles[screw.side]
        way = (np.array(screw.target) - screw.entry) / screw.length_mm
        offset = np.array(pedicle.isthmus) - screw.entry
        assert np.linalg.norm(offset - (offset @ way) * way) < 2.5  # passes the true isthmus
        assert screw.canal_mm > 0, "it is negative in the canal"


def test_points_that_do_not_fit_are_explained(tmp_path: Path):
    points = _pointed_at()
    with pytest.raises(InputError, match="L3 was pointed at above L2"):
        segment_spine(phantom().volume, points={"L2": points["L3"], "L3": points["L2"]})
    with pytest.raises(InputError, match="Unknown vertebral level 'L9'"):
        segment_spine(phantom().volume, points={"L9": points["L3"]})
    far = np.array([0.0, 0.0, 900.0])
    away = LevelPoints(
        *(p + far for p in (points["L3"].anterior, points["L3"].left_isthmus, points["L3"].right_isthmus))
    )
    with pytest.raises(InputError, match="lies outside the CT"):
        segment_spine(phantom().volume, points={"L3": away})
    with pytest.raises(InputError, match="choose one of them"):
        segment_spine(phantom().volume, labels=phantom().labels, points=points)
    with pytest.raises(InputError, match="needs three points"):
        segment_spine(phantom().volume, method="points")
    with pytest.raises(InputError, match="does not exist"):
        load_points(tmp_path / "absent.json")
    file = tmp_path / "points.json"
    for text, sentence in (
        ("{", "is not JSON"),
        ('{"levels": {}}', "holds no level points"),
        ('{"format": "ctrestoration level points", "levels": {}}', "No level was pointed at"),
        (
            '{"format": "ctrestoration level points", "levels": {"L3": {"anterior": [0, 0, 0]}}}',
            "L3: expected the three",
        ),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=sentence):
            load_points(file)


@pytest.mark.real_data
def test_a_real_abdomen_is_parted_into_vertebrae(shared_data: Path):
    from ctrestoration.io.images import read_volume

    volume = read_volume(shared_data / "volumes" / "tcga_ov_abdomen.nii.gz")
    found = segment_spine(volume, method="fallback")
    heights = [level.center[2] for level in found.levels]
    assert 10 <= len(heights) <= 13
    assert all(20 < step < 40 for step in -np.diff(heights))
    assert all(25 < level.volume_ml < 110 for level in found.levels)
    assert found.above_sacrum == len(found.levels)
    start, stop, sentence = choose_lumbar_slab(volume, slices=40)
    assert start >= 50
    assert stop <= 110
    assert "above the sacrum" in sentence


@pytest.mark.real_data
def test_real_labels_are_read(shared_data: Path):
    from ctrestoration.io.images import read_volume
    from ctrestoration.io.labels import read_labels

    folder = shared_data / "volumes"
    volume = read_volume(folder / "totalseg_example_ct_sm.nii.gz")
    found = segment_spine(volume, labels=read_labels(folder / "totalseg_example_ct_sm_SEG.nii.gz"))
    assert [level.name for level in found.levels] == ["T11", "T12", "L1", "L2"]
    assert found.complete_levels == ("L1",)
    shape = segment_spine(volume, method="fallback")
    best = max(
        2 * ((shape.labels.array == level.label) & (found.labels.array == 31)).sum()
        / ((shape.labels.array == level.label).sum() + (found.labels.array == 31).sum())
        for level in shape.levels
    )  # fmt: skip
    assert best > 0.8
