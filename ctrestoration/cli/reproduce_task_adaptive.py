"""`ctrestoration reproduce task-adaptive`: Tables I and II of the paper, ours beside the published ones."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.study import add_scale_and_folder, add_selection, conclude, names, worker_count
from ctrestoration.cli.terminal import terminal_control

if TYPE_CHECKING:
    from ctrestoration.control import Control
    from ctrestoration.studies.task_adaptive import Run, Scale
    from ctrestoration.studies.task_adaptive_scores import Judges, TestSlices

COMMAND = "reproduce task-adaptive"
HELP = "train base, joint and task-adaptive networks and print both tables of the paper; a killed study goes on"
EXAMPLE = "ctrestoration reproduce task-adaptive --scale tiny --out study-task"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_scale_and_folder(parser, "tiny: half an hour on 2 cores; small: hours; paper: days on a GPU")
    parser.add_argument(
        "--dataset", metavar=("NAME", "FOLDER"), nargs=2,
        help="labeled cases of a public data set, e.g. lits FOLDER, in place of phantoms",
    )  # fmt: skip
    add_selection(parser, "base,adaptive-0.1", "tables")


def run(arguments: argparse.Namespace) -> int:
    """Simulate, train, test, and write results.json and results.md."""
    from ctrestoration.cli.train import require_torch
    from ctrestoration.studies.running import claim, train_all
    from ctrestoration.studies.task_adaptive import SCALES, build_data, phases, plan, run_file

    require_torch()
    scale, out = SCALES[arguments.scale], arguments.out.expanduser().resolve()
    runs = plan(scale, names(arguments.variants), arguments.seeds)
    workers = worker_count(arguments)
    dataset = (arguments.dataset[0], str(Path(arguments.dataset[1]).resolve())) if arguments.dataset else None
    claim(out, "task-adaptive", arguments.scale)
    control = terminal_control()
    build_data(scale, out / "data", dataset, workers, control.part(0.0, 0.1))
    done, failed = 0, dict[Path, str]()
    for some in phases(runs):
        part = control.part(0.1 + 0.8 * done / len(runs), 0.1 + 0.8 * (done + len(some)) / len(runs))
        failed |= train_all({out / "runs" / one.name: run_file(scale, one) for one in some}, workers, part)
        if failed:
            break  # the next phase starts from the weights of this one
        done += len(some)
    result, table = _results(out, arguments.scale, scale, control.part(0.9, 1.0))
    return conclude(arguments, out, result, table, failed, len(runs))


def _results(out: Path, name: str, scale: Scale, control: Control) -> tuple[dict[str, Any], str]:
    """Tables of every finished run of the study, this command's or an earlier one's; those known are not made again."""
    from ctrestoration._version import __version__
    from ctrestoration.io.pairs import read_manifest
    from ctrestoration.studies import task_adaptive_tables as tables
    from ctrestoration.studies.running import write_results
    from ctrestoration.studies.task_adaptive import SEGMENTERS
    from ctrestoration.studies.task_adaptive_claims import CLASSICAL
    from ctrestoration.studies.task_adaptive_scores import TestSlices, validation_scores

    test = TestSlices.read(out / "data")
    rows: dict[str, dict[int, tables.Row]] = {}
    lesions: dict[str, dict[int, Any]] = {}
    volumes: dict[str, dict[int, dict[str, float]]] = {}
    validation: dict[str, dict[int, dict[str, float]]] = {}
    for seed, some in _by_seed(out, scale).items():
        for one in some:
            if one.variant not in SEGMENTERS:
                validation.setdefault(one.variant, {})[seed] = validation_scores(out / "runs" / one.name)
        for row, found in _scored(out, seed, some, test, control).items():
            rows.setdefault(row, {})[seed] = found["row"]
            lesions.setdefault(row, {})[seed] = found["lesions"]
            volumes.setdefault(row, {})[seed] = found["volumes"]
    order = ["low-dose", *CLASSICAL, *scale.variants, "full-dose"]
    result = tables.summarize({row: rows[row] for row in order if row in rows}, validation)
    manifest = read_manifest(out / "data")
    counts = {split: content["count"] for split, content in manifest["splits"].items()}
    made = manifest["settings"]
    whose = made["dataset"] or "procedural phantoms"
    patients = len(manifest["splits"]["test"]["patients"])
    facts = [
        f"{whose}: {counts['train']} training and {counts['test']} test slices ({patients} test patients, none of them "
        f"in training) of {scale.size}x{scale.size} pixels of {scale.pixel_mm:g} mm; {made['photons']:g} "
        f"photons in each of {made['bins']} bins, {made['views']} views; {scale.output} networks, {scale.epochs} "
        f"epochs; ctrestoration {__version__}.",
        "PSNR (range 1 = 4072 HU) and SSIM map in the circle; Dice of liver and lesions, hard labels, "
        f"{_rule()}; best weights by validation.",
    ]
    result = {"study": "task-adaptive", "scale": name, "facts": facts, **result, "lesions": lesions}
    result["volumes"] = tables.paired({row: volumes[row] for row in order if row in volumes})
    return write_results(out, result, tables.markdown(name, result, facts))


def _rule() -> str:
    from ctrestoration.evaluate.task_scores import EMPTY_RULES

    return EMPTY_RULES["drop"]


def _scored(out: Path, seed: int, runs: list[Run], test: TestSlices, control: Control) -> dict[str, Any]:
    """Rows of one seed."""
    from ctrestoration.studies import task_adaptive_scores as scores
    from ctrestoration.studies.running import known_or_made
    from ctrestoration.studies.task_adaptive import SEGMENTERS

    judges = scores.Judges.read(out / "runs", seed)
    fixed = out / "runs" / f"segment_{seed}" / "classical.json"
    rows = known_or_made(fixed, partial(_classical, test, judges, control))
    for one in control.track([one for one in runs if one.variant not in SEGMENTERS], f"Testing seed {seed}"):
        folder = out / "runs" / one.name
        rows[one.variant] = known_or_made(folder / "test.json", partial(scores.score_network, folder, test, judges))
    return rows


def _classical(test: TestSlices, judges: Judges, control: Control) -> dict[str, Any]:
    """Rows of the methods that are not trained, and of the images that they start from and aim at."""
    from ctrestoration.studies import task_adaptive_scores as scores
    from ctrestoration.studies.task_adaptive_claims import CLASSICAL

    images = {"low-dose": test.low_dose, "full-dose": test.full_dose}
    for name in CLASSICAL:
        made = scores.classical_images(name, test, control)
        if made is not None:
            images[name] = made
    return {
        name: scores.score_images(some, test, judges, images_too=name != "full-dose") for name, some in images.items()
    }


def _by_seed(out: Path, scale: Scale) -> dict[int, list[Run]]:
    """Finished runs of the seeds that have both segmenters."""
    from ctrestoration.studies.running import is_done
    from ctrestoration.studies.task_adaptive import SEGMENTERS, Run

    found: dict[int, list[Run]] = {}
    for folder in sorted((out / "runs").glob("*_*")):
        variant, _, seed = folder.name.rpartition("_")
        if variant in scale.variants and seed.isdigit() and is_done(folder):
            found.setdefault(int(seed), []).append(Run(variant, int(seed)))
    return {seed: runs for seed, runs in found.items() if {run.variant for run in runs} >= set(SEGMENTERS)}
