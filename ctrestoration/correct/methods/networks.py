"""Trained networks as methods: every shipped weights file with the task "mar", and any other by its path.

Listing them reads the headers of the files only; torch and safetensors are needed where one is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.correct.completion import Coverage, slices_to_correct
from ctrestoration.models.methods import (
    FLIPS,
    WeightsMethod,
    inference,
    register_weights,
    require_torch,
    snapshots_of,
)
from ctrestoration.registry import Task
from ctrestoration.restoration import Restoration

if TYPE_CHECKING:
    from ctrestoration.correct._torch_runners import Answer, Runner
    from ctrestoration.volume import Volume


class NetworkMethod(WeightsMethod):
    """Corrects the slices that hold metal with a trained network, one after the other.

    A slice depends on its own data (and on its neighbors', for networks that look at them), never on how many slices
    are corrected at once; one slice is in memory at a time. Metal voxels keep their measured values, slices without
    metal all of theirs, bit for bit; see `correct.completion.slices_to_correct`.

    Args:
        path: the weights, with their digest beside them.
        about: the facts in their header.
    """

    task: Task = "mar"

    def restore(self, acquisition: Acquisition, control: Control = SILENT) -> Restoration:
        """Correct every slice that holds metal.

        Raises:
            MissingDependencyError: torch or safetensors is not installed.
            InputError, DataRefusedError: the weights cannot be used.
            Cancelled: where the control asks to stop.
        """
        slices = slices_to_correct(acquisition)
        image = np.array(acquisition.image.array)
        synthesized = np.zeros(image.shape, dtype=bool)
        spread = np.zeros(image.shape, dtype=np.float32) if self._uncertain else None
        ensemble, bars = "none", None
        if slices:
            work = self.open(acquisition)
            ensemble = work.ensemble
            bars = self.error_bars(acquisition, ensemble)
            coverage = Coverage(acquisition)
            for z in control.track(slices, f"Correcting with {self.name}"):
                answer, deviation = work.slice(z)
                metal = acquisition.metal[z]
                image[z] = np.where(metal, image[z], answer.image)
                synthesized[z] = coverage.synthesized(acquisition.trace[z]) & ~metal
                if spread is not None and deviation is not None:
                    spread[z] = bars.of(deviation, image[z], metal)
        provenance = {
            "method": self.name,
            "version": __version__,
            "settings": {key: self.about[key] for key in ("network", "inputs", "added_to") if key in self.about},
            "weights": self.path.name,
            "uncertainty": ensemble,
            "interval": bars.facts() if bars else None,
            "slices_corrected": slices,
            "data": acquisition.provenance.get("source", "unknown"),
        }
        return self._result(acquisition.image, image, spread, synthesized, provenance)

    def open(self, acquisition: Acquisition) -> NetworkWork:
        """The network at work on an acquisition; see `restore` for what it raises."""
        require_torch()
        return NetworkWork(self, acquisition)

    def _result(
        self,
        before: Volume,
        image: NDArray[np.float32],
        spread: NDArray[np.float32] | None,
        synthesized: NDArray[np.bool_],
        provenance: dict[str, Any],
    ) -> Restoration:
        restored = before.replaced(image, name=f"{before.name} {self.name}", correction=provenance)
        uncertainty = None
        if spread is not None:
            uncertainty = before.replaced(spread, name=f"{before.name} {self.name} uncertainty", correction=provenance)
        return Restoration(restored, uncertainty, synthesized, provenance, self.nominal_coverage)


class NetworkWork:
    """A network applied to the slices of one acquisition.

    Attributes:
        ensemble: in words, what the uncertainty is the spread of; "none" where none is computed.
    """

    def __init__(self, method: NetworkMethod, acquisition: Acquisition) -> None:
        from ctrestoration.correct import _torch_runners as runners

        self._runner: Runner = runners.open_runner(method.path, acquisition, method._device)
        self._flips: tuple[tuple[int, ...], ...] = ()
        self._early: list[Any] = []
        self.ensemble = "none"
        if not method._uncertain:
            return
        self._early = runners.early_networks(self._runner, snapshots_of(method.path))
        if self._early:
            self.ensemble = f"snapshot ensemble of {len(self._early)} early epochs"
        else:
            self._flips = FLIPS[1:]
            self.ensemble = f"flip ensemble of {len(FLIPS)} mirrored copies"

    def slice(self, z: int) -> tuple[Answer, NDArray[np.float32] | None]:
        """What the network says about slice z, and the standard deviation of the ensemble in HU [row, column]."""
        with inference():
            batch = self._runner.prepare(z)
            answer = self._runner.run(self._runner.network, batch, z)
            if self._early:
                members = [self._runner.run(network, batch, z).image for network in self._early]
            elif self._flips:
                flipped = [self._runner.run(self._runner.network, batch, z, flip).image for flip in self._flips]
                members = [answer.image, *flipped]
            else:
                return answer, None
        return answer, np.std(np.stack(members), axis=0, dtype=np.float64).astype(np.float32)


register_weights("mar", NetworkMethod, "corrects no metal artifacts")
