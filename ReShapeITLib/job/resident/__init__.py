"""The process that stays: what it keeps of its refinements, and how it is asked over a pipe."""
