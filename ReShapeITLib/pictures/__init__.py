"""Pictures without a display: surfaces, slices, sheets."""
