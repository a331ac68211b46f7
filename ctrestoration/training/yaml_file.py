"""Reading a run file so that every complaint can name the line it is about."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ctrestoration.errors import InputError

Location = tuple[str | int, ...]


@dataclass
class Document:
    """The content of a YAML file and where each entry stands.

    Attributes:
        content: plain dictionaries, lists, strings, numbers.
        places: location of an entry -> "run.yaml:12", or "--set ..." for an override.
    """

    name: str
    content: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """Where an entry stands, or the nearest entry around it."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.places:
                return self.places[location[:length]]
        return self.name

    def override(self, assignment: str) -> None:
        """Apply one "key.path=value" of the command line; the value is read as YAML.

        Raises:
            InputError: no "=", or the path leads through something that has no keys.
        """
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise InputError(f"--set {assignment}: expected key=value, such as optim.lr=3.0e-4.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {assignment}: the value is not valid YAML.") from error
        target: Any = self.content
        for depth, key in enumerate(keys[:-1]):
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
            if not isinstance(target, dict):
                raise InputError(f"--set {assignment}: {'.'.join(keys[: depth + 1])} is a value and has no keys.")
        target[keys[-1]] = value
        self.places[tuple(keys)] = f"--set {assignment}"


def scale_overrides(path: Path, scale: str) -> list[str]:
    """What a scale of a run file replaces, as `--set` takes it: "key.path=value".

    Raises:
        InputError: the file cannot be read, or describes no such scale.
    """
    scales = read_yaml(path).content.get("scales") or {}
    if not isinstance(scales, dict) or scale not in scales:
        known = ", ".join(str(name) for name in scales)
        told = f"its scales are {known}" if known else "it has none (key scales)"
        raise InputError(f"{path} describes no scale {scale!r}: {told}.")
    entries = scales[scale]
    if not isinstance(entries, dict):
        raise InputError(f"{path}: scales.{scale} has to be a list of 'key.path: value' lines.")
    return [f"{key}={_one_line(value)}" for key, value in entries.items()]


def _one_line(value: Any) -> str:
    """YAML that `Document.override` reads as the same value."""
    return str(yaml.safe_dump([value], default_flow_style=True, width=math.inf)).strip()[1:-1]


def read_yaml(path: Path) -> Document:
    """Read a YAML file of plain values; tags that would make objects are refused.

    Raises:
        InputError: missing, unreadable, not YAML (with the line), a repeated key, or no mapping at the top.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot read the run file {path}: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise InputError(
            f"{path}: a run file is a list of 'key: value' lines; see docs/training.md for one that works."
        )
    document = Document(str(path), content)
    _note_places(node, (), document)
    return document


def _note_places(node: yaml.Node, location: Location, document: Document) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*location, str(key.value))
            place = f"{document.name}:{key.start_mark.line + 1}"
            if inner in document.places:
                dotted = ".".join(str(part) for part in inner)
                raise InputError(f"{place}: {dotted} stands here a second time (first: {document.places[inner]}).")
            document.places[inner] = place
            _note_places(value, inner, document)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            document.places[(*location, index)] = f"{document.name}:{value.start_mark.line + 1}"
            _note_places(value, (*location, index), document)
