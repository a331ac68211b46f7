"""Files in and out: DICOM, NRRD, NIfTI, MetaImage, HDF5; importers of public data sets."""
