"""`ctrestoration reproduce uc`: the table of the uncertainty-constraint loss, with its controls."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.study import add_scale_and_folder, add_selection, conclude, names, worker_count
from ctrestoration.cli.terminal import terminal_control

if TYPE_CHECKING:
    from ctrestoration.control import Control
    from ctrestoration.studies.uc import Run, Scale

COMMAND = "reproduce uc"
HELP = "train every network with the uncertainty-constraint loss and without; a killed study goes on"
EXAMPLE = "ctrestoration reproduce uc --scale tiny --out study-uc"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_scale_and_folder(
        parser, "tiny: proves that all works, its networks have hardly learned; small: hours; paper: days on a GPU"
    )
    parser.add_argument("--networks", metavar="NAMES", default="", help="only these, e.g. unet,dicdnet")
    add_selection(parser, "plain,uc", "table")


def run(arguments: argparse.Namespace) -> int:
    """Simulate, train, test, and write results.json and results.md."""
    from ctrestoration.cli.train import require_torch
    from ctrestoration.studies.running import claim, train_all
    from ctrestoration.studies.uc import SCALES, build_data, plan, run_file

    require_torch()
    scale, out = SCALES[arguments.scale], arguments.out.expanduser().resolve()
    runs = plan(scale, names(arguments.networks), names(arguments.variants), arguments.seeds)
    workers = worker_count(arguments)
    claim(out, "uc", arguments.scale)
    control = terminal_control()
    build_data(scale, out / "data", control.part(0.0, 0.1))
    files = {out / "runs" / one.name: run_file(scale, one) for one in runs}
    failed = train_all(files, workers, control.part(0.1, 0.95))
    result, table = _results(out, arguments.scale, scale, control.part(0.95, 1.0))
    return conclude(arguments, out, result, table, failed, len(runs))


def _results(out: Path, name: str, scale: Scale, control: Control) -> tuple[dict[str, Any], str]:
    """Scores of every finished run of the study, this command's or an earlier one's; those known are not made again."""
    from ctrestoration._version import __version__
    from ctrestoration.studies.mar_scores import score_run
    from ctrestoration.studies.running import is_done, known_or_made, write_results
    from ctrestoration.studies.uc_maps import map_statistics
    from ctrestoration.studies.uc_results import markdown, summarize

    done = [one for one in _all_runs(out, scale) if is_done(out / "runs" / one.name)]
    scores: dict[Run, Any] = {}
    maps: dict[Run, Any] = {}
    for one in control.track(done, "Testing"):
        folder = out / "runs" / one.name
        scores[one] = known_or_made(folder / "test.json", partial(score_run, folder, out / "data" / "test", control))
        if one.variant == "uc":
            made = partial(map_statistics, folder, out / "data" / "train", control)
            maps[one] = known_or_made(folder / "map.json", made)
    table = summarize(scale, scores, maps)
    train, _, test = scale.scans
    facts = [
        f"{train} training and {test} test scans of {scale.size}x{scale.size} pixels of {scale.pixel_mm:g} mm, preset "
        f"{scale.preset}, procedural phantoms with implants; {len(scores)} trainings; ctrestoration {__version__}.",
    ]
    if name != "paper":
        facts.append("Networks are smaller than the published ones: see `ctrestoration.studies.uc`.")
    result = {"study": "uc", "scale": name, "facts": facts, "networks": table}
    return write_results(out, result, markdown(name, table, facts))


def _all_runs(out: Path, scale: Scale) -> list[Run]:
    """What the folder of the study holds."""
    from ctrestoration.studies.uc import Run

    found = [Run.of(folder.name) for folder in sorted((out / "runs").glob("*-*-*"))]
    return [one for one in found if one is not None and one.network in scale.networks]
