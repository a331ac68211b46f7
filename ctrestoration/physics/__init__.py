"""CT physics: geometries, projector and adjoint, filtered backprojection, materials, spectra, noise."""
