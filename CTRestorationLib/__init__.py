"""What the Slicer modules of CTRestoration share: nodes (MRML), presenters (decisions), widgets (Qt), jobs (children)."""
