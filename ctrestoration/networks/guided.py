"""Guided completion: a U-Net draws the prior of a normalized interpolation, a second one refines what that yields.

The idea of a network that draws the prior of the sinogram completion is that of CNNMAR (Zhang and Yu, IEEE TMI 37
(2018) 1370) and of deep sinogram completion (Yu et al., IEEE TMI 40 (2021) 228); the interpolation is that of NMAR
(Meyer et al., Med. Phys. 37 (2010) 5482), see `correct.guided`. What was measured outside the metal trace stays as it
is, and the second network only sees images: neither can invent data.

Both halves are image networks and are trained one after the other, see benchmarks/shipped_mar.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ctrestoration.networks._images import HU_SCALE, network_inputs
from ctrestoration.networks.unet import UNet

PRIOR_INPUTS = ("input", "nmar", "metal")
REFINE_INPUTS = ("input", "prior", "guided", "metal")

Complete = Callable[[Tensor], Tensor]
"""Prior image in HU [sample, 1, row, column] -> image of the sinogram that was completed with it, same shape."""


class Guided(nn.Module):
    """Two U-Nets with a sinogram completion between them.

    Args:
        prior_widths: channels by level of the network that draws the prior; it sees `PRIOR_INPUTS`.
        refine_widths: the same of the network that refines the completed image; it sees `REFINE_INPUTS`.

    Raises:
        InputError: see `unet.UNet`.
    """

    def __init__(
        self, prior_widths: tuple[int, ...] = (32, 64, 128, 256), refine_widths: tuple[int, ...] = (16, 32, 64, 128)
    ) -> None:
        super().__init__()
        self.prior = UNet(prior_widths, in_channels=len(PRIOR_INPUTS))
        self.refine = UNet(refine_widths, in_channels=len(REFINE_INPUTS))

    def draw_prior(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The prior in HU [sample, 1, row, column]; `batch` holds `PRIOR_INPUTS`."""
        prior: Tensor = batch["nmar"] + HU_SCALE * self.prior(network_inputs(batch, PRIOR_INPUTS)).float()
        return prior

    def forward(self, batch: Mapping[str, Tensor], complete: Complete) -> Tensor:
        """The corrected image in HU.

        Args:
            batch: `PRIOR_INPUTS` [sample, 1, row, column]: images in HU, metal 0..1.
            complete: the completion.
        """
        prior = self.draw_prior(batch)
        guided = complete(prior)
        seen = network_inputs({**batch, "prior": prior, "guided": guided}, REFINE_INPUTS)
        refined: Tensor = guided + HU_SCALE * self.refine(seen).float()
        return refined

    @classmethod
    def joined(cls, prior: UNet, refine: UNet, prior_widths: list[int], refine_widths: list[int]) -> Guided:
        """The network made of two trained halves.

        Args:
            prior: sees `PRIOR_INPUTS`.
            refine: sees `REFINE_INPUTS`.
            prior_widths: of the first.
            refine_widths: of the second.
        """
        network = cls(tuple(prior_widths), tuple(refine_widths))
        network.prior.load_state_dict(prior.state_dict())
        network.refine.load_state_dict(refine.state_dict())
        return network.eval()


NETWORK = Guided
KIND = "guided"
