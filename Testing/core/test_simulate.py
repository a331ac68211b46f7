"""Simulation: parity with the public benchmark, physics that must hold, and bad input."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest

from ctrestoration.control import Control
from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.materials import Material, material, material_names, mixture
from ctrestoration.physics.noise import detected, poisson
from ctrestoration.physics.polychromatic import polychromatic, water_correction
from ctrestoration.physics.spectra import spectrum, spectrum_names
from ctrestoration.physics.tissues import tissues
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume


@pytest.fixture(scope="module")
def patient() -> Volume:
    y, x = np.mgrid[-40:40, -48:48]
    hu = np.full((3, 80, 96), -1000, dtype=np.float32)
    hu[:, (x / 42.0) ** 2 + (y / 34.0) ** 2 < 1] = 40
    hu[:, x**2 + (y - 10) ** 2 < 6**2] = 600
    return Volume(hu, Grid.from_parts(hu.shape, (3.0, 3.0, 3.0)), "oval")


@pytest.fixture(scope="module")
def bolt(patient) -> np.ndarray:
    fraction = np.zeros(patient.grid.shape, dtype=np.float32)
    fraction[1, 45:55, 46:50] = 1
    return fraction


def test_water_correction_is_the_published_one() -> None:
    assert water_correction(spectrum("adn-120")).coefficients == pytest.approx(
        (0.80370341, 0.02301414, -0.0008444), abs=2e-8
    )


@pytest.mark.parametrize("name", spectrum_names())
def test_water_correction_makes_water_linear(name) -> None:
    beam = spectrum(name)
    thickness = np.linspace(0.0, 6.0, 50).astype(np.float32)  # line integrals at 70 keV
    back = water_correction(beam)(polychromatic({"water": thickness}, beam))
    assert np.abs(back - thickness).max() < 0.06
    assert beam.weights.sum() == pytest.approx(1.0)
    assert beam.energies.max() <= beam.kvp


def test_attenuation_at_70_kev_is_nist() -> None:
    for name, expected in (("water", 0.1929), ("cortical bone", 0.2570), ("titanium", 0.5361), ("iron", 0.8164)):
        assert material(name).mass_attenuation(70.0)[0] == pytest.approx(expected, rel=2e-3)
    for name, expected in (("316L", 0.856), ("CoCrMo", 0.939), ("Ti6Al4V", 0.520)):
        assert material(name).mass_attenuation(70.0)[0] == pytest.approx(expected, rel=6e-3)
    assert material("gold").density == 19.3
    assert material("STEEL").name == "316L"
    assert sum(share for _, share in material("PEEK").mass_fractions) == pytest.approx(1.0, abs=1e-3)
    assert all(material(name).attenuation(60.0) > 0 for name in material_names())


def test_beam_hardening_only_lowers_line_integrals_of_metal() -> None:
    path = np.linspace(0.1, 5.0, 20).astype(np.float32)
    hardened = polychromatic({"titanium": path}, spectrum("adn-120"))
    slope = np.diff(hardened) / np.diff(path)
    assert (np.diff(slope) < 0).all()


def test_tissues_sum_to_the_image_and_part_at_the_published_limits() -> None:
    hu = np.array([-3000.0, -1000.0, 0.0, 100.0, 800.0, 1500.0, 2500.0], dtype=np.float32)
    water, bone = tissues(hu, 0.0192).values()
    np.testing.assert_allclose(water + bone, 0.0192 * (1 + np.maximum(hu, -1000) / 1000), rtol=1e-6, atol=1e-9)
    assert (bone[:4] == 0).all()
    assert (water[5:] == 0).all()
    assert 0 < bone[4] < water[4] + bone[4]


def test_four_tissues_are_themselves_at_their_own_ct_numbers() -> None:
    names = ["adipose", "muscle", "trabecular bone", "cortical bone"]
    at_70 = [float(material(name).attenuation(70.0)[0]) for name in names]
    water = float(material("water").attenuation(70.0)[0])
    own = np.array([1000 * (mu / water - 1) for mu in at_70])
    parts = tissues(own, water, "four-tissues")
    shares = np.stack([parts[name] / mu for name, mu in zip(names, at_70, strict=True)])
    np.testing.assert_allclose(shares, np.eye(4), atol=1e-5)
    hu = np.linspace(-1100, 3000, 500)
    mixed = tissues(hu, water, "four-tissues")
    np.testing.assert_allclose(sum(mixed.values()), water * (1 + np.maximum(hu, -1000) / 1000), rtol=1e-5, atol=1e-8)
    assert all((part >= 0).all() for part in mixed.values())
    assert (np.stack(list(mixed.values())) > 0).sum(axis=0).max() <= 2
    with pytest.raises(InputError, match="choose water-bone, four-tissues"):
        tissues(hu, water, "five")


def test_mixtures_add_volumes() -> None:
    contrast = material("iodine 10 mg/ml")
    assert contrast.density == pytest.approx(1.0 + 0.01 * (1 - 1 / 4.93))
    assert sum(share for _, share in contrast.mass_fractions) == pytest.approx(1.0)
    expected = (1 - 0.01 / 4.93) * material("water").attenuation(60.0) + 0.01 / 4.93 * material("iodine").attenuation(
        60.0
    )
    np.testing.assert_allclose(contrast.attenuation(60.0), expected, rtol=1e-6)
    jump = contrast.mass_attenuation([33.0, 33.5])
    assert jump[1] > 1.15 * jump[0]  # the K edge of iodine at 33.2 keV
    assert material("iodine 5 mg/ml in fat").name == "iodine 5 mg/ml in adipose"
    nested = mixture("both", {"iodine 10 mg/ml": 1.0, "muscle": 1.0})
    assert nested.density == pytest.approx(0.5 * (contrast.density + 1.05))


def test_materials_that_cannot_be_are_refused() -> None:
    for words, make in (
        ("density of lead foam must be above 0", lambda: Material("lead foam", -1.0, "metal")),
        ("shares of at least 0", lambda: mixture("half", {"water": -0.5, "muscle": 1.5})),
        ("shares of at least 0", lambda: mixture("nothing", {})),
        (r"must lie in 0\.\.4930 mg/ml", lambda: material("iodine 9999 mg/ml")),
        ("Unknown material 'vodka'", lambda: material("iodine 3 mg/ml in vodka")),
    ):
        with pytest.raises(InputError, match=words):
            make()


def test_noise_has_the_variance_of_counts() -> None:
    ideal = np.full((400, 500), 3.0, dtype=np.float32)
    noisy = detected(ideal, 4096.0, 0.0, (1, 2))
    assert noisy.var() == pytest.approx(np.exp(3.0) / 4096.0, rel=0.02)
    assert np.array_equal(noisy, detected(ideal, 4096.0, 0.0, (1, 2)))
    assert not np.array_equal(noisy, detected(ideal, 4096.0, 0.0, (1, 3)))


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 49.9, 50.1, 700.0, 2e7])
def test_counts_are_quantiles_of_the_poisson_distribution(mean) -> None:
    from scipy.stats import norm
    from scipy.stats import poisson as exact

    count = 20000 if mean < 1e4 else 2000  # scipy's quantile of large counts is slow
    counts = poisson(np.full(count, mean), np.random.default_rng(5))
    share = norm.cdf(np.random.default_rng(5).standard_normal(count))
    expected = np.maximum(exact.ppf(share, mean), 0) if mean else np.zeros(count)
    assert (counts != expected).mean() < 2e-3
    assert np.abs(counts - expected).max() <= 1


def test_nearly_equal_expectations_get_nearly_equal_noise() -> None:
    mean = np.random.default_rng(1).uniform(0.0, 3000.0, 20000)
    first, second = (poisson(mean * scale, np.random.default_rng(2)) for scale in (1.0, 1.0 + 1e-7))
    assert (first != second).mean() < 1e-3
    assert np.abs(first - second).max() <= 1


def test_metal_leaves_other_slices_and_untouched_rays_alone(patient, bolt) -> None:
    simulation = simulate_metal(patient, {"Ti6Al4V": bolt}, seed=3)
    acquisition = simulation.acquisition
    assert np.array_equal(acquisition.image.array[[0, 2]], simulation.reference.array[[0, 2]])
    assert not acquisition.trace[[0, 2]].any()
    assert acquisition.trace[1].any()
    assert acquisition.image.array[1][bolt[1] == 1].min() > 2500
    plain = simulate_metal(patient, {}, seed=3)
    outside = ~acquisition.trace[1]
    difference = np.abs(acquisition.sinogram[1] - plain.acquisition.sinogram[1])[outside]
    assert difference.max() < 0.02  # the same tissue, another draw of photons at most


def test_result_does_not_depend_on_the_slices_beside_it(patient, bolt) -> None:
    whole = simulate_metal(patient, {"Ti": bolt}, seed=3)
    again = simulate_metal(patient, {"Ti": bolt}, seed=3)
    assert np.array_equal(whole.acquisition.sinogram, again.acquisition.sinogram)
    other = simulate_metal(patient, {"Ti": bolt}, seed=4)
    assert not np.array_equal(whole.acquisition.sinogram, other.acquisition.sinogram)
    json.dumps(whole.settings, allow_nan=False)


def test_contrast_agent_belongs_to_the_patient(patient, bolt) -> None:
    vessel = np.zeros(patient.grid.shape, dtype=np.float32)
    vessel[:, 50:58, 26:34] = 1
    simulation = simulate_metal(patient, {"Ti": bolt, "iodine 8 mg/ml": vessel}, photons=None)
    acquisition, enhancement = simulation.acquisition, simulation.truth.array - patient.array
    inside = vessel > 0
    assert enhancement[inside].mean() == pytest.approx(170, abs=20)  # some 26 HU per mg/ml at 70 keV, less 40 HU
    assert np.abs(enhancement[~inside]).max() < 1e-3
    assert simulation.reference.array[0, 52:56, 28:32].mean() > 150
    assert not acquisition.trace[[0, 2]].any()
    assert np.array_equal(acquisition.metal, bolt >= 0.5)
    with pytest.raises(InputError, match="sum above 1"):
        simulate_metal(patient, {"Ti": bolt, "PEEK": bolt})


@pytest.mark.parametrize("name", [*material_names(), "iodine 12 mg/ml"])
def test_every_material_can_be_scanned(patient, bolt, name) -> None:
    one = Volume(patient.array[1:2], Grid.from_parts((1, *patient.grid.shape[1:]), patient.grid.spacing), "one")
    casts = material(name).kind in ("metal", "ceramic")
    simulation = simulate_metal(one, {name: bolt[1:2]}, preset="adn-256", tissue_model="four-tissues")
    assert np.isfinite(simulation.acquisition.image.array).all()
    assert simulation.acquisition.trace.any() == casts
    assert (simulation.truth.array is one.array or np.array_equal(simulation.truth.array, one.array)) == casts


def test_partial_volume_at_the_edge_can_be_left_out(patient, bolt) -> None:
    soft = simulate_metal(patient, {"Ti": bolt}, photons=None)
    hard = simulate_metal(patient, {"Ti": bolt}, photons=None, metal_edge=1.0)
    changed = soft.acquisition.sinogram != hard.acquisition.sinogram
    assert changed.any()
    assert not changed[~soft.acquisition.trace].any()
    runs = changed[1].sum(axis=1)
    assert runs[soft.acquisition.trace[1].any(axis=1)].max() <= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"implants": {"kryptonite": None}}, "Unknown material 'kryptonite': known ones are water"),
        ({"fill": 1.5}, r"must lie in 0\.\.1"),
        ({"fill": -0.5}, r"must lie in 0\.\.1"),
        ({"twice": True}, "sum above 1"),
        ({"shape": True}, "fractions have shape"),
        ({"preset": "gantry"}, "Unknown scanner preset 'gantry': known ones are syndeeplesion-640"),
        ({"spectrum": "90"}, "Unknown spectrum '90'"),
        ({"photons": 0.0}, "Photons per bin"),
        ({"scatter": -1.0}, "Scatter must lie"),
        ({"tissue_model": "five"}, "Unknown tissue model 'five'"),
        ({"foton": 1.0}, "Unknown simulation setting 'foton'"),
    ],
)
def test_bad_input_is_one_sentence(patient, bolt, change, words) -> None:
    change = dict(change)
    implants = {"Ti": bolt}
    if "implants" in change:
        implants = dict.fromkeys(change.pop("implants"), bolt)
    if "fill" in change:
        implants = {"Ti": bolt * np.float32(change.pop("fill"))}
    if change.pop("twice", False):
        implants = {"Ti": bolt, "gold": bolt}
    if change.pop("shape", False):
        implants = {"Ti": bolt[:1]}
    with pytest.raises(InputError, match=words):
        simulate_metal(patient, implants, **change)


def test_energy_outside_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="from 10 to 140 keV"):
        material("water").mass_attenuation(150.0)


def test_cancel_stops_between_slices(patient, bolt) -> None:
    seen = []
    with pytest.raises(Cancelled):
        simulate_metal(
            patient, {"Ti": bolt}, control=Control(lambda f, m: seen.append(f), cancel=lambda: len(seen) >= 2)
        )
    assert len(seen) == 2


def test_parity_with_the_public_benchmark(shared_data) -> None:
    """The spec's targets on the stored slice: sinogram 0.0005 rms, LI image 55 dB, artifact image 48 dB."""
    import h5py

    folder = shared_data / "syndeeplesion/train/000321_03_01/011"
    masks = np.load(shared_data / "syndeeplesion/train/masks.npy")
    with h5py.File(folder / "gt.h5") as file:
        mu, stored = np.rot90(file["image"][:]), file["poly_sinogram"][:]
    volume = Volume(((mu - 0.192) / 0.192 * 1000)[None], Grid.from_parts((1, 416, 416), (1.0, 1.0, 1.0)))
    clean = simulate_metal(volume, {}, photons=None).acquisition.sinogram[0]
    assert np.sqrt(np.mean((clean - stored) ** 2)) <= 0.0005
    k = 1
    metal = np.rot90(masks[..., k]).astype(np.float32)[None]
    acquisition = simulate_metal(volume, {"titanium": metal}, fbp_mode="odl-compat").acquisition
    with h5py.File(folder / f"{k}.h5") as file:
        ma, li, trace = file["ma_CT"][:], file["LI_CT"][:], file["metal_trace"][:] > 0
    assert not (trace & ~acquisition.trace[0]).any()
    assert (acquisition.trace[0] & ~trace).sum() <= 10
    completed = interpolate_trace(acquisition.sinogram[0], acquisition.trace[0])
    ours_li = np.rot90(fbp(completed, acquisition.geometry, acquisition.image_grid, mode="odl-compat"), -1) * 10
    ours_ma = np.rot90(0.192 * (1 + acquisition.image.array[0] / 1000), -1)
    assert _psnr(ours_li, li, masks[..., k]) >= 55
    assert _psnr(ours_ma, ma, masks[..., k]) >= 48


