"""Trained networks as reconstruction methods: tiny networks with random weights, made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")

from ctrestoration import registry  # noqa: E402
from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.errors import Cancelled, InputError  # noqa: E402
from ctrestoration.io.images import read_volume, write_volume  # noqa: E402
from ctrestoration.models.weights import save_weights  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.networks._lowdose import reconstruct_image  # noqa: E402
from ctrestoration.reconstruct.slices import acquisition_of_image  # noqa: E402
from ctrestoration.volume import Grid, Volume  # noqa: E402


def weights(folder: Path, channels: int = 1, **about: Any) -> Path:
    torch.manual_seed(1)
    options = {"widths": [2, 4] if channels == 1 else [8, 8], "in_channels": channels}
    path = folder / "tiny.safetensors"
    facts = {"name": "tiny", "task": "reconstruction", "reconstruction": "residual", "inputs": ["input"],
             "network": {"name": "unet", "options": options}, **about}  # fmt: skip
    save_weights(build_network("unet", options).eval(), path, facts, "# card")
    return path


def volume() -> Volume:
    hu = np.random.default_rng(2).normal(0, 300, (3, 20, 23)).astype(np.float32)
    return Volume(hu, Grid.from_parts(hu.shape, (2.0, 2.0, 3.0)), "noise")


@pytest.mark.parametrize("output", ["residual", "sigmoid"])
def test_a_slice_is_what_training_makes_of_it(tmp_path: Path, output: Any) -> None:
    path = weights(tmp_path, reconstruction=output)
    method = registry.get("reconstruction", str(path)).on_device("cpu")
    restored = method.restore(acquisition_of_image(volume()))
    torch.manual_seed(1)
    network = build_network("unet", {"widths": [2, 4]}).eval()
    with torch.inference_mode():
        expected = reconstruct_image(network, torch.from_numpy(np.array(volume().array[1]))[None, None], output)
    assert np.array_equal(restored.image.array[1], expected[0, 0].numpy())
    assert restored.uncertainty is None
    assert restored.provenance["settings"]["reconstruction"] == output


def test_neighbors_are_seen_in_the_order_of_training_and_repeated_at_the_ends(tmp_path: Path) -> None:
    path = weights(tmp_path, 5, slices=5)
    method = registry.get("reconstruction", str(path)).on_device("cpu")
    restored = method.restore(acquisition_of_image(volume())).image.array
    torch.manual_seed(1)
    network = build_network("unet", {"widths": [8, 8], "in_channels": 5}).eval()
    hu = torch.from_numpy(np.array(volume().array))
    with torch.inference_mode():
        for z, seen in enumerate(([0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2])):
            expected = hu[z] + 1000 * network(hu[seen][None] / 1000)[0, 0]
            assert np.allclose(restored[z], expected.numpy(), atol=1e-3)
            assert (expected - hu[z]).std() > 1
    one = method.restore(acquisition_of_image(volume().part((slice(1, 2), slice(None), slice(None)))))
    assert one.image.array.shape == (1, 20, 23)
    spread = method.with_uncertainty().restore(acquisition_of_image(volume())).uncertainty
    assert spread is not None
    assert spread.array.max() > 0
    silent = registry.get("reconstruction", str(weights(tmp_path, 3)))
    with pytest.raises(InputError, match="how many neighboring slices"):
        silent.restore(acquisition_of_image(volume()))


def test_the_uncertainty_is_that_of_mirrored_copies_and_says_so(tmp_path: Path) -> None:
    method = registry.get("reconstruction", str(weights(tmp_path)))
    plain = method.restore(acquisition_of_image(volume()))
    both = method.with_uncertainty().restore(acquisition_of_image(volume()))
    assert np.array_equal(plain.image.array, both.image.array)
    assert both.uncertainty is not None
    assert both.uncertainty.array.min() >= 0
    assert both.uncertainty.array.max() > 0
    assert "flip ensemble" in both.provenance["uncertainty"]


def test_the_command_takes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, ct = weights(tmp_path), str(tmp_path / "ct.nii.gz")
    write_volume(volume(), ct)
    out, spread = str(tmp_path / "out.nii.gz"), str(tmp_path / "spread.nii.gz")
    words = ["reconstruct", ct, out, "--method", str(path), "--device", "cpu", "--uncertainty", spread, "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["method"] == "tiny"
    assert read_volume(out).grid.mismatch(volume().grid) is None
    assert read_volume(spread, hu_offset=0.0).array.max() > 0
    assert main(["reconstruct", ct, str(tmp_path / "x.nii.gz"), "--method", "tv", "--device", "cuda"]) == 2
    assert "CPU only" in capsys.readouterr().err


def test_weights_for_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reconstructs no low-dose images"):
        registry.get("reconstruction", str(weights(tmp_path, task="mar")))
    with pytest.raises(InputError, match="no weights file"):
        registry.get("reconstruction", str(tmp_path / "nothing.safetensors"))
    several = registry.get("reconstruction", str(weights(tmp_path, inputs=["input", "nmar"])))
    with pytest.raises(InputError, match="no image alone"):
        several.restore(acquisition_of_image(volume()))


def test_a_cancel_takes_effect_between_slices(tmp_path: Path) -> None:
    seen = []

    def report(fraction: float, message: str) -> None:
        seen.append(fraction)

    method = registry.get("reconstruction", str(weights(tmp_path)))
    with pytest.raises(Cancelled):
        method.restore(acquisition_of_image(volume()), Control(report, lambda: len(seen) > 1))
    assert len(seen) < 4
