"""Trained networks as correction methods: tiny networks with random weights, made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")

from ctrestoration import registry  # noqa: E402
from ctrestoration.acquisition import Acquisition  # noqa: E402
from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.correct import _torch_runners as runners  # noqa: E402
from ctrestoration.errors import Cancelled, CTRestorationWarning, InputError  # noqa: E402
from ctrestoration.io.images import read_volume, write_volume  # noqa: E402
from ctrestoration.jobs.outcome import DataRefusedError  # noqa: E402
from ctrestoration.models import catalog  # noqa: E402
from ctrestoration.models.methods import FLIPS  # noqa: E402
from ctrestoration.models.weights import save_weights  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.physics.fbp import fbp  # noqa: E402
from ctrestoration.simulate.metal import simulate_metal  # noqa: E402
from ctrestoration.training.data.cases import Scan  # noqa: E402
from ctrestoration.training.sources import scans  # noqa: E402
from ctrestoration.volume import AIR_HU, Grid, Volume  # noqa: E402

KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "image": ("unet", {"widths": [2, 4], "in_channels": 1}, {}),
    "prior": ("unet", {"widths": [2, 4], "in_channels": 4},
              {"inputs": ["input", "nmar", "li", "metal"], "added_to": "nmar"}),
    "dictionary": ("dicdnet", {"stages": 1, "blocks": 1}, {}),
    "dual": ("indudonet", {"stages": 1, "blocks": 1}, {}),
    "guided": ("guided", {"prior_widths": [2, 4], "refine_widths": [2, 4]}, {}),
    "rounds": ("guided", {"prior_widths": [2, 4], "refine_widths": [2, 4], "rounds": 3, "last_widths": [2, 2]}, {}),
    "sparse": ("indudonet", {"stages": 1, "blocks": 1, "prior": "nmar"}, {"every_nth_view": 4}),
    "plus": ("indudonet", {"stages": 1, "blocks": 1, "prior": "nmar"}, {}),
}  # fmt: skip


def weights(folder: Path, kind: str, **about: Any) -> Path:
    name, options, facts = KINDS[kind]
    torch.manual_seed(1)
    network = build_network(name, options)
    path = folder / f"{kind}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    described = {"name": kind, "task": "mar", "network": {"name": name, "options": options}, **facts, **about}
    save_weights(network, path, described, "# card")
    return path


@pytest.fixture(scope="module")
def volume() -> tuple[Volume, np.ndarray]:
    """Five slices of an oval patient; metal in slices 1 to 3."""
    y, x = np.mgrid[-24:24, -24:24]
    hu = np.full((5, 48, 48), -1000, dtype=np.float32)
    hu[:, (x / 21.0) ** 2 + (y / 16.0) ** 2 < 1] = 40
    metal = np.zeros(hu.shape, dtype=np.float32)
    for z in (1, 2, 3):
        metal[z, 20:24, 16 + z : 20 + z] = 1
    return Volume(hu, Grid.from_parts(hu.shape, (3.2, 3.2, 3.0)), "oval"), metal


@pytest.fixture(scope="module")
def acquisition(volume: tuple[Volume, np.ndarray]) -> Acquisition:
    return simulate_metal(volume[0], {"titanium": volume[1]}, preset="adn-256", seed=1).acquisition


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_corrects_metal_slices_and_nothing_else(kind: str, acquisition: Acquisition, tmp_path: Path) -> None:
    method = registry.get("mar", str(weights(tmp_path, kind)))
    assert method.name == kind
    found = method.restore(acquisition)
    before, after = acquisition.image.array, found.image.array
    assert found.image.grid == acquisition.image.grid
    assert np.array_equal(after[[0, 4]], before[[0, 4]])
    assert np.array_equal(after[acquisition.metal], before[acquisition.metal]), "metal is back"
    outside = ~acquisition.metal
    assert all((after[z] != before[z])[outside[z]].any() for z in (1, 2, 3))
    assert np.isfinite(after).all()
    assert found.provenance["slices_corrected"] == [1, 2, 3]
    assert found.uncertainty is None
    assert found.synthesized is not None
    assert found.synthesized.any()
    assert not found.synthesized[acquisition.metal].any()
    assert np.array_equal(after, method.restore(acquisition).image.array), "to the bit"
    part = method.restore(acquisition.part(2, 3)).image.array
    assert np.array_equal(part, after[2:4]), "a slice does not depend on what is corrected beside it"


@pytest.mark.parametrize("kind", ["dual", "guided", "rounds", "plus"])
def test_the_sinogram_outside_the_trace_is_the_measured_one(
    kind: str, acquisition: Acquisition, tmp_path: Path
) -> None:
    answer, _ = registry.get("mar", str(weights(tmp_path, kind))).open(acquisition).slice(2)
    measured, trace = acquisition.sinogram[2], acquisition.trace[2]
    assert answer.sinogram.dtype == np.float32
    assert np.array_equal(answer.sinogram[~trace].view(np.uint32), measured[~trace].view(np.uint32))
    assert (answer.sinogram[trace] != measured[trace]).any()


def test_line_integrals_of_the_image_itself_are_completed_once(
    acquisition: Acquisition, volume: tuple[Volume, np.ndarray], tmp_path: Path
) -> None:
    hu, metal = volume
    projected = Acquisition.from_image(hu.replaced(hu.array + 3000 * metal), metal > 0, preset="adn-256")

    def images(rounds: int) -> list[np.ndarray]:
        name, options, _ = KINDS["guided"]
        network = {"name": name, "options": {**options, "rounds": rounds}}
        method = registry.get("mar", str(weights(tmp_path / str(rounds), "guided", network=network)))
        return [method.restore(one).image.array for one in (projected, acquisition)]

    once, thrice = images(1), images(3)
    assert np.array_equal(once[0], thrice[0])
    assert not np.array_equal(once[1], thrice[1])


def test_a_network_that_changes_nothing_gives_back_the_image_it_adds_to(
    acquisition: Acquisition, tmp_path: Path
) -> None:
    name, options, facts = KINDS["prior"]
    network = build_network(name, options)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    path = tmp_path / "zero.safetensors"
    save_weights(network, path, {"task": "mar", "network": {"name": name, "options": options}, **facts}, "")
    found = registry.get("mar", str(path)).restore(acquisition).image.array
    nmar = registry.get("mar", "nmar").restore(acquisition).image.array
    changed = ~acquisition.metal & acquisition.trace.any(axis=(1, 2))[:, None, None]
    np.testing.assert_allclose(found[changed], np.maximum(nmar[changed], -1024), atol=1e-3)


def test_uncertainty_says_what_it_is_and_does_not_move_the_image(acquisition: Acquisition, tmp_path: Path) -> None:
    for kind in ("prior", "dictionary", "dual"):
        path = weights(tmp_path / "run" / "weights", kind)
        method = registry.get("mar", str(path))
        found = method.with_uncertainty().restore(acquisition)
        assert np.array_equal(found.image.array, method.restore(acquisition).image.array)
        assert found.provenance["uncertainty"] == "flip ensemble of 4 mirrored copies"
        spread = found.uncertainty.array
        assert spread[2].max() > 0
        assert not spread[[0, 4]].any()
        assert not spread[acquisition.metal].any()
    for epoch in range(3):
        torch.manual_seed(epoch)
        name, options, _ = KINDS["dual"]
        early = tmp_path / "run" / "snapshots" / f"warm-{epoch:04d}.safetensors"
        early.parent.mkdir(exist_ok=True)
        save_weights(build_network(name, options), early, {}, "")
    found = registry.get("mar", str(path)).with_uncertainty().restore(acquisition)
    assert found.provenance["uncertainty"] == "snapshot ensemble of 3 early epochs"
    assert found.uncertainty.array[2].max() > 0


@pytest.mark.parametrize(
    ("kind", "preset", "every"), [("dictionary", "adn-256", 1), ("plus", "clinical", 1), ("sparse", "adn-256", 4)]
)
def test_unrolled_networks_see_in_use_what_they_see_in_training(
    kind: str, preset: str, every: int, volume: tuple[Volume, np.ndarray], tmp_path: Path
) -> None:
    patient, metal = volume
    grid = patient.grid.crop((2, 0, 0), (3, 48, 48))
    simulation = simulate_metal(Volume(patient.array[2:3], grid), {"titanium": metal[2:3]}, preset=preset, seed=1)
    settings = scans.Config(name="scans", size=48, pixel_mm=3.2, preset=preset, nmar=True, every_nth_view=every)
    trained = settings.create()._arrays(Scan(metal[2], simulation))
    acquisition = simulation.acquisition.every_nth_view(every)
    assert np.array_equal(trained["input"], np.maximum(acquisition.image.array[0], AIR_HU))
    runner = runners.open_runner(weights(tmp_path, kind), acquisition, "cpu")
    batch = runner.prepare(0)
    assert torch.equal(batch["li"][0, 0], torch.from_numpy(trained["li"]))
    assert torch.equal(batch["kept"][0, 0], torch.from_numpy(trained["kept"]))
    if kind != "dictionary":
        assert torch.equal(batch["prior"][0, 0], torch.from_numpy(trained["prior"]))
        for name in ("sinogram", "sinogram_li"):
            seen = runner.operator.to_network(torch.from_numpy(trained[name])[None, None])
            assert torch.allclose(batch[name], seen, rtol=1e-5)
    assert trained["li"][metal[2] > 0.5].mean() < 500, "tissue, not metal"
    assert trained["sinogram"].shape == trained["target_sinogram"].shape
    assert len(trained["sinogram"]) == acquisition.geometry.n_views * every
    filled = fbp(
        trained["sinogram_li"][::every], acquisition.geometry, acquisition.image_grid, window=acquisition.fbp_window,
        mode=acquisition.fbp_mode,
    )  # fmt: skip
    np.testing.assert_allclose(trained["li"], (filled / acquisition.mu_water - 1.0) * 1000.0, atol=0.5)


def test_views_that_were_not_measured_are_filled_in(acquisition: Acquisition, tmp_path: Path) -> None:
    sparse = acquisition.every_nth_view(4)
    assert sparse.geometry.n_views == acquisition.geometry.n_views // 4
    np.testing.assert_allclose(sparse.geometry.angles, acquisition.geometry.angles[::4])
    runner = runners.open_runner(weights(tmp_path, "sparse"), sparse, "cpu")
    batch = runner.prepare(2)
    assert batch["kept"].shape[2] == acquisition.geometry.n_views
    assert not batch["kept"][0, 0, 1].any()
    answer = runner.run(runner.network, batch, 2)
    assert np.array_equal(answer.sinogram[~sparse.trace[2]], sparse.sinogram[2][~sparse.trace[2]])
    assert np.isfinite(answer.image).all()
    with pytest.raises(InputError, match="320 views every n-th can be kept where n divides them, not 7"):
        acquisition.every_nth_view(7)


def test_mirrored_copies_are_the_same_problem(acquisition: Acquisition, tmp_path: Path) -> None:
    """With filters that are mirror images of themselves, every member of the flip ensemble says the same."""
    method = registry.get("mar", str(weights(tmp_path, "dual")))
    runner = runners.open_runner(method.path, acquisition, "cpu")
    with torch.inference_mode():
        for module in runner.network.modules():
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
                w = module.weight
                module.weight = torch.nn.Parameter((w + w.flip(-1) + w.flip(-2) + w.flip(-1, -2)) / 4)
        batch = runner.prepare(2)
        plain, *others = [runner.run(runner.network, batch, 2, flip).image for flip in FLIPS]
    assert all(np.abs(other - plain).max() < 0.5 for other in others)
    assert np.ptp(plain) > 100


def test_dual_domain_networks_see_bodies_as_large_as_in_training(acquisition: Acquisition, tmp_path: Path) -> None:
    """The same scan with all lengths doubled and attenuation halved is the same problem."""
    from dataclasses import replace

    from ctrestoration.physics.geometry import ImageGrid

    old = acquisition.geometry
    geometry = replace(old, source_distance=2 * old.source_distance, detector_distance=2 * old.detector_distance)
    grid = ImageGrid(acquisition.image_grid.shape, tuple(2 * step for step in acquisition.image_grid.spacing))
    larger = replace(acquisition, geometry=geometry, image_grid=grid, sinogram=2 * acquisition.sinogram)
    method = registry.get("mar", str(weights(tmp_path, "dual")))
    before, after = (method.restore(each).image.array for each in (acquisition, larger))
    np.testing.assert_allclose(after, before, atol=0.5)


@pytest.mark.parametrize("kind", ["prior", "dictionary", "plus"])
def test_a_clinical_ct_without_sinogram_is_corrected(kind: str, acquisition: Acquisition, tmp_path: Path) -> None:
    clinical = Acquisition.from_image(acquisition.image, acquisition.metal)
    after = registry.get("mar", str(weights(tmp_path, kind))).restore(clinical)
    assert np.isfinite(after.image.array).all()
    assert after.provenance["data"] == "projected from the image"
    assert np.array_equal(after.image.array[[0, 4]], acquisition.image.array[[0, 4]])


def test_cancel_takes_effect_between_slices(acquisition: Acquisition, tmp_path: Path) -> None:
    asked: list[float] = []
    control = Control(lambda fraction, message: asked.append(fraction), lambda: len(asked) > 1)
    with pytest.raises(Cancelled, match="correcting with image"):
        registry.get("mar", str(weights(tmp_path, "image"))).restore(acquisition, control)
    assert asked == [0.0, pytest.approx(1 / 3)]


def test_without_metal_nothing_is_even_loaded(volume: tuple[Volume, np.ndarray], tmp_path: Path) -> None:
    path = weights(tmp_path, "image")
    path.with_name(path.name + ".sha256").unlink()
    empty = Acquisition.from_image(volume[0], np.zeros(volume[0].grid.shape, dtype=bool), preset="adn-256")
    with pytest.warns(CTRestorationWarning, match="nothing to correct"):
        found = registry.get("mar", str(path)).restore(empty)
    assert np.array_equal(found.image.array, volume[0].array)


def test_files_that_cannot_be_used_are_refused_in_one_sentence(acquisition: Acquisition, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights file"):
        registry.get("mar", str(tmp_path / "absent.safetensors"))
    with pytest.raises(InputError, match="task 'lowdose', not 'mar'"):
        registry.get("mar", str(weights(tmp_path, "image", task="lowdose")))
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(DataRefusedError, match="was not written by ctrestoration"):
        registry.get("mar", str(foreign))
    path = weights(tmp_path, "image")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataRefusedError, match="SHA-256"):
        registry.get("mar", str(path)).restore(acquisition)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no usable NVIDIA GPU"):
            registry.get("mar", str(weights(tmp_path, "image"))).on_device("cuda")


def test_the_command_corrects_with_a_weights_file(
    volume: tuple[Volume, np.ndarray], acquisition: Acquisition, tmp_path: Path
) -> None:
    pytest.importorskip("SimpleITK", reason="volumes are read by SimpleITK")
    ct, out, spread = (str(tmp_path / f"{name}.nii.gz") for name in ("ct", "out", "spread"))
    write_volume(acquisition.image, ct)
    path = weights(tmp_path, "prior")
    words = ["correct", ct, out, "--method", str(path), "--threshold", "2000", "--device", "cpu"]
    assert main([*words, "--uncertainty", spread]) == 0
    assert read_volume(out).grid == read_volume(ct).grid
    assert read_volume(spread, hu_offset=0).array.max() > 0


LISTING = """
import sys
from pathlib import Path
from ctrestoration.models import catalog
catalog.SHIPPED = Path(sys.argv[1])
from ctrestoration import registry
assert "image" in registry.methods("mar"), sorted(registry.methods("mar"))
assert "other" not in registry.methods("mar")
registry.get("mar", "image").on_device("auto").with_uncertainty()
assert not {"torch", "safetensors"} & set(sys.modules)
"""


def test_a_network_is_usable_where_its_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = registry.get("mar", str(weights(tmp_path, "image")))
    assert registry.usable(method)
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert not registry.usable(method)
    assert registry.usable(registry.get("mar", "nmar"))


def test_shipped_weights_are_methods_and_listing_them_needs_no_torch(tmp_path: Path) -> None:
    weights(tmp_path, "image")
    weights(tmp_path, "dual", name="other", task="lowdose")
    ended = subprocess.run([sys.executable, "-c", LISTING, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert catalog.shipped_files() == sorted(catalog.SHIPPED.glob("*.safetensors"))
