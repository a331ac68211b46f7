"""What the Slicer modules share: nodes (MRML), presenters (decisions), widgets (Qt), jobs (child processes)."""