def _psnr(image: np.ndarray, reference: np.ndarray, metal: np.ndarray) -> float:
    error = (np.clip(image, 0, 0.5) - np.clip(reference, 0, 0.5)) * (metal == 0) / 0.5
    return float(-10 * np.log10(np.mean(error**2)))


@pytest.mark.parametrize("preset", ["syndeeplesion-640", "adn-256", "aapm-ctmar", "lodopab", "clinical"])
def test_every_preset_gives_water_back(preset) -> None:
    y, x = np.mgrid[-32:32, -32:32]
    hu = np.where(x**2 + y**2 < 20**2, 0.0, -1000.0).astype(np.float32)[None]
    volume = Volume(hu, Grid.from_parts(hu.shape, (4.0, 4.0, 3.0)), "water")
    image = simulate_metal(volume, {}, preset=preset, photons=None).reference.array[0]
    assert abs(image[26:38, 26:38].mean()) < 8
    assert image[:4].mean() < -980


def test_the_clinical_scanner_has_a_standard_kernel_and_says_so() -> None:
    """A ramp alone turns two screws into a moire of streaks all over the patient; no clinical picture looks so."""
    y, x = np.mgrid[-48:48, -48:48]
    volume = Volume(np.where(x**2 + y**2 < 40**2, 40.0, -1000.0)[None], Grid.from_parts((1, 96, 96), (3.0, 3.0, 3.0)))
    metal = np.zeros((1, 96, 96), dtype=np.float32)
    metal[0, 60:66, 40:43] = metal[0, 60:66, 54:57] = 1.0
    far = (x**2 + y**2 < 35**2) & (y < -5)
    spread = {}
    for window in (None, "ram-lak"):
        chosen = {} if window is None else {"fbp_window": window}
        scan = simulate_metal(volume, {"titanium": metal}, preset="clinical", photons=None, **chosen)
        assert scan.acquisition.fbp_window == scan.settings["fbp_window"] == (window or "hann")
        spread[window] = float((scan.acquisition.image.array - scan.reference.array)[0][far].std())
    assert spread[None] < 0.7 * spread["ram-lak"]
    assert simulate_metal(volume, {"titanium": metal}, photons=None).acquisition.fbp_window == "ram-lak"


