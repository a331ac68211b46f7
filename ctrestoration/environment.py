"""What is installed, what it is for, and whether PyTorch really computes here.

Standard library only, except in `probe`: 3D Slicer asks `packages` in its own process, and `probe` in a child.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ctrestoration._version import __version__

NUMBA_SPEEDUP = 9
"""CPU time without numba over CPU time with it, of simulating and of correcting a 512 x 512 slice with metal; measured
by `benchmarks/without_numba.py` (docs/results/jobs.md)."""

NUMBA_PURPOSE = f"simulation and classical correction on the CPU, about {NUMBA_SPEEDUP} times faster"


@dataclass(frozen=True)
class Package:
    """A library that CTRestoration can use.

    Attributes:
        name: on the Python package index.
        purpose: what it is for, to be read by a person.
        minimum: oldest version that serves, e.g. "1.26".
        required: False where everything else works without it.
        source: how Slicer gets it: "slicer" brings it along, "pip" installs it, "pytorch" is installed by the PyTorch
            extension for the computer's GPU and never by pip, "after pytorch" by pip once that is there.
    """

    name: str
    purpose: str
    minimum: str
    required: bool
    source: Literal["slicer", "pip", "pytorch", "after pytorch"] = "pip"

    @property
    def requirement(self) -> str:
        """As pip understands it."""
        return f"{self.name}>={self.minimum}"


@dataclass(frozen=True)
class Found:
    """A package as it was found here; `version` is None where it is not installed."""

    package: Package
    version: str | None

    @property
    def serves(self) -> bool:
        """Installed, and new enough."""
        return self.version is not None and _numbers(self.version) >= _numbers(self.package.minimum)

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self.package), "version": self.version, "serves": self.serves}


PACKAGES = (
    Package("numpy", "everything", "1.26", True, "slicer"),
    Package("scipy", "planning, simulation and metrics", "1.11", True, "slicer"),
    Package("SimpleITK", "reading and writing images", "2.3", True, "slicer"),
    Package("pydicom", "reading DICOM folders", "2.4", False, "slicer"),
    Package("numba", NUMBA_PURPOSE, "0.60", False),
    Package("h5py", "training pairs and public benchmark data", "3.10", False),
    Package("pydantic", "training configurations", "2.7", False),
    Package("PyYAML", "training configurations in files", "6", False),
    Package("matplotlib", "pictures in reports", "3.8", False),
    Package("torch", "correction by networks, training, and work on a GPU", "2.2", False, "pytorch"),
    Package("safetensors", "reading and writing trained weights", "0.4", False, "after pytorch"),
    Package("monai", "training of networks", "1.3", False, "after pytorch"),
)


def packages() -> list[Found]:
    """Every package of `PACKAGES` as found here, without importing any."""
    return [Found(package, installed_version(package.name)) for package in PACKAGES]


def report() -> dict[str, Any]:
    """The environment as JSON types, without importing anything."""
    return {
        "ctrestoration": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": [found.to_json() for found in packages()],
    }


def probe(size: int = 1024) -> dict[str, Any]:
    """Whether PyTorch computes on every device that it names: a real matrix product each, checked.

    Imports torch, so never call it in 3D Slicer's own process.

    Returns:
        {"torch": version or None, "cuda_build": e.g. "12.8" or None, "devices": [{"name", "title", "works",
        "milliseconds", "error"}], "verdict": one or two plain sentences}.
    """
    version = installed_version("torch")
    if version is None:
        return {"torch": None, "cuda_build": None, "devices": [], "verdict": verdict(None, None, [])}
    try:
        import torch

        names = ["cpu"]
        if torch.cuda.is_available():
            names += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        if getattr(torch.backends, "mps", None) is not None and torch.backends.mps.is_available():
            names.append("mps")
        devices = [_tried(name, size) for name in names]
        build = torch.version.cuda
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        problem = [{"name": "cpu", "title": "CPU", "works": False, "milliseconds": None, "error": _first_line(error)}]
        return {"torch": version, "cuda_build": None, "devices": problem, "verdict": verdict(version, None, problem)}
    return {"torch": version, "cuda_build": build, "devices": devices, "verdict": verdict(version, build, devices)}


def verdict(version: str | None, cuda_build: str | None, devices: list[dict[str, Any]]) -> str:
    """What the outcome of a probe means, in words for somebody who has never heard of CUDA."""
    if version is None:
        return (
            "PyTorch is not installed: classical methods work, networks do not. Install the PyTorch extension to "
            "use networks."
        )
    working = {str(device["name"]): device for device in devices if device["works"]}
    if "cpu" not in working:
        error = devices[0]["error"] if devices else "it names no device"
        return f"PyTorch {version} is broken ({error}): uninstall it, restart Slicer, and install it again."
    graphics = [device for device in devices if device["name"] != "cpu"]
    usable = [device for device in graphics if device["works"]]
    if usable:
        return f"PyTorch {version} works on {usable[0]['title']}: networks will run on the GPU."
    if graphics:
        return (
            f"PyTorch {version} sees {graphics[0]['title']} but cannot compute on it ({graphics[0]['error']}): "
            "networks will run on the CPU, slowly. Choose another computation backend in the PyTorch extension."
        )
    if cuda_build is None and platform.system() != "Darwin":
        return (
            f"PyTorch {version} is a build without GPU support: networks will run on the CPU, slowly. If this computer "
            "has an NVIDIA GPU, install a CUDA build with the PyTorch extension."
        )
    return (
        f"PyTorch {version} works, but finds no GPU that it can use: networks will run on the CPU, slowly. If there is "
        "an NVIDIA GPU, update its driver."
    )


def _tried(name: str, size: int) -> dict[str, Any]:
    import torch

    title = "the CPU" if name == "cpu" else name
    try:
        if name.startswith("cuda"):
            title = torch.cuda.get_device_name(name)
        elif name == "mps":
            title = "the Apple GPU"
        a = torch.linspace(-1, 1, size * size, device=name).reshape(size, size)
        for _ in range(2):
            start = time.perf_counter()
            product = (a @ a.T).sum().item()
            seconds = time.perf_counter() - start
        expected = float((a.double().cpu().sum(0) ** 2).sum())
        if abs(product - expected) > 1e-2 * max(abs(expected), 1.0):
            return _outcome(name, title, None, f"a wrong result, {product:g} instead of {expected:g}")
    except (RuntimeError, OSError, AssertionError, NotImplementedError) as error:
        return _outcome(name, title, None, _first_line(error))
    return _outcome(name, title, 1000 * seconds, None)


def _outcome(name: str, title: str, milliseconds: float | None, error: str | None) -> dict[str, Any]:
    rounded = None if milliseconds is None else round(milliseconds, 2)
    return {"name": name, "title": title, "works": error is None, "milliseconds": rounded, "error": error}


def installed_version(name: str) -> str | None:
    """The version of an installed package by its metadata, without importing it; None where it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3]]


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__
