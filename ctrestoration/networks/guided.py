"""Guided completion: a U-Net draws the prior of a normalized interpolation, a second one refines what that yields.

The idea of a network that draws the prior of the sinogram completion is that of CNNMAR (Zhang and Yu, IEEE TMI 37
(2018) 1370) and of deep sinogram completion (Yu et al., IEEE TMI 40 (2021) 228); the interpolation is that of NMAR
(Meyer et al., Med. Phys. 37 (2010) 5482), see `correct.guided`. What was measured outside the metal trace stays as it
is, and the networks behind it only see images: none can invent data.

The refined image is a better prior than the first, so the completion can be done again with it, in several rounds.

All parts are image networks and are trained one after the other, see benchmarks/shipped_mar.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.networks._images import HU_SCALE, network_inputs
from ctrestoration.networks.unet import UNet

PRIOR_INPUTS = ("input", "nmar", "metal")
REFINE_INPUTS = ("input", "prior", "guided", "metal")

Complete = Callable[[Tensor], Tensor]
"""Prior image in HU [sample, 1, row, column] -> image of the sinogram that was completed with it, same shape."""


class Guided(nn.Module):
    """U-Nets with sinogram completions between them.

    Args:
        prior_widths: channels by level of the network that draws the prior; it sees `PRIOR_INPUTS`.
        refine_widths: the same of the network that refines the completed image; it sees `REFINE_INPUTS`.
        rounds: completions; each but the first has the refined image of the one before as its prior.
        last_widths: the same of a network of its own that refines in the last round; none: the one of all rounds.

    Raises:
        InputError: fewer than one round, or see `unet.UNet`.
    """

    def __init__(
        self,
        prior_widths: tuple[int, ...] = (32, 64, 128, 256),
        refine_widths: tuple[int, ...] = (16, 32, 64, 128),
        rounds: int = 1,
        last_widths: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if rounds < 1:
            raise InputError(f"rounds: {rounds}: a guided completion has one round or more.")
        self.rounds = rounds
        self.prior = UNet(prior_widths, in_channels=len(PRIOR_INPUTS))
        self.refine = UNet(refine_widths, in_channels=len(REFINE_INPUTS))
        self.last = None if last_widths is None else UNet(last_widths, in_channels=len(REFINE_INPUTS))

    def forward(self, batch: Mapping[str, Tensor], complete: Complete, rounds: int | None = None) -> Tensor:
        """The corrected image in HU.

        Args:
            batch: `PRIOR_INPUTS` [sample, 1, row, column]: images in HU, metal 0..1.
            complete: the completion; called once a round.
            rounds: as many as these; none: its own.
        """
        image = drawn_prior(self.prior, batch)
        last = self.refine if self.last is None else self.last
        for left in reversed(range(self.rounds if rounds is None else rounds)):
            image = refined(self.refine if left else last, {**batch, "prior": image, "guided": complete(image)})
        return image

    def options(self) -> dict[str, object]:
        """The arguments by which `build_network` makes it again, as JSON types."""
        return {
            "prior_widths": list(self.prior.widths),
            "refine_widths": list(self.refine.widths),
            "rounds": self.rounds,
            "last_widths": None if self.last is None else list(self.last.widths),
        }

    @classmethod
    def joined(cls, prior: UNet, refine: UNet, last: UNet | None = None, rounds: int = 1) -> Guided:
        """The network made of trained parts, ready to be applied.

        Args:
            prior: sees `PRIOR_INPUTS`.
            refine: sees `REFINE_INPUTS`.
            last: the same, for the last round alone.
            rounds: completions.
        """
        network = cls(prior.widths, refine.widths, rounds, None if last is None else last.widths)
        for name, part in {"prior": prior, "refine": refine, "last": last}.items():
            if part is not None:
                network.get_submodule(name).load_state_dict(part.state_dict())
        return network.eval()


def drawn_prior(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The first prior in HU [sample, 1, row, column]; `batch` holds `PRIOR_INPUTS`."""
    prior: Tensor = batch["nmar"] + HU_SCALE * network(network_inputs(batch, PRIOR_INPUTS)).float()
    return prior


def refined(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The refined image in HU [sample, 1, row, column]; `batch` holds `REFINE_INPUTS`."""
    image: Tensor = batch["guided"] + HU_SCALE * network(network_inputs(batch, REFINE_INPUTS)).float()
    return image


NETWORK = Guided
KIND = "guided"
