"""CTRestoration: simulate, reduce and measure CT artifacts of metal and of low dose.

Research software, not a medical device. `import ctrestoration` loads only numpy and this package's small core;
everything heavy (numba, torch, vtk, SimpleITK, matplotlib) is imported where it is used.
"""

from ctrestoration._version import __version__
from ctrestoration.errors import Cancelled, CTRestorationError, InputError
from ctrestoration.volume import Grid, LabelMap, Volume

__all__ = ["CTRestorationError", "Cancelled", "Grid", "InputError", "LabelMap", "Volume", "__version__"]
