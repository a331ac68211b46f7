"""Trained networks as methods: every shipped weights file with the task "reconstruction", and any other by its path."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.models.methods import (
    FLIPS,
    WeightsMethod,
    inference,
    register_weights,
    require_torch,
    snapshots_of,
    usable_device,
)
from ctrestoration.registry import Task
from ctrestoration.restoration import Restoration


class NetworkReconstruction(WeightsMethod):
    """Reconstructs every slice with a trained network, one after the other: one slice is in memory at a time.

    Only the image is needed, no sinogram. A slice depends on its own pixels alone, or on its neighbors', too, where the
    network was trained to see them.
    """

    task: Task = "reconstruction"

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Reconstruct every slice.

        Raises:
            MissingDependencyError: torch or safetensors is not installed.
            InputError, DataRefusedError: the weights cannot be used.
            Cancelled: where the control asks to stop.
        """
        require_torch()
        work = NetworkWork(self)
        before = acquisition.image
        out = np.empty_like(before.array)
        spread = np.empty_like(before.array) if self._uncertain else None
        bars, no_metal = self.error_bars(acquisition, work.ensemble), np.zeros(before.array.shape[1:], dtype=bool)
        for z in control.track(range(len(out)), f"Reconstructing with {self.name}"):
            out[z], deviation = work.slice(before.array, z)
            if spread is not None and deviation is not None:
                spread[z] = bars.of(deviation, out[z], no_metal)
        provenance = {
            "method": self.name,
            "version": __version__,
            "settings": {key: self.about[key] for key in ("network", "slices", "reconstruction") if key in self.about},
            "weights": self.path.name,
            "uncertainty": work.ensemble,
            "interval": bars.facts(),
            "data": acquisition.provenance.get("source", "unknown"),
        }
        restored = before.replaced(out, name=f"{before.name} {self.name}", reconstruction=provenance)
        uncertainty = None
        if spread is not None:
            name = f"{before.name} {self.name} uncertainty"
            uncertainty = before.replaced(spread, name=name, reconstruction=provenance)
        return Restoration(restored, uncertainty, provenance=provenance, coverage=self.nominal_coverage)


class NetworkWork:
    """A reconstruction network at work.

    Attributes:
        ensemble: in words, what the uncertainty is the spread of; "none" where none is computed.
    """

    def __init__(self, method: NetworkReconstruction) -> None:
        from ctrestoration.models.weights import load_copies, load_network
        from ctrestoration.networks import kind_of

        network, about = load_network(method.path)
        kind = kind_of(about["network"]["name"])
        if kind != "image" or about.get("inputs", ["input"]) != ["input"]:
            raise InputError(f"{method.path} holds a network of the kind {kind!r}, which reconstructs no image alone.")
        self._slices = int(about.get("slices", 1))
        if self._slices % 2 != 1 or about["network"].get("options", {}).get("in_channels", 1) != self._slices:
            raise InputError(f"{method.path} does not say how many neighboring slices its network sees.")
        self._device = usable_device(method._device)
        self._output: Any = about.get("reconstruction", "residual")
        self._network = network.to(self._device).requires_grad_(False)
        self._members: list[tuple[Any, tuple[int, ...]]] = []
        self.ensemble = "none"
        if method._uncertain:
            early = [one.to(self._device) for one in load_copies(snapshots_of(method.path), network)]
            if early:
                self._members = [(one, ()) for one in early]
                self.ensemble = f"snapshot ensemble of {len(early)} early epochs"
            else:
                self._members = [(self._network, flip) for flip in FLIPS]
                self.ensemble = f"flip ensemble of {len(FLIPS)} mirrored copies"

    def slice(self, volume: NDArray[np.float32], z: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The reconstruction of one slice of an axial volume in HU, and the standard deviation of the ensemble."""
        from ctrestoration.networks._lowdose import neighbors_of

        seen = volume[[z, *neighbors_of(z, len(volume), self._slices)]]
        result = self._run(self._network, seen, ())
        if not self._members:
            return result, None
        members = [self._run(network, seen, flip) for network, flip in self._members]
        return result, np.std(np.stack(members), axis=0, dtype=np.float64).astype(np.float32)

    def _run(self, network: Any, slices: NDArray[np.float32], flip: tuple[int, ...]) -> NDArray[np.float32]:
        """One reconstruction; `slices` are the slice itself and then its neighbors."""
        import torch

        from ctrestoration.networks._lowdose import reconstruct_image

        with inference():
            seen = torch.flip(torch.from_numpy(np.array(slices, dtype=np.float32))[None].to(self._device), flip)
            around = seen[:, 1:] if self._slices > 1 else None
            answer = torch.flip(reconstruct_image(network, seen[:, :1], self._output, around), flip)
            found: NDArray[np.float32] = answer[0, 0].to("cpu", torch.float32).numpy()
        return found


register_weights("reconstruction", NetworkReconstruction, "reconstructs no low-dose images")
