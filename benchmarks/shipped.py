"""What the scripts that make the shipped weights share: the volumes and their split, license, half precision, steps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.control import Control
from ctrestoration.errors import CTRestorationError, InputError
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

    Raises:
        InputError: a volume is missing.
    """
    from ctrestoration.io.images import read_volume, write_volume

    out.mkdir(parents=True, exist_ok=True)
    train, test = [], []
    for name in VOLUMES:
        if not (data / f"{name}.nii.gz").is_file():
            raise InputError(f"{data} has no {name}.nii.gz: name the folder of the CC BY volumes.")
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


def soft_disc(slice_of: Volume, diameter_mm: float) -> NDArray[np.bool_]:
    """Where a disc is put to see what is left of it: in the middle of the largest soft region [1, row, column]."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    smooth = gaussian_filter(slice_of.array[0], 3.0)
    soft = (smooth > -150) & (smooth < 200)
    row, column = np.unravel_index(int(np.argmax(distance_transform_edt(soft))), soft.shape)
    rows, columns = np.indices(soft.shape)
    distance = np.hypot((rows - row) * slice_of.grid.spacing[1], (columns - column) * slice_of.grid.spacing[0])
    return np.asarray(distance <= diameter_mm / 2)[None]


@dataclass(frozen=True)
class Effort:
    """How much is put into a step.

    Attributes:
        workers: processes.
        share: of the scans, or of the epochs.
    """

    workers: int
    share: float

    def of(self, count: int) -> int:
        """That share of a number, 1 at least."""
        return max(1, round(self.share * count))


@dataclass(frozen=True)
class Steps:
    """The steps of such a script: how its weights are made, tested and shipped.

    Attributes:
        build: simulates into a folder, from that of the volumes.
        train: trains there.
        test: of methods by name or path on so many slices of each kind; the result has JSON types.
        table: that result for people.
        ship: writes the weights and cards of the package.
    """

    build: Callable[[Path, Path, Effort, Control], None]
    train: Callable[[Path, Effort, Control], None]
    test: Callable[[Path, Path, list[str], int, Control], dict[str, Any]]
    table: Callable[[dict[str, Any]], str]
    ship: Callable[[Path], None]

    def run(self, script: str, about: str, methods: str, count: int, workers: int) -> int:
        """Run the one that the command line names; gives back the exit code.

        Args:
            script: name of the script.
            about: its first sentence.
            methods: tested by default, separated by commas.
            count: slices of each kind, by default.
            workers: processes, by default.
        """
        from ctrestoration.cli.terminal import terminal_control

        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("step", choices=("data", "train", "test", "ship"))
        parser.add_argument("data", type=Path, nargs="?", help="folder of the volumes, for the steps data and test")
        parser.add_argument("--out", type=Path, required=True)
        parser.add_argument("--workers", type=int, default=workers)
        parser.add_argument("--share", type=float, default=1.0, help="of the scans, or of the epochs (default 1)")
        parser.add_argument("--methods", default=methods, help="comma-separated, weights files by path")
        parser.add_argument("--count", type=int, default=count, help="slices of each kind")
        parser.add_argument("--json", action="store_true")
        arguments = parser.parse_args()
        if arguments.step in ("data", "test") and arguments.data is None:
            parser.error(f"the step {arguments.step} needs the folder of the volumes")
        try:
            self._run(arguments, terminal_control())
        except CTRestorationError as error:
            print(f"{script}: {error}", file=sys.stderr)
            return error.exit_code
        return 0

    def _run(self, arguments: argparse.Namespace, control: Control) -> None:
        out: Path = arguments.out
        effort = Effort(arguments.workers, arguments.share)
        if arguments.step == "data":
            self.build(arguments.data, out, effort, control)
        elif arguments.step == "train":
            self.train(out, effort, control)
        elif arguments.step == "ship":
            self.ship(out)
        else:
            result = self.test(arguments.data, out, arguments.methods.split(","), arguments.count, control)
            (out / "test.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
            print(json.dumps(result, indent=2) if arguments.json else self.table(result))
