"""What the scripts that make the shipped weights share: the volumes and their split, the license, half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctrestoration.volume import Volume

VOLUMES = ("tcga_ov_abdomen", "crlm_1004_abd", "lidc_0314_chest_crop")
SIZE, PIXEL_MM = 416, 1.0
LICENSE = "Apache-2.0; trained on CC BY images, see attribution"
ATTRIBUTION = (
    "TCIA TCGA-OV (CC BY 3.0, by way of xcist/phantoms-voxelized), TCIA Colorectal-Liver-Metastases (CC BY 4.0) and "
    "TCIA LIDC-IDRI (CC BY 3.0), both by way of oncoray/mirp"
)


def split_volumes(data: Path, out: Path) -> tuple[list[Path], list[Path]]:
    """Cut every volume into its first two thirds, in slabs, and its last third; returns both lists of files.

    Slabs count as patients when implants are drawn: long volumes would be drawn as rarely as short ones otherwise.
    """
    from ctrestoration.io.images import read_volume, write_volume

    out.mkdir(parents=True, exist_ok=True)
    train, test = [], []
    for name in VOLUMES:
        volume = read_volume(data / f"{name}.nii.gz").axial()
        depth = volume.grid.shape[0]
        last = depth * 2 // 3
        slabs = max(1, last // 35)
        edges = [last * number // slabs for number in range(slabs + 1)]
        spans = [(f"train{number}", edges[number], edges[number + 1]) for number in range(slabs)]
        for part, first, end in [*spans, ("test", last, depth)]:
            path = out / f"{name}_{part}.nrrd"
            if not path.is_file():
                grid = volume.grid.crop((first, 0, 0), (end, *volume.grid.shape[1:]))
                write_volume(Volume(volume.array[first:end], grid, name), path, whole_hu=True)
            (test if part == "test" else train).append(path)
    return train, test


def halve(network: Any) -> None:
    """Keep convolutions in half precision."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.half()
