"""DICOM: segmentations (SEG) in and out, structure sets (RTSTRUCT) in."""
