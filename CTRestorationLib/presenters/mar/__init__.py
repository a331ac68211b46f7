"""The five steps of MARInpaint, as decisions without slicer or qt."""
