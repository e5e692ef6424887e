"""Suggestions of a refinement: what was found, what the user decides about each, how the engine puts it into effect."""
