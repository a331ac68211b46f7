"""A series of results as one sequence with a slider: doses, epochs, methods."""

from __future__ import annotations

import slicer

from ctrestoration.errors import InputError


def sequenceFromVolumes(volumes: list, values: list, unit: str, name: str):
    """Bundle volumes into a sequence.

    Args:
        volumes: volume nodes; the sequence holds copies, the nodes themselves may go.
        values: the index value of each, e.g. its dose; numbers or texts, all different.
        unit: of the values, e.g. "mGy"; "" for none.
        name: of the sequence; also of what the value means ("Dose").

    Returns:
        (sequence node, browser node). The browser shows one item at a time through its own proxy volume.

    Raises:
        InputError: nothing to bundle, or not one value for each volume.
    """
    if not volumes:
        raise InputError(f"{name}: there is no volume to put into a sequence.")
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(texts) != len(volumes) or len(set(texts)) != len(texts):
        raise InputError(f"{name}: {len(volumes)} volumes need as many different values, not {', '.join(texts)}.")
    numeric = all(isinstance(value, (int, float)) for value in values)
    scene = volumes[0].GetScene()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName(name)
    sequence.SetIndexUnit(unit)
    kind = slicer.vtkMRMLSequenceNode
    sequence.SetIndexType(kind.NumericIndex if numeric else kind.TextIndex)
    for volume, text in zip(volumes, texts, strict=True):
        sequence.SetDataNodeAtValue(volume, text)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.SetOverwriteProxyName(sequence, False)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser
