"""Organs by a network: the shipped segmenter on a phantom that it never saw, and tiny networks made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")

from ctrestoration import registry  # noqa: E402
from ctrestoration.anatomy.organs import (  # noqa: E402
    class_names,
    scanner_of,
    segment_organs,
    segmenter_header,
    training_pixel_mm,
)
from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.errors import Cancelled, InputError  # noqa: E402
from ctrestoration.io.images import read_labels, write_volume  # noqa: E402
from ctrestoration.models.catalog import find_model  # noqa: E402
from ctrestoration.models.weights import save_weights  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.simulate.lowdose import simulate_lowdose  # noqa: E402
from ctrestoration.training.data.lowdose_cases import labeled_phantom  # noqa: E402
from ctrestoration.volume import Grid, Volume  # noqa: E402

SIMULATED = {"pixel_mm": 4.0, "size": 32, "classes": {"lesion": [2], "liver": [1]}}


def weights(folder: Path, simulation: dict[str, Any] | None = SIMULATED, **about: Any) -> Path:
    """A network whose classes are those of a threshold at 500 HU, as far as batch normalization lets it."""
    torch.manual_seed(1)
    options = {"widths": [2, 4], "out_channels": 3, "norm": "none"}
    facts = {"name": "tiny", "task": "segmentation", "labels": [0, 1, 2], "input": "image in HU / 1000, one slice",
             "provenance": {"data": {"simulation": simulation}},
             "network": {"name": "unet", "options": options}, **about}  # fmt: skip
    network = build_network("unet", options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for block in (network.down[0], network.up[0]):
            block[0].weight[0, -2 if block is network.up[0] else 0, 1, 1] = 1.0
            block[2].weight[0, 0, 1, 1] = 1.0
        # Decoder channels are those of below, then the skip's; its first sees the image where that is above 0 HU.
        network.head.weight[1, 0] = 2.0
        network.head.bias[1] = -1.0
    save_weights(network, folder / "tiny.safetensors", facts, "# card")
    return folder / "tiny.safetensors"


def block_ct(spacing: float = 2.0) -> tuple[Volume, np.ndarray[Any, Any]]:
    """Water with a block of 1000 HU in its first slice."""
    array = np.full((3, 40, 48), -1000.0, dtype=np.float32)
    array[:, 4:36, 4:44] = 0.0
    array[0, 10:22, 14:34] = 1000.0
    return Volume(array, Grid.from_parts(array.shape, (spacing, spacing, 5.0), (7.0, -3.0, 11.0)), "block"), array > 500


def test_the_shipped_segmenter_finds_the_liver_on_other_pixels_and_in_any_order_of_axes() -> None:
    patient = labeled_phantom(990, 120, 2.6)
    some = slice(14, 20)
    volume = patient.volume.part((some, slice(None), slice(None)))
    truth = patient.labels[some]
    found = segment_organs(volume)
    assert found.pixel_mm == pytest.approx(3.4)
    assert found.labels.names == {1: "liver", 2: "lesion"}
    assert found.labels.grid == volume.grid
    overlap = 2 * ((found.labels.array == 1) & (truth == 1)).sum()
    assert overlap / ((found.labels.array == 1).sum() + (truth == 1).sum()) > 0.85
    assert found.volumes_ml["liver"] == pytest.approx((truth == 1).sum() * volume.grid.voxel_mm3 / 1000, rel=0.15)

    affine = volume.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (volume.grid.shape[0] - 1)
    affine[:3, 0] *= -1
    turned = Volume(np.transpose(volume.array, (1, 2, 0))[..., ::-1], Grid((120, 120, 6), affine), "turned")
    again = segment_organs(turned).labels
    assert again.grid == turned.grid
    assert np.array_equal(again.array, np.transpose(found.labels.array, (1, 2, 0))[..., ::-1])


@pytest.mark.parametrize(("spacing", "simulation"), [(2.0, SIMULATED), (6.0, SIMULATED), (2.0, None)])
def test_classes_come_back_to_the_voxels_they_were_seen_in(tmp_path: Path, spacing: float, simulation: Any) -> None:
    volume, block = block_ct(spacing)
    found = segment_organs(volume, weights(tmp_path, simulation), device="cpu")
    assert found.resampled == (simulation is not None)
    assert found.pixel_mm == pytest.approx(4.0 if simulation else 2.0)
    wrong = (found.labels.array == 1) != block
    assert not wrong[1:].any()
    rim = np.zeros_like(block)
    rim[0, 8:24, 12:36] = True
    rim[0, 12:20, 16:32] = False
    assert not (wrong & ~rim).any(), "further from the block's edge than a pixel of the training"
    assert simulation is not None or not wrong.any()


def test_the_command_writes_names_and_tells_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, _ = block_ct()
    ct, out = str(tmp_path / "ct.nii.gz"), str(tmp_path / "out.seg.nrrd")
    write_volume(volume, ct)
    path = str(weights(tmp_path, classes=["bone", "nail"]))
    assert main(["segment", "organs", ct, out, "--weights", path, "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    labels = read_labels(out, volume.grid)
    assert labels.names == {1: "bone"}
    assert told["volumes_ml"]["bone"] == pytest.approx((labels.array == 1).sum() * 20 / 1000)
    assert told["volumes_ml"]["nail"] == 0
    assert main(["segment", "organs", ct, out, "--weights", path, "--device", "cpu"]) == 0
    assert "pixels of 4 mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"task": "mar"}, "holds weights for the task 'mar', not 'segmentation'"),
        ({"task": "classification"}, "'classification', not 'segmentation'"),
        ({"labels": [0, 1]}, "2 classes, the network answers (1, 3,"),
    ],
)
def test_other_weights_are_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], about: Any, sentence: str
) -> None:
    ct, out = str(tmp_path / "ct.nii.gz"), tmp_path / "out.nii.gz"
    write_volume(block_ct()[0], ct)
    assert main(["segment", "organs", ct, str(out), "--weights", str(weights(tmp_path, **about))]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len([line for line in error.splitlines() if line.startswith("ctrestoration:")]) == 1
    assert not out.exists()


def test_what_cannot_be_segmented_is_refused(tmp_path: Path) -> None:
    volume, _ = block_ct()
    with pytest.raises(InputError, match="liver-segmenter"):
        segment_organs(volume, "spleen-segmenter")
    with pytest.raises(InputError, match="no weights file"):
        segment_organs(volume, tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="task 'reconstruction'"):
        segment_organs(volume, "lowdose-liver")
    with pytest.raises(InputError, match="holds no patient"):
        segment_organs(volume.replaced(np.full_like(volume.array, -1000)), weights(tmp_path))


def test_a_cancel_takes_effect_between_slices(tmp_path: Path) -> None:
    seen: list[str] = []
    control = Control(lambda fraction, message: seen.append(message), lambda: "Segmenting with tiny" in seen)
    with pytest.raises(Cancelled):
        segment_organs(block_ct()[0], weights(tmp_path), control=control)
    assert seen.count("Segmenting with tiny") == 1


def test_the_window_and_unlabeled_classes_are_those_of_the_training(tmp_path: Path) -> None:
    volume, block = block_ct()
    # 0.5 lies at 1500 HU in this window: nothing is found. The second says the same in the words of older headers.
    for about in ({"window": [0, 3000]}, {"input": "image, (0.0, 3000.0) HU to 0..1"}):
        assert not segment_organs(volume, weights(tmp_path, **about)).labels.array.any()
    assert segment_organs(volume, weights(tmp_path, window=[-1000, 2000])).labels.array.any()
    left_out = segment_organs(volume, weights(tmp_path, labels=[0, None, 2]))
    assert not left_out.labels.array.any()
    assert list(left_out.volumes_ml) == ["lesion"]
    assert block.any()


def test_what_headers_say() -> None:
    def header(**simulation: Any) -> dict[str, Any]:
        return {"labels": [0, 1, 2], "provenance": {"data": {"simulation": simulation or None}},
                "training": {"data": {"train": {"pixel_mm": 2.5}}}}  # fmt: skip

    assert class_names(header(classes={"lesion": [2], "liver": [1]})) == {1: "liver", 2: "lesion"}
    assert class_names(header(classes={"lesion": [26], "liver": [5, 26]})) == {1: "class_1", 2: "class_2"}
    assert class_names({**header(), "classes": ["liver", "lesion"]}) == {1: "liver", 2: "lesion"}
    assert training_pixel_mm(header(pixel_mm=3.4)) == 3.4
    assert training_pixel_mm(header()) == 2.5, "simulated while training"
    assert training_pixel_mm({"labels": [0, 1]}) is None


def test_the_shipped_networks_help_a_phantom_of_their_training() -> None:
    """A low dose by the scanner of the training, of a patient that was not in it."""
    about = segmenter_header(find_model("liver-segmenter"))
    size, pixel_mm = 96, training_pixel_mm(about)
    patient = labeled_phantom(7001, size, pixel_mm)
    slices = np.flatnonzero((patient.labels == 1).any(axis=(1, 2)))[::3]
    grid = Grid.from_parts((len(slices), size, size), (pixel_mm, pixel_mm, 15.0))
    truth = patient.labels[slices] == 1
    scan = simulate_lowdose(Volume(patient.volume.array[slices], grid), **scanner_of(about, size))
    assert scan.acquisition.geometry.n_bins == 136

    def scores(image: Volume) -> tuple[float, float]:
        found = segment_organs(image).labels.array == 1
        dice = 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))
        return dice, float(np.sqrt(np.mean((image.array - scan.truth.array) ** 2)))

    low = scores(scan.acquisition.image)
    for name in ("lowdose-base", "lowdose-liver"):
        dice, error = scores(registry.get("reconstruction", name).restore(scan.acquisition).image)
        assert dice > low[0] + 0.01, name
        assert error < 0.6 * low[1], name
    assert scores(scan.truth)[0] > 0.93
