"""Draw what a run came to: loss and PSNR curve, and its last preview.

python benchmarks/training_curve.py RUN_DIR OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np

from ctrestoration.jobs.reader import Watcher, thin
from ctrestoration.jobs.rundir import RunDirectory


def main(run: Path, out: Path) -> None:
    watcher = Watcher(RunDirectory(run)).poll()
    train = thin([record for record in watcher.metrics if record["kind"] == "train"])
    val = [record for record in watcher.metrics if record["kind"] == "val"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.semilogy([r["step"] for r in train], [r["values"]["loss"] for r in train], color="0.6", lw=0.8)
    left.set(xlabel="step", ylabel="loss (RMSE, HU / 1000)", title="Training loss")
    steps = [r["step"] for r in val]
    right.plot(steps, [r["values"]["psnr_db"] for r in val], "o-", color="tab:blue", label="output")
    right.plot(steps, [r["values"]["input_psnr_db"] for r in val], "--", color="0.3", label="input")
    right.set(xlabel="step", ylabel="PSNR in dB, outside metal", title="Validation, unseen patients")
    right.legend(loc="center right")
    figure.savefig(out / "training_curve.png", dpi=110)
    preview = matplotlib.image.imread(max((run / "previews").glob("*.png")))
    gray = preview if preview.ndim == 2 else preview[..., 0]
    matplotlib.image.imsave(out / "training_preview.png", np.kron(gray, np.ones((2, 2))), cmap="gray", vmin=0, vmax=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
