"""The lower half of the panel: the review of a finished refinement."""
