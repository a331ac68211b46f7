"""`ctrestoration dataset import`: what a public data set's folder holds, and its cases as volumes and labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from ctrestoration.io.importers import Case, Survey

COMMAND = "dataset import"
HELP = "list the cases of a public data set, or write them as volumes and labels"
EXAMPLE = "ctrestoration dataset import lits LITS_FOLDER --out cases --limit 5"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("dataset", metavar="NAME", help="lits, msd, lodopab, ...; an unknown name lists them all")
    parser.add_argument("folder", metavar="FOLDER", help="where it was unpacked")
    parser.add_argument("--out", metavar="DIR", help="write every case here; without it, only list them")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N cases")
    parser.add_argument(
        "--spacing", type=float, nargs=3, metavar=("X", "Y", "Z"), help="mm, for volumes whose files lost theirs"
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Survey, write, report."""
    from ctrestoration.cli.terminal import print_json, say, terminal_control
    from ctrestoration.errors import OutputError
    from ctrestoration.files import check_writable, write_json
    from ctrestoration.io.importers import importer

    chosen: Any = importer(arguments.dataset)
    options: dict[str, Any] = {}
    if arguments.spacing:
        if not getattr(chosen, "TAKES_SPACING", False):
            raise InputError(f"{chosen.NAME} brings its own spacing: leave --spacing out.")
        options["spacing"] = tuple(arguments.spacing)
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit must be 1 or more, not {arguments.limit}.")
    survey: Survey = chosen.survey(Path(arguments.folder), **options)
    cases = survey.cases[: arguments.limit]
    report = {**survey.to_json(), "source": chosen.SOURCE}
    if arguments.out:
        out = Path(arguments.out)
        check_writable(out / "report.json")
        failed = []
        for case in terminal_control().track(cases, f"Importing {chosen.TITLE}"):
            try:
                _write(case, survey.dataset, out)
            except OutputError:
                raise
            except InputError as error:
                failed.append({"path": case.name, "reason": str(error)})
                say(f"left out {case.name}: {error}")
        report["skipped"] += failed
        report["written"] = len(cases) - len(failed)
        write_json(out / "report.json", report)
    if arguments.json:
        print_json(report)
    else:
        print(_text(survey, report, chosen.SOURCE))
    return 0


def _write(case: Case, dataset: str, out: Path) -> None:
    """One case: ct.nrrd, labels.seg.nrrd, low-dose.nrrd, acquisition.npz, projections.npz, whatever it has.

    Every case has files of the same names: case.json says whose they are, for splits by patient.
    """
    import numpy as np

    from ctrestoration.files import atomic, atomic_folder, write_json
    from ctrestoration.io.images import write_labels, write_volume
    from ctrestoration.training.data.patients import CASE_FILE

    found = case.load()
    with atomic_folder(out / case.name) as folder:
        if found.volume is not None:
            write_volume(found.volume, folder / "ct.nrrd")
        if found.labels is not None:
            write_labels(found.labels, folder / "labels.seg.nrrd")
        if found.low_dose is not None:
            write_volume(found.low_dose, folder / "low-dose.nrrd")
        if found.acquisition is not None:
            found.acquisition.save(folder / "acquisition.npz")
        if found.projections is not None:
            with atomic(folder / "projections.npz") as part, part.open("wb") as stream:
                np.savez(stream, **vars(found.projections))
        if found.facts:
            write_json(folder / "facts.json", dict(found.facts))
        files = sorted(path.name for path in folder.iterdir())
        about = {"patient": case.patient, "files": files, "dataset": dataset, "case": case.name}
        write_json(folder / CASE_FILE, about)


def _text(survey: Survey, report: dict[str, Any], source: str) -> str:
    patients = len({case.patient for case in survey.cases})
    lines = [f"{len(survey.cases)} cases of {patients} patients", f"source: {source}"]
    if "written" in report:
        lines.append(f"wrote {report['written']}")
    lines += [f"note: {note}" for note in survey.notes]
    lines += [f"left out {one['path']}: {one['reason']}" for one in report["skipped"]]
    return "\n".join(lines)
