"""What is made from the schema of run files: `python -m ctrestoration.training.reference docs/training.md`.

Writes the explanation of every key between the markers of the document, and the JSON Schema into `SCHEMA_FILE`, from
which 3D Slicer makes its forms without pydantic. A test holds both to the present classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ctrestoration.jobs.rundir import SCHEMA_FILE
from ctrestoration.training.runfile import json_schema

BEGIN = "<!-- begin: written by python -m ctrestoration.training.reference docs/training.md -->"
END = "<!-- end -->"


def reference() -> str:
    """Markdown: one table for each part of the run file."""
    schema = json_schema()
    definitions = schema["$defs"]
    lines: list[str] = []
    for (title, *more), node in _sections(schema, definitions):
        lines += [f"### {title}", "", node.get("description", "").split("\n")[0], ""]
        if more:
            lines += [f"The same keys stand in {', '.join(more)}.", ""]
        lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
        required = node.get("required", [])
        for key, entry in node["properties"].items():
            default = "**required**" if key in required else _default(entry)
            meaning = entry.get("description") or _meaning(entry, definitions)
            cells = (f"`{key}`", _values(entry, definitions), default, meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def updated(text: str) -> str:
    """A document with the part between the markers replaced by `reference()`."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _sections(schema: dict[str, Any], definitions: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """Every part of the run file once, in the order of the file, with all the places where it may stand."""
    found: dict[int, tuple[list[str], dict[str, Any]]] = {}

    def visit(title: str, path: str, node: dict[str, Any]) -> None:
        known = found.get(id(node))
        if known is not None:
            known[0].append(title)
            return
        found[id(node)] = ([title], node)
        for key, entry in node["properties"].items():
            options = [option for option in _options(entry, definitions) if "properties" in option]
            for option in options:
                tag = option["properties"].get("name", {}).get("const")
                inner = f"{path}.{key}" if path else key
                inner = f"{inner} (name: {tag})" if tag and len(options) > 1 else inner
                visit(f"`{inner}`", inner, option)

    visit("The run file", "", schema)
    return list(found.values())


def _options(entry: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in entry:
        return [definitions[entry["$ref"].rsplit("/", 1)[1]]]
    options = entry.get("oneOf") or entry.get("anyOf") or []
    return [found for option in options for found in _options(option, definitions)]


def _meaning(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The first sentence of the part that an entry refers to."""
    options = _options(entry, definitions)
    return str(options[0].get("description", "")).split("\n")[0] if options else ""


def _values(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "const" in entry:
        return f"`{json.dumps(entry['const'])}`".replace('"', "")
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "$ref" in entry or "oneOf" in entry:
        return "see below"
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_values(option, definitions) for option in entry["anyOf"]))
    kind = entry.get("type", "")
    if kind == "array":
        return "list"
    names = {
        "number": "number",
        "integer": "whole number",
        "string": "text",
        "boolean": "`true`, `false`",
        "null": "none",
    }
    return f"{names.get(kind, 'keys and values')}{_limits(entry)}"


def _limits(entry: dict[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {entry[name]:g}" for name, sign in words.items() if name in entry]
    return f" {', '.join(limits)}" if limits else ""


def _default(entry: dict[str, Any]) -> str:
    value = entry.get("default")
    if isinstance(value, dict):
        return "see below"
    return "none" if value is None else f"`{json.dumps(value)}`".replace('"', "")


def schema_text() -> str:
    """The content of `SCHEMA_FILE`."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(updated(document.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
