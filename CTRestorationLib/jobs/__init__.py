"""Child processes of the Slicer modules: plain Python, without slicer or qt."""
