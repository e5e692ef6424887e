"""The review of a refinement in the scene: results in their segments, change map, look, blends, undo, tables."""
