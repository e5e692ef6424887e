"""ReShapeIT: repair of organ segmentations with implicit shape templates (no Slicer, no Qt in here)."""

__version__ = "0.1.0"
