"""How each kind of network corrects one slice. Imported only where a network is applied: it needs torch.

A runner prepares what a network is given, as tensors [1, channel, row, column], and makes HU of what it answers. The
names in `MIRRORED` are mirrored for the flip ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctrestoration.correct.completion import SliceData, completed_change
from ctrestoration.correct.corrected import CorrectedSlices
from ctrestoration.correct.guided import completed_with
from ctrestoration.correct.inpainting import Neighborhoods
from ctrestoration.correct.unrolled import unrolled_inputs
from ctrestoration.errors import InputError
from ctrestoration.models.methods import usable_device
from ctrestoration.models.weights import load_copies, load_network
from ctrestoration.networks import kind_of
from ctrestoration.networks._blocks import DualDomain
from ctrestoration.networks._images import HU_SCALE, network_inputs
from ctrestoration.networks._operator import MU_WATER, NetworkOperator, from_hu, nominal_lengths, to_hu
from ctrestoration.physics.projector import Projector
from ctrestoration.volume import AIR_HU

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """What a network says about one slice.

    Attributes:
        image: HU [row, column].
        sinogram: completed line integrals [view, bin], or None for networks of the image domain. Outside the trace
            they are the measured ones, bit for bit.
    """

    image: NDArray[np.float32]
    sinogram: NDArray[np.float32] | None = None


class Runner:
    """Applies one network to the slices of one acquisition.

    Args:
        network: in evaluation mode.
        about: the header of its weights.
        acquisition: the data.
        device: where to compute.
    """

    def __init__(self, network: nn.Module, about: Mapping[str, Any], acquisition: Acquisition, device: str) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).requires_grad_(False)
        self.about, self.acquisition = about, acquisition
        self.corrected = CorrectedSlices(acquisition, self.wanted())

    def wanted(self) -> tuple[str, ...]:
        """Images of `correct.corrected` that the network looks at."""
        raise NotImplementedError

    def prepare(self, z: int) -> Batch:
        """What the network is given of slice z: uncorrected and corrected images in HU, and the mask."""
        uncorrected = np.maximum(self.acquisition.image.array[z], np.float32(AIR_HU))
        images = {"input": uncorrected, "metal": self.acquisition.metal[z].astype(np.float32)}
        images |= {name: np.maximum(image, np.float32(AIR_HU)) for name, image in self.corrected.slice(z).items()}
        return {name: self._tensor(image) for name, image in images.items()}

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """The answer of a network of this kind; `flip`: it sees everything mirrored along these axes."""
        raise NotImplementedError

    def _tensor(self, array: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None].to(self.device)


class ImageRunner(Runner):
    """Networks that map images to what has to be added to one of them."""

    def wanted(self) -> tuple[str, ...]:
        """See `Runner.wanted`."""
        return tuple(name for name in self.inputs if name in ("nmar", "li"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the weights say that the network sees."""
        return tuple(self.about.get("inputs", ("input",)))

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """See `Runner.run`."""
        seen = torch.flip(network_inputs(batch, self.inputs), tuple(flip))
        change = torch.flip(network(seen).float(), tuple(flip))
        image = batch[self.about.get("added_to", "input")] + HU_SCALE * change
        return Answer(_array(image))


class GuidedRunner(Runner):
    """A prior drawn by a network, completions with it, networks between and behind them; see `networks.guided`."""

    def wanted(self) -> tuple[str, ...]:
        """See `Runner.wanted`."""
        return ("nmar",)

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """See `Runner.run`."""
        axes = tuple(flip)
        data = SliceData(self.acquisition, z, self.corrected.projector)
        completed = data.sinogram

        def complete(prior: Tensor) -> Tensor:
            nonlocal completed
            completed = completed_with(data, _array(torch.flip(prior, axes)))
            image = self.acquisition.image.array[z] + completed_change(data, completed)
            return torch.flip(self._tensor(np.maximum(image, np.float32(AIR_HU))), axes)

        flipped = {name: torch.flip(tensor, axes) for name, tensor in batch.items()}
        # Line integrals of the image hold its artifacts, also outside the trace: every completion brings some back.
        image = network(flipped, complete, rounds=1 if self.acquisition.projected else None)
        hard = np.where(data.trace, completed, data.sinogram).astype(np.float32)
        return Answer(_array(torch.flip(image, axes)), hard)


class UnrolledRunner(Runner):
    """Unrolled networks: they begin from the image of the interpolated sinogram, see `correct.unrolled`."""

    @property
    def every(self) -> int:
        """Of the views that a network of sparse views fills in, every n-th was measured: the acquisition's."""
        return int(self.about.get("every_nth_view", 1))

    def wanted(self) -> tuple[str, ...]:
        """See `Runner.wanted`."""
        return ()

    def prepare(self, z: int) -> Batch:
        """See `Runner.prepare`."""
        prior = self.about["network"]["options"].get("prior") == "nmar"
        given = unrolled_inputs(self.acquisition, z, self.corrected.projector, prior, self.every)
        return {**super().prepare(z), **{name: self._tensor(array) for name, array in given.items()}}


