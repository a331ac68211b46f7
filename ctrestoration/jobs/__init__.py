"""The run directory as a protocol, and the places where a run can be started: this machine, or another by ssh.

Standard library only: 3D Slicer reads a running training through this folder in a process that has neither torch
nor pydantic. Nothing here imports from `ctrestoration.training`.
"""
