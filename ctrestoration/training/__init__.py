"""Training: one plain loop over named stages; kill it anywhere, resume, and the result is the same bits.

The side that only watches a run is `ctrestoration.jobs`; nothing there imports from here.
"""
