"""MRML in and out: converts between nodes and the types of `ctrestoration`; imports slicer and vtk, never qt."""
