"""What the combo boxes of Simulate and Correct offer: (word for the command line, title, tooltip), from the core."""

from __future__ import annotations

from typing import Any

Choice = tuple[str, str, str]

WINDOWS: tuple[tuple[str, float, float], ...] = (
    ("Soft tissue", -160.0, 240.0),
    ("Bone", -500.0, 1300.0),
    ("Lung", -1350.0, 150.0),
    ("Metal", -1000.0, 8000.0),
    ("Benchmark", -1000.0, 1604.0),
)
"""Windows of the comparison: (title, low, high) in HU."""


def materials() -> list[Choice]:
    """What an implant can be made of."""
    from ctrestoration.physics.materials import material, material_names

    names = [name for kind in ("metal", "ceramic") for name in material_names(kind)]
    return [(name, name[0].upper() + name[1:], f"{material(name).density:.3g} g/cm3") for name in names]


def presets() -> list[Choice]:
    """Scanners; true-scale ones first."""
    from ctrestoration.physics.presets import PRESETS

    ordered = sorted(PRESETS.values(), key=lambda preset: preset.name != "clinical")
    return [(preset.name, preset.name, preset.source) for preset in ordered]


def spectra() -> list[Choice]:
    """Tube spectra."""
    from ctrestoration.physics.spectra import spectrum, spectrum_names

    found = []
    for name in spectrum_names():
        beam = spectrum(name)
        title = f"{beam.kvp:g} kVp" + (" (benchmark)" if name.startswith("adn") else ", tungsten")
        found.append((name, title, f"Mean energy {beam.mean_energy:.0f} keV. {beam.source}"))
    return found


def fbpModes() -> list[Choice]:
    """How the simulated data are reconstructed."""
    return [
        ("", "As the scanner does", "The preset's own reconstruction"),
        ("exact", "Exact", "Fan-beam filtered backprojection with its exact weights"),
        ("odl-compat", "As ODL does", "As the public benchmarks reconstruct"),
    ]


def fbpWindows() -> list[Choice]:
    """Filter windows, sharp to smooth."""
    from ctrestoration.physics import fbp

    windows = [(name, name, "Filter window of the reconstruction") for name in fbp.WINDOWS]
    return [("", "As the scanner does", "The preset's own filter window"), *windows]


def methods() -> list[Choice]:
    """Every registered method of metal artifact reduction; none of them is computed with here."""
    from ctrestoration import registry

    return [(name, f"{found.title} ({name})", found.reference) for name, found in registry.methods("mar").items()]


def methodNamed(name: str) -> Any:
    """The registered method, None for a name of another installation."""
    from ctrestoration import registry

    return registry.methods("mar").get(name)


def devices(method: Any, torchInstalled: bool) -> tuple[list[Choice], str]:
    """Where a method can compute, and why there is no choice ("" = there is one)."""
    every: list[Choice] = [
        ("auto", "Automatic", "The GPU where it works, else the CPU"),
        ("cpu", "CPU", "Slower, always there"),
        ("cuda", "GPU (CUDA)", "Needs an NVIDIA GPU that works with PyTorch: see Check GPU below"),
    ]
    if method is None or not hasattr(method, "on_device"):
        return every, "This method computes on the CPU only."
    if not torchInstalled:
        return every, "PyTorch is not installed: see What is installed below."
    return every, ""


def givesUncertainty(method: Any) -> bool:
    """Whether a method says how sure it is of every voxel."""
    return bool(getattr(method, "gives_uncertainty", False))
