"""The subject hierarchy: one folder a run, beside the volume it was made from; and nodes taken out completely."""

from __future__ import annotations

import slicer
import vtk

_ROLE = "CTRestoration.role"


def runFolder(inputNode, name: str) -> int:
    """A new folder beside a node, under its study where it has one.

    Args:
        inputNode: what the run was made from; None puts the folder at the top.
        name: of the folder; counted up where there is one of this name.

    Returns:
        Its subject hierarchy item.
    """
    hierarchy = _hierarchy(inputNode.GetScene() if inputNode is not None else slicer.mrmlScene)
    parent = hierarchy.GetSceneItemID()
    if inputNode is not None:
        item = hierarchy.GetItemByDataNode(inputNode)
        if item:
            parent = hierarchy.GetItemParent(item)
    return hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name))


def putInFolder(node, itemId: int) -> int:
    """Move a node into a folder; returns the node's item."""
    hierarchy = _hierarchy(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, itemId)
        return item
    return hierarchy.CreateItem(itemId, node)


def folderOf(node) -> int:
    """The item that a node lies in, 0 where it lies in none."""
    hierarchy = _hierarchy(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else 0
    return parent if parent != hierarchy.GetSceneItemID() else 0


def folderWithRole(scene, role: str) -> int:
    """The first folder that was given a role, 0 where there is none."""
    hierarchy, found = _hierarchy(scene), vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    for number in range(found.GetNumberOfIds()):
        item = found.GetId(number)
        if hierarchy.GetItemAttribute(item, _ROLE) == role:
            return item
    return 0


def setFolderRole(scene, itemId: int, role: str) -> None:
    """Mark a folder, so that it is found again in a saved scene."""
    _hierarchy(scene).SetItemAttribute(itemId, _ROLE, role)


def removeNode(node) -> None:
    """Take a node out of the scene with its display nodes, storage node and hierarchy item."""
    scene = node.GetScene() if node is not None else None
    if scene is None or not scene.IsNodePresent(node):
        return
    companions = []
    if node.IsA("vtkMRMLDisplayableNode"):
        companions = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        companions += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    hierarchy = _hierarchy(scene)
    item = hierarchy.GetItemByDataNode(node)
    scene.RemoveNode(node)
    for companion in companions:
        if companion is not None and scene.IsNodePresent(companion):
            scene.RemoveNode(companion)
    # The application has removed the item by now; without it nobody has.
    if item and hierarchy.GetItemByDataNode(node) == item:
        hierarchy.RemoveItem(item, False, False)


def _hierarchy(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
