"""Where a result came from: kept with its node, and as a text of the run."""

from __future__ import annotations

import json

import slicer

_ATTRIBUTE = "CTRestoration.provenance"


def setProvenance(node, facts: dict) -> None:
    """Note where a node came from.

    Args:
        node: any node; the note is saved with it.
        facts: JSON types: input, command, versions, seed, parameters.
    """
    node.SetAttribute(_ATTRIBUTE, json.dumps(facts, sort_keys=True, default=str))


def provenanceOf(node) -> dict | None:
    """What `setProvenance` noted, None for a node of other origin."""
    text = node.GetAttribute(_ATTRIBUTE) if node is not None else None
    if not text:
        return None
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def writeRunText(name: str, facts: dict):
    """The facts of a run as a text node that people can read: indented JSON.

    Returns:
        The vtkMRMLTextNode.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetText(json.dumps(facts, indent=2, sort_keys=True, default=str))
    setProvenance(node, facts)
    return node
