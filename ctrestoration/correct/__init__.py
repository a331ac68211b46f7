"""Metal artifact reduction: the classical methods, and the frame every method shares."""
