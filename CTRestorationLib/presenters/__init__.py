"""What panels do: decisions in plain Python, without slicer or qt; collaborators are passed in."""