class DictionaryRunner(UnrolledRunner):
    """DICDNet and its relatives: uncorrected and LI-corrected image, and where there is no metal."""

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """See `Runner.run`."""
        axes = tuple(flip)
        image, li, outside = from_hu(batch["input"]), from_hu(batch["li"]), 1.0 - batch["metal"]
        result = network(torch.flip(image, axes), torch.flip(li, axes), torch.flip(outside, axes))
        return Answer(_array(to_hu(torch.flip(result.images[-1].float(), axes))))


class DualDomainRunner(UnrolledRunner):
    """InDuDoNet and its relatives: image and sinogram, and the scanner itself."""

    def __init__(self, network: nn.Module, about: Mapping[str, Any], acquisition: Acquisition, device: str) -> None:
        super().__init__(network, about, acquisition, device)
        geometry = replace(acquisition.geometry, n_views=acquisition.geometry.n_views * self.every)
        self.operator = NetworkOperator(Projector(geometry, acquisition.image_grid))
        # Network units rest on one value of water; an acquisition may rest on another.
        self._water = MU_WATER / acquisition.mu_water

    def prepare(self, z: int) -> Batch:
        """See `Runner.prepare`."""
        batch = super().prepare(z)
        for name in ("sinogram", "sinogram_li"):
            batch[name] = self.operator.to_network(batch[name] * self._water)
        return batch

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """See `Runner.run`."""
        axes = tuple(flip)
        image, li = (torch.flip(from_hu(batch[name]), axes) for name in ("input", "li"))
        prior = torch.flip(from_hu(batch["prior"]), axes) if "prior" in batch else None
        data = DualDomain(image, li, batch["sinogram"], batch["sinogram_li"], batch["kept"], prior)
        result = network(data, _Mirrored(self.operator, axes) if axes else self.operator)
        completed = _array(self.operator.to_line_integrals(result.sinograms[-1].float()) / self._water)
        hard = np.where(self.acquisition.trace[z], completed[:: self.every], self.acquisition.sinogram[z])
        return Answer(_array(to_hu(torch.flip(result.images[-1].float(), axes))), hard)


class _Mirrored:
    """The scanner as mirrored images see it: their own sinogram is that of the image as it was."""

    def __init__(self, operator: NetworkOperator, axes: tuple[int, ...]) -> None:
        self._operator, self._axes = operator, axes
        self.strength = operator.strength

    def forward(self, image: Tensor) -> Tensor:
        return self._operator.forward(torch.flip(image, self._axes))

    def adjoint(self, sinogram: Tensor) -> Tensor:
        return torch.flip(self._operator.adjoint(sinogram), self._axes)


class SinogramRunner(Runner):
    """Networks that complete the metal trace of the sinogram, see `correct.inpainting`."""

    def __init__(self, network: nn.Module, about: Mapping[str, Any], acquisition: Acquisition, device: str) -> None:
        super().__init__(network, about, acquisition, device)
        self._around = Neighborhoods(acquisition)
        self._unit = nominal_lengths(acquisition.image_grid) * MU_WATER / acquisition.mu_water

    def wanted(self) -> tuple[str, ...]:
        """See `Runner.wanted`."""
        return ()

    def prepare(self, z: int) -> Batch:
        """See `Runner.prepare`."""
        hood = self._around.slice(z)
        # Line integrals in the network's unit of water; lengths of metal have no such unit.
        hood = replace(hood, filled=hood.filled * np.float32(MU_WATER / self.acquisition.mu_water))
        channels = hood.channels(nominal_lengths(self.acquisition.image_grid))
        return {"seen": torch.from_numpy(channels)[None].to(self.device)}

    def run(self, network: nn.Module, batch: Batch, z: int, flip: Sequence[int] = ()) -> Answer:
        """See `Runner.run`."""
        axes = tuple(flip)
        added = _array(torch.flip(network(torch.flip(batch["seen"], axes)).float(), axes)) / np.float32(self._unit)
        data = SliceData(self.acquisition, z, self._around.projector)
        completed = np.where(data.trace, self._around.slice(z).filled[1] + added, data.sinogram)
        image = self.acquisition.image.array[z] + completed_change(data, completed)
        return Answer(image, completed.astype(np.float32))


RUNNERS: dict[str, type[Runner]] = {
    "image": ImageRunner,
    "guided": GuidedRunner,
    "dictionary": DictionaryRunner,
    "dual-domain": DualDomainRunner,
    "sinogram": SinogramRunner,
}
"""By the KIND of the network, see `networks`."""


def open_runner(path: Path, acquisition: Acquisition, device: str) -> Runner:
    """The runner of a weights file.

    Args:
        path: verified before it is read.
        acquisition: what it is to be applied to.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: no file, a kind of network that corrects nothing, or a device that is not usable.
        DataRefusedError: the file is damaged or not ours.
    """
    network, about = load_network(path)
    kind = kind_of(about["network"]["name"])
    if kind not in RUNNERS:
        raise InputError(f"{path} holds a network of the kind {kind!r}, which corrects no metal artifacts.")
    return RUNNERS[kind](network, about, acquisition, usable_device(device))


def early_networks(runner: Runner, paths: Sequence[Path]) -> list[nn.Module]:
    """The network with the weights of its early epochs, for the snapshot ensemble."""
    return [one.to(runner.device) for one in load_copies(paths, runner.network)]


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor[0, 0].to("cpu", torch.float32).numpy()
    return array
