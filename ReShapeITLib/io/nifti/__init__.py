"""NIfTI files, such that what is written has the header of what was read."""
