"""MRML in and out: the only place where Slicer's world (RAS) meets that of `ctrestoration` (LPS). Never imports qt."""
