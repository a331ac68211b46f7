"""`ctrestoration reproduce placement`: realistic against random placement of implants in the training data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.study import add_scale_and_folder, add_selection, conclude, names, worker_count
from ctrestoration.cli.terminal import terminal_control

if TYPE_CHECKING:
    from ctrestoration.control import Control
    from ctrestoration.studies.placement import RealCase, Run, Scale

COMMAND = "reproduce placement"
HELP = "train on realistic, random and mixed placement of implants and test on both; a killed study goes on"
EXAMPLE = "ctrestoration reproduce placement --scale tiny --out study-placement"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_scale_and_folder(parser, "tiny: minutes on 2 cores; small: half an hour; paper: a day on a GPU")
    add_selection(parser, "realistic,random", "table")
    parser.add_argument(
        "--real", metavar="CT", type=Path, nargs="+", default=[],
        help="CTs with real metal to try the networks on, too; they have no truth",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Simulate, train, test, and write results.json and results.md."""
    from ctrestoration.cli.train import require_torch
    from ctrestoration.studies.placement import SCALES, build_data, plan, real_case, run_file
    from ctrestoration.studies.running import claim, train_all

    require_torch()
    scale, out = SCALES[arguments.scale], arguments.out.expanduser().resolve()
    runs = plan(scale, names(arguments.variants), arguments.seeds)
    workers = worker_count(arguments)
    cases = [real_case(path, scale) for path in arguments.real]
    claim(out, "placement", arguments.scale)
    control = terminal_control()
    build_data(scale, out / "data", workers, control.part(0.0, 0.3))
    files = {out / "runs" / one.name: run_file(scale, one) for one in runs}
    failed = train_all(files, workers, control.part(0.3, 0.95))
    result, table = _results(out, arguments.scale, scale, cases, control.part(0.95, 1.0))
    return conclude(arguments, out, result, table, failed, len(runs))


def _results(
    out: Path, name: str, scale: Scale, cases: Sequence[RealCase], control: Control
) -> tuple[dict[str, Any], str]:
    """Scores of every finished run of the study, this command's or an earlier one's; those known are not made again."""
    from ctrestoration._version import __version__
    from ctrestoration.studies.mar_scores import score_run
    from ctrestoration.studies.placement import (
        TESTED_ON,
        TRAINED_ON,
        Run,
        markdown,
        score_real,
        summarize,
        summarize_real,
    )
    from ctrestoration.studies.running import is_done, known_or_made, write_results

    def score(folder: Path) -> dict[str, Any]:
        return {test: score_run(folder, out / "data" / f"test-{test}", control) for test in TESTED_ON}

    scores: dict[Run, Any] = {}
    real: dict[Run, Any] = {}
    done = [folder for folder in sorted((out / "runs").glob("*-*")) if is_done(folder)]
    for folder in control.track(done, "Testing"):
        placement, _, seed = folder.name.partition("-")
        if placement not in TRAINED_ON or not seed.isdigit():
            continue
        run = Run(placement, int(seed))
        scores[run] = known_or_made(folder / "test.json", partial(score, folder))
        if cases:
            real[run] = score_real(folder, cases)
    table, reals = summarize(scores), summarize_real(real)
    train, _, test = scale.scans
    facts = [
        f"{train} training and {test} test scans of each kind, {scale.size}x{scale.size} pixels of {scale.pixel_mm:g} "
        f"mm, preset {scale.preset}, procedural phantoms; a U-Net {list(scale.widths)} that sees the uncorrected image "
        f"alone; {len(scores)} trainings; ctrestoration {__version__}.",
    ]
    result = {"study": "placement", "scale": name, "facts": facts, "tests": table, "real": reals}
    return write_results(out, result, markdown(name, table, reals, facts))
