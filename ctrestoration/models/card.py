"""The card beside weights: what a person has to know before using them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def card_text(about: dict[str, Any], tests: Sequence[str] = (), failures: Sequence[str] = ()) -> str:
    """The card, in Markdown, from the facts that also stand in the header of the weights file.

    Args:
        about: the header.
        tests: lines on data that neither training nor the choice of the step has seen.
        failures: sentences on what these weights are known to do wrong.
    """
    provenance, training = about.get("provenance", {}), about.get("training", {})
    validation = about.get("validation") or {}
    hardware = provenance.get("hardware", {})
    lines = [
        f"# {about.get('name', 'weights')}",
        "",
        f"Task: {about.get('task')}. Input: {about.get('input')}. Output: {about.get('output')}.",
        "",
        "**Research use only; not a medical device.** Not for diagnosis or treatment. Outside the training data below,",
        "and on scanners, doses and implants that differ from them, errors are to be expected.",
        "",
        "| | |",
        "|---|---|",
        f"| network | `{json.dumps(about.get('network'))}` |",
        f"| recipe | {training.get('method', {}).get('name')} |",
        f"| training data | `{json.dumps(training.get('data', {}).get('train'))}` |",
        f"| simulated as | `{json.dumps(provenance.get('data', {}).get('simulation'))}` |",
        f"| data fingerprint | `{provenance.get('data', {}).get('train')}` |",
        f"| published step | {about.get('step')} |",
        f"| seed | {about.get('seed')} |",
        f"| ctrestoration | {provenance.get('package')}, commit {provenance.get('git')} |",
        f"| PyTorch, device | {hardware.get('torch')}, {hardware.get('device')} |",
        f"| license | {about.get('license', 'as the package (Apache-2.0); the training data may add conditions')} |",
        *([f"| images | {about['attribution']} |"] if "attribution" in about else []),
        "",
        "## Validation",
        "",
        "Means over the validation data of the run; no confidence interval, and the step was chosen by them."
        if validation
        else "None: the run had no validation data.",
        "",
    ]
    if validation:
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in validation.items() if value is not None]
        lines.append("")
    if tests:
        lines += ["## Test", "", *tests, ""]
    lines += ["## Known failures", ""]
    lines += [f"* {sentence}" for sentence in failures] or ["Not studied for these weights."]
    lines.append("")
    return "\n".join(lines)
