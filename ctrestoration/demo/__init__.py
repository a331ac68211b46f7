"""The main job, end to end: a CT in; spine, implants, artifact, corrections, numbers and a report out.

The command line and the Slicer sample data both run this; it knows no terminal and no window.
"""

from ctrestoration.demo.pipeline import Outcome, run

__all__ = ["Outcome", "run"]
