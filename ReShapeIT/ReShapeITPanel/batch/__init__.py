"""The batch section of the panel."""