def test_truncation_is_said_with_its_share(patient) -> None:
    wide = Volume(patient.array, Grid.from_parts(patient.grid.shape, (8.0, 8.0, 3.0)), "wide")
    with pytest.warns(UserWarning, match="the scan is truncated") as caught:
        simulate_metal(wide, {}, preset="aapm-ctmar", photons=None)
    (said,) = (str(one.message) for one in caught if "truncated" in str(one.message))
    share, field = re.match(
        r"([\d.]+) % of the patient lies outside the scanner's field of view of (\d+) mm", said
    ).groups()
    y, x = 8.0 * (np.indices(patient.grid.shape[1:]) - [[[39.5]], [[47.5]]])
    missed = (patient.array[0] > -500) & (np.hypot(x, y) > float(field) / 2)
    assert float(share) == pytest.approx(100 * missed.sum() / (patient.array[0] > -500).sum(), abs=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate_metal(patient, {}, preset="aapm-ctmar", photons=None)


def test_a_detector_too_coarse_is_said_with_the_finest_detail() -> None:
    fine = Volume(np.zeros((1, 600, 600), dtype=np.float32) - 1000, Grid.from_parts((1, 600, 600), (0.3, 0.3, 3.0)))
    with pytest.warns(UserWarning, match="Nyquist's theorem") as caught:
        scan = simulate_metal(fine, {}, preset="adn-256", photons=None).acquisition
    bins, pixel = scan.geometry.bin_width, min(scan.image_grid.spacing)
    (said,) = (str(one.message) for one in caught if "Nyquist" in str(one.message))
    assert f"{bins:.2g} mm wide at the isocenter, the pixels {pixel:.2g} mm" in said
    assert f"cannot resolve details under {2 * bins:.2g} mm" in said, "two samples for each period"


def test_scatter_and_electronic_noise_shade_and_roughen() -> None:
    ideal = np.full((50, 200), 6.0, dtype=np.float32)
    ideal[:, :60] = 0.0
    plain = detected(ideal, 1e6, 0.0, (1,))
    scattered = detected(ideal, 1e6, 0.0, (1,), scatter_ratio=0.05)
    assert scattered[:, 70].mean() < plain[:, 70].mean() - 0.5  # beside the bright field the shadow fills up
    assert scattered[:, 199].mean() > scattered[:, 70].mean()
    electronic = detected(ideal, 1e6, 0.0, (1,), electronic=200.0)
    assert electronic[:, 150:].std() > 2 * plain[:, 150:].std()
